package demux

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// stream sends numbered frames to a port from the wire and checks that they
// arrive complete and in order.
type stream struct {
	sent atomic.Uint64
	seen atomic.Uint64
	f    []byte
}

const streamTag = 42 // where the payload of a datagram over IPv4 begins

func newStream(to netip.Addr, dst mac) *stream {
	return &stream{f: udp(peerMAC, dst, far4, to, 32)}
}

// next is the stream's next frame.
func (s *stream) next() []byte {
	f := append([]byte(nil), s.f...)
	binary.BigEndian.PutUint64(f[streamTag:], s.sent.Add(1))
	return f
}

// take is the receiving end: LaneConfig.Take.
func (s *stream) take(t testing.TB) func(*frame.Frame) {
	return func(f *frame.Frame) {
		if len(f.Data) < streamTag+8 {
			return
		}
		if n := binary.BigEndian.Uint64(f.Data[streamTag:]); n != s.seen.Add(1) {
			t.Errorf("frame %d came, want %d", n, s.seen.Load())
			s.seen.Store(n)
		}
	}
}

// TestChurn adds, changes and removes ports while others talk: those lose
// nothing, nothing is reordered, and no lane is touched once it was given back.
func TestChurn(t *testing.T) {
	const workers, steady = 2, 4
	r := newRig(t, Config{Workers: workers})
	r.setHost("10.0.0.1")
	streams := make([][]*stream, workers) // by worker and port
	ports := make([]*testPort, steady)
	for i := range ports {
		p := &testPort{cfg: PortConfig{Name: fmt.Sprint("steady ", i), Addrs: []netip.Prefix{netip.PrefixFrom(benchAddr(i+10), 32)}}}
		for w := range workers {
			s := newStream(benchAddr(i+10), nicMAC)
			streams[w] = append(streams[w], s)
			l := demuxtest.NewLane(t, func() { r.waits[w].Ring(p.id.Token()) }, demuxtest.LaneConfig{Take: s.take(t)})
			p.lanes, p.cfg.Lanes = append(p.lanes, l), append(p.cfg.Lanes, l)
		}
		ids, err := r.sw.Attach(p.cfg)
		r.ok(err)
		p.id, ports[i] = ids[0], p
	}
	r.run()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { feed(r.links[w], streams[w], done) })
	}
	churn(r, ports, streams)
	close(done)
	wg.Wait()
	r.quiet(ports...)
	for w := range streams {
		for i, s := range streams[w] {
			if s.sent.Load() != s.seen.Load() || s.sent.Load() == 0 {
				t.Errorf("worker %d, port %d: %d of %d frames arrived", w, i, s.seen.Load(), s.sent.Load())
			}
		}
	}
	r.stop()
}

// feed has the streams' frames arrive, without flooding the link's queue.
func feed(l *demuxtest.Link, streams []*stream, done chan struct{}) {
	for {
		select {
		case <-done:
			return
		default:
		}
		time.Sleep(50 * time.Microsecond)
		if l.Waiting() < 512 {
			var burst [][]byte
			for range 4 {
				for _, s := range streams {
					burst = append(burst, s.next())
				}
			}
			l.Arrive(burst...)
		}
	}
}

// churn attaches, updates and detaches passing ports to which frames come as
// well, changes the steady ones, and closes each lane as soon as it may. The
// steady ones' frames come all the while.
func churn(r *rig, steady []*testPort, streams [][]*stream) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for i := range 150 {
		s := streams[i%len(streams)][i%len(steady)]
		seen := s.seen.Load()
		r.until("others' frames go on", func() bool { return s.seen.Load() > seen })
		addr := benchAddr(1000 + rnd.IntN(50))
		p := r.newPort(PortConfig{Name: "passing", Addrs: []netip.Prefix{netip.PrefixFrom(addr, 32)}, Foreign: i%3 == 0}, demuxtest.LaneConfig{})
		ids, err := r.sw.Attach(p.cfg)
		r.ok(err)
		p.id = ids[0]
		for w, l := range r.links {
			l.Arrive(udp(peerMAC, nicMAC, far4, addr, 5))
			p.lanes[w].Send(udp(nicMAC, peerMAC, addr, far4, 5))
		}
		if i%2 == 0 {
			q := r.newPort(p.cfg, demuxtest.LaneConfig{})
			q.cfg.Lanes = []Lane{q.lanes[0], q.lanes[1]}
			r.ok(r.sw.Update(p.id, q.cfg))
			p.close()
			q.id, p = p.id, q
		}
		u := steady[i%len(steady)]
		u.cfg.MTU = 1400 + i%3
		r.ok(r.sw.Update(u.id, u.cfg))
		r.ok(r.sw.Detach(p.id))
		p.close()
	}
}

func (p *testPort) close() {
	for _, l := range p.lanes {
		l.Close()
	}
}
