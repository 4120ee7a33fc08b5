package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// server is a memif server of our own making: it does what a test tells it to.
type server struct {
	t testing.TB
	l *net.UnixListener
	// socket is where it listens.
	socket string
	hello  wire.Hello
	// answer, if set, is asked for the answer to each message; nil means
	// the usual one, and closeIt that there is none.
	answer func(wire.Message) wire.Message
}

// closeIt as an answer closes the connection.
type closeIt struct{ wire.Message }

func listen(t testing.TB) *server {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &server{t: t, l: l, socket: socket, hello: wire.Hello{
		Name: "a test", MinVersion: wire.Version, MaxVersion: wire.Version,
		MaxRegion: 255, MaxS2CRing: 255, MaxC2SRing: 255, MaxLog2Ring: 14,
	}}
}

// peer is the server's end of one connection.
type peer struct {
	control  *wire.Conn
	init     wire.Init
	region   *shm.Region
	c2s, s2c []peerRing
	one      [8]byte
	err      error // why there was no connection
}

type peerRing struct {
	shm.Ring
	next uint16 // of the slots, the first that was not used yet
	fd   int
}

// accept serves one client's handshake in the background.
func (s *server) accept() <-chan *peer {
	got := make(chan *peer, 1)
	go func() {
		p := &peer{one: [8]byte{1}}
		p.err = s.handshake(p)
		got <- p
	}()
	return got
}

func (s *server) handshake(p *peer) error {
	if err := s.l.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	c, err := s.l.AcceptUnix()
	if err != nil {
		return err
	}
	if p.control, err = wire.NewConn(c); err != nil {
		return err
	}
	s.t.Cleanup(p.close)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	var first wire.Message = s.hello
	if s.answer != nil {
		if m := s.answer(nil); m != nil {
			first = m
		}
	}
	for m := first; ; {
		if _, ok := m.(closeIt); ok {
			return p.control.Close()
		}
		if err := p.control.Send(m, -1); err != nil {
			return err
		}
		if m.Type() == wire.TypeConnected {
			return c.SetDeadline(time.Time{})
		}
		asked, fd, err := p.control.Recv()
		if err != nil {
			return err
		}
		m, err = p.usual(asked, fd)
		if err != nil {
			return err
		}
		if s.answer != nil {
			if other := s.answer(asked); other != nil {
				m = other
			}
		}
	}
}

// usual is what an honest server answers.
func (p *peer) usual(m wire.Message, fd int) (wire.Message, error) {
	switch m := m.(type) {
	case wire.Init:
		p.init = m
		return wire.Ack{}, nil
	case wire.AddRegion:
		defer unix.Close(fd)
		region, err := shm.MapRegion(fd, m.Size, false)
		p.region = region
		return wire.Ack{}, err
	case wire.AddRing:
		ring, err := shm.OpenRing(p.region.Data(), m.Offset, m.Log2)
		if err == nil && ring.Cookie() != shm.Cookie {
			err = errors.New("no cookie")
		}
		rings := &p.s2c
		if m.C2S {
			rings = &p.c2s
		}
		if err == nil && int(m.Index) != len(*rings) {
			err = fmt.Errorf("ring %d came as number %d", m.Index, len(*rings))
		}
		*rings = append(*rings, peerRing{Ring: ring, fd: fd})
		return wire.Ack{}, err
	case wire.Connect:
		for _, r := range p.c2s {
			r.SetMasked(true)
		}
		return wire.Connected{Interface: "test0"}, nil
	}
	return nil, fmt.Errorf("the client sent %+v", m)
}

func (p *peer) close() {
	if p.control == nil {
		return
	}
	_ = p.control.Close()
	for _, r := range append(p.c2s, p.s2c...) {
		_ = unix.Close(r.fd)
	}
	p.c2s, p.s2c = nil, nil
	if p.region != nil {
		_ = p.region.Close()
	}
}

// collect takes every frame that the client published on ring i.
func (p *peer) collect(i int) (frames [][]byte, err error) {
	r := &p.c2s[i]
	ready, ok := r.Span(r.next, r.Head())
	if !ok {
		return nil, errors.New("the head is beyond the ring")
	}
	var frame []byte
	for range ready {
		d := r.Desc(r.next)
		b, ok := shm.Regions{p.region.Data()}.At(d)
		if !ok {
			return nil, fmt.Errorf("descriptor %+v is outside of the region", d)
		}
		frame = append(frame, b...)
		r.next++
		if d.Flags&shm.FlagNext == 0 {
			frames = append(frames, frame)
			frame = nil
		}
	}
	if frame != nil {
		return nil, errors.New("half a chain was published")
	}
	r.SetTail(r.next)
	return frames, nil
}

// deliver puts frames on ring i, as chains where they are larger than a buffer,
// and says how many found room. With stale it leaves flags standing in the
// first slot of a frame, as DPDK 22.11 does.
func (p *peer) deliver(i int, stale bool, frames ...[]byte) (n int) {
	r := &p.s2c[i]
	for _, f := range frames {
		size := int(r.Desc(r.next).Length)
		slots := (len(f) + size - 1) / size
		if free, _ := r.Span(r.next, r.Head()); int(free) < slots {
			break
		}
		for s := range slots {
			d := r.Desc(r.next)
			if !stale {
				d.Flags = 0
			}
			b, _ := shm.Regions{p.region.Data()}.At(d)
			d.Length = uint32(copy(b, f[s*size:]))
			if s < slots-1 {
				d.Flags |= shm.FlagNext
			}
			r.SetDesc(r.next, d)
			r.next++
		}
		n++
	}
	if n > 0 {
		r.SetTail(r.next)
		if !r.Masked() {
			p.ring(i)
		}
	}
	return n
}

func (p *peer) ring(i int) {
	_, _ = unix.Write(p.s2c[i].fd, p.one[:])
}

// connect is a client and its server's end.
func connect(t testing.TB, cfg client.Config) (*client.Conn, *peer) {
	t.Helper()
	s := listen(t)
	cfg.Socket = s.socket
	accepted := s.accept()
	c, err := client.Dial(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p := <-accepted
	if p.err != nil {
		t.Fatal(p.err)
	}
	return c, p
}

// pattern is a frame that shows where it was cut, joined or mixed up.
func pattern(seed, size int) []byte {
	f := make([]byte, size)
	for i := range f {
		f[i] = byte(seed*31 + i*7 + i>>8)
	}
	return f
}

func same(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}
