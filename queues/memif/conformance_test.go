package memif

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
	"github.com/xdpdemux/xdpdemux/queues/queuetest"
)

func TestConformance(t *testing.T) {
	const log2 = 10
	queuetest.Run(t, queuetest.Kind{
		Open: func(t testing.TB, cfg queuetest.Config) (queues.Queue, queuetest.Peer) {
			return openConforming(t, shm.Layout{Rings: cfg.Lanes, Log2: log2, BufferSize: 2048}, cfg)
		},
		Capacity: 1 << log2,
		Window:   1 << log2,
		Returns:  true,
	})
}

// TestConformanceChained: the same with buffers that most frames need several
// of.
func TestConformanceChained(t *testing.T) {
	const log2 = 13
	queuetest.Run(t, queuetest.Kind{
		Open: func(t testing.TB, cfg queuetest.Config) (queues.Queue, queuetest.Peer) {
			return openConforming(t, shm.Layout{Rings: cfg.Lanes, Log2: log2, BufferSize: 256}, cfg)
		},
		Capacity: 1 << log2,
		Window:   1024,
		Returns:  true,
	})
}

func openConforming(t testing.TB, layout shm.Layout, cfg queuetest.Config) (queues.Queue, queuetest.Peer) {
	t.Helper()
	s := newPatientServer(t)
	q, err := s.Open(Config{
		Directory: filepath.Join(t.TempDir(), "port"), UID: -1, GID: -1,
		Rings: cfg.Lanes, RingSize: 1 << layout.Log2, MaxFrame: cfg.MTU + 14,
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{server: s, queue: q, layout: layout}
	if err := p.Return(); err != nil {
		t.Fatal(err)
	}
	return q, p
}

// peer is a container with one client at a time.
type peer struct {
	server     *Server
	queue      *Queue
	layout     shm.Layout
	send, recv sync.Mutex // both, to change what follows
	client     *raw
}

func (p *peer) Send(f frame.Frame) error {
	p.send.Lock()
	defer p.send.Unlock()
	if p.client == nil {
		return errors.New("left")
	}
	lane := 0
	if len(f.Data) > 36 && f.Data[12] == 0x08 { // IPv4: by source port
		lane = int(binary.BigEndian.Uint16(f.Data[34:])) % p.layout.Rings
	}
	return p.client.send(lane, f.Data)
}

func (p *peer) Recv(f *frame.Frame) error {
	for end := time.Now().Add(generous); time.Now().Before(end); time.Sleep(20 * time.Microsecond) {
		if got, err := p.tryRecv(f); got || err != nil {
			return err
		}
	}
	return errors.New("no frame came")
}

func (p *peer) tryRecv(f *frame.Frame) (bool, error) {
	p.recv.Lock()
	defer p.recv.Unlock()
	if p.client == nil {
		return false, errors.New("left")
	}
	for i := range p.layout.Rings {
		if b, ok := p.client.take(i); ok {
			f.Data, f.Meta = f.Data[:copy(f.Data, b)], frame.Meta{}
			return true, nil
		}
	}
	return false, nil
}

func (p *peer) drop() error {
	p.send.Lock()
	defer p.send.Unlock()
	p.recv.Lock()
	defer p.recv.Unlock()
	if p.client == nil {
		return nil
	}
	err := p.client.close()
	p.client = nil
	return err
}

func (p *peer) Leave() error {
	err := p.drop()
	for end := time.Now().Add(generous); isConnected(p.queue); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			return errors.New("the server does not notice")
		}
	}
	return err
}

func (p *peer) Return() error {
	c, err := newRaw(p.layout)
	if err != nil {
		return err
	}
	if err := c.connect(p.queue.SocketPath()); err != nil {
		return errors.Join(err, c.close())
	}
	p.send.Lock()
	defer p.send.Unlock()
	p.recv.Lock()
	defer p.recv.Unlock()
	p.client = c
	return nil
}

func (p *peer) Close() error { return errors.Join(p.drop(), p.server.Close()) }
