package demux

import (
	"bytes"
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// rig is a switch with one link per worker, all in memory.
type rig struct {
	t     testing.TB
	sw    *Switch
	links []*demuxtest.Link
	waits []*demuxtest.Waiter
	host  *testPort
	stop  func()
}

// testPort is a container, with one lane per worker.
type testPort struct {
	id    PortID
	name  string
	lanes []*demuxtest.Lane
	cfg   PortConfig
}

func newRig(t testing.TB, cfg Config) *rig {
	t.Helper()
	sw, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, sw: sw}
	for range cfg.Workers {
		w := demuxtest.NewWaiter()
		r.waits = append(r.waits, w)
		r.links = append(r.links, demuxtest.NewLink(t, w.Wake))
	}
	return r
}

// stepped makes a rig of one worker that breathes when the test says so, with
// the host port, whose address is 10.0.0.1.
func stepped(t testing.TB) *rig {
	t.Helper()
	r := newRig(t, Config{Workers: 1})
	r.setHost("10.0.0.1", "fe80::1", "2001:db8::1")
	r.begin()
	return r
}

// begin has the workers begin without threads of their own.
func (r *rig) begin() {
	for i, w := range r.sw.workers {
		w.begins([]Link{r.links[i]}, r.waits[i])
		w.parked.Store(true) // between the steps
		r.t.Cleanup(w.ends)
	}
}

// reopen ends a worker's run and begins another, with other links: nothing is
// reserved any more.
func (r *rig) reopen(links ...Link) {
	w := r.sw.workers[0]
	w.ends()
	w.begins(links, r.waits[0])
	w.parked.Store(true)
}

func (r *rig) setHost(addrs ...string) {
	r.t.Helper()
	var as []netip.Addr
	for _, a := range addrs {
		as = append(as, ip(a))
	}
	r.host = r.newPort(PortConfig{Name: "host"}, demuxtest.LaneConfig{Offloads: allOffloads})
	r.host.id = r.sw.HostID()
	r.ok(r.sw.SetHost(HostConfig{NICMAC: nicMAC, HostMAC: hostMAC, GatewayMAC: gateMAC, Addrs: as, Lanes: r.host.cfg.Lanes}))
}

const allOffloads = frame.OffloadChecksum | frame.OffloadTCPv4 | frame.OffloadTCPv6 | frame.OffloadUDP

// newPort makes the lanes of a port that is not attached yet.
func (r *rig) newPort(cfg PortConfig, lc demuxtest.LaneConfig) *testPort {
	p := &testPort{name: cfg.Name, cfg: cfg}
	for i := range r.waits {
		l := demuxtest.NewLane(r.t, func() { r.waits[i].Ring(p.id.Token()) }, lc)
		p.lanes = append(p.lanes, l)
		p.cfg.Lanes = append(p.cfg.Lanes, l)
	}
	return p
}

// port attaches a container with these addresses.
func (r *rig) port(cfg PortConfig, addrs ...string) *testPort {
	r.t.Helper()
	return r.portWith(cfg, demuxtest.LaneConfig{}, addrs...)
}

func (r *rig) portWith(cfg PortConfig, lc demuxtest.LaneConfig, addrs ...string) *testPort {
	r.t.Helper()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a); err == nil {
			cfg.Addrs = append(cfg.Addrs, p)
		} else {
			cfg.Addrs = append(cfg.Addrs, netip.PrefixFrom(ip(a), ip(a).BitLen()))
		}
	}
	p := r.newPort(cfg, lc)
	ids, err := r.sw.Attach(p.cfg)
	r.ok(err)
	p.id = ids[0]
	return p
}

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// settle breathes until nothing moves, and checks the books.
func (r *rig) settle() {
	r.t.Helper()
	for quiet := 0; quiet < 2*idlePolls; quiet++ {
		for i, w := range r.sw.workers {
			if w.breath() > 0 {
				quiet = 0
			}
			w.chores(r.waits[i].Wait(w.ready[:], 0))
		}
	}
	r.balanced()
}

// balanced checks the equation of conservation, in total and per source.
func (r *rig) balanced() {
	r.t.Helper()
	t := r.sw.Stats()
	for name, s := range map[string]*Source{"wire": &t.Wire, "host": &t.Host, "injected": &t.Injected, "ports": &t.Ports, "all": &t.All} {
		if n := s.Unaccounted(); n != 0 {
			r.t.Errorf("%s: %d frames are unaccounted for: %+v", name, n, *s)
		}
	}
	for _, p := range r.sw.AllPortStats() {
		if n := p.Tx.Unaccounted(); n != 0 {
			r.t.Errorf("port %s: %d frames are unaccounted for: %+v", p.Name, n, p.Tx)
		}
	}
}

// run starts the workers; the test's end, or stop, ends them.
func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range r.sw.workers {
		wg.Go(func() {
			if err := r.sw.Run(ctx, i, []Link{r.links[i]}, r.waits[i]); err != nil {
				r.t.Errorf("worker %d: %v", i, err)
			}
		})
	}
	r.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	r.t.Cleanup(r.stop)
}

// until waits for a condition, for as long as a loaded machine may need.
func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	for start := time.Now(); !cond(); time.Sleep(100 * time.Microsecond) {
		if time.Since(start) > 30*time.Second {
			r.t.Fatalf("waited in vain until %s; %+v", what, r.sw.Stats())
		}
	}
}

// quiet waits until nothing is in flight or waiting, and the workers sleep.
func (r *rig) quiet(ports ...*testPort) {
	r.t.Helper()
	r.until("all is quiet", func() bool {
		if len(r.sw.relays) > 0 {
			return false
		}
		for i, w := range r.sw.workers {
			if r.links[i].Waiting() > 0 || !w.parked.Load() {
				return false
			}
		}
		for _, p := range ports {
			for _, l := range p.lanes {
				if l.Queued() > 0 {
					return false
				}
			}
		}
		t := r.sw.Stats()
		return t.All.InFlight == 0
	})
	r.balanced()
}

func (p *testPort) send(frames ...[]byte) { p.lanes[0].Send(frames...) }

// got takes what a port's first lane received.
func (p *testPort) got() [][]byte {
	var out [][]byte
	for _, f := range p.lanes[0].Got() {
		out = append(out, f.Data)
	}
	return out
}

// wantFrames compares what came with what should have.
func wantFrames(t testing.TB, what string, got [][]byte, want ...[]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d frames came, want %d: % x", what, len(got), len(want), got)
		return
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("%s: frame %d is\n% x, want\n% x", what, i, got[i], want[i])
		}
	}
}

// withDst is the frame with another destination MAC.
func withDst(f []byte, m mac) []byte {
	out := append([]byte{}, f...)
	copy(out, m[:])
	return out
}
