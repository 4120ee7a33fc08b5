package inproc_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
	"github.com/xdpdemux/xdpdemux/queues/inproc"
	"github.com/xdpdemux/xdpdemux/queues/queuetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	const slots = 1024
	queuetest.Run(t, queuetest.Kind{
		Open: func(t testing.TB, cfg queuetest.Config) (queues.Queue, queuetest.Peer) {
			c := inproc.Config{Lanes: cfg.Lanes, Slots: slots, MaxFrame: cfg.MTU + 14, EventFD: true}
			if cfg.GSO {
				c.Slots, c.MaxFrame = 16, inproc.MaxFrame
				c.Offloads = frame.OffloadChecksum | frame.OffloadTCPv4 | frame.OffloadTCPv6 | frame.OffloadUDP
			}
			q, err := inproc.Open(c)
			if err != nil {
				t.Fatal(err)
			}
			return q, newPeer(q)
		},
		Capacity: slots,
		Window:   slots,
		GSO:      true,
	})
}

// peer is a program that reads all endpoints of a queue.
type peer struct {
	q      *inproc.Queue
	ctx    context.Context
	cancel func()
}

func newPeer(q *inproc.Queue) *peer {
	p := &peer{q: q}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

func (p *peer) Send(f frame.Frame) error {
	lane := 0
	if len(f.Data) > 36 && f.Data[12] == 0x08 { // IPv4: by source port
		lane = int(binary.BigEndian.Uint16(f.Data[34:])) % p.q.Lanes()
	}
	if n, why := p.q.Endpoint(lane).Write([]frame.Frame{f}); n != 1 {
		return fmt.Errorf("Write is refused: %d", why)
	}
	return nil
}

func (p *peer) Recv(f *frame.Frame) error {
	one := []frame.Frame{*f}
	for i := range p.q.Lanes() {
		if p.q.Endpoint(i).Read(one) == 1 {
			*f = one[0]
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	_, err := p.q.Endpoint(0).ReadContext(ctx, one)
	*f = one[0]
	return err
}

func (p *peer) Leave() error {
	for i := range p.q.Lanes() {
		p.q.Endpoint(i).Close()
	}
	return nil
}

func (p *peer) Return() error { return errors.New("a closed endpoint stays closed") }

func (p *peer) Close() error { p.cancel(); return nil }
