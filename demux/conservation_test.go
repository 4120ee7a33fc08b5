package demux

import (
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

// TestConservation runs random traffic of every kind through several workers,
// while ports come and go, queues are full, gone, slow and shared, and links
// are short. At the end every frame is accounted for, per source and in total,
// and the fakes saw as many as the switch counted.
func TestConservation(t *testing.T) {
	for _, workers := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) { conserve(t, workers) })
	}
}

// crowd is the ports of the test and what the fakes saw.
type crowd struct {
	*rig
	ports   []*testPort
	desk    *office       // of the ports that are delivered to together
	arrived atomic.Uint64 // on the links
	sent    atomic.Uint64 // by containers and the host
	joined  atomic.Uint64 // super-frames that queues took in pieces or whole
	wire    atomic.Uint64
}

func conserve(t *testing.T, workers int) {
	c := &crowd{rig: newRig(t, Config{Workers: workers, MaxSlowThreads: 2}), desk: &office{t: t}}
	for _, l := range c.links {
		l.OnSend(func([]byte) { c.wire.Add(1) })
	}
	c.populate()
	c.run()
	c.traffic(300)
	c.quiet(c.ports...)
	before := c.sw.Stats()
	c.compare(&before)
	for _, p := range c.ports[4:] {
		c.ok(c.sw.Detach(p.id))
		p.close()
	}
	c.quiet()
	c.stop()
	if after := c.sw.Stats(); after.All != before.All {
		t.Errorf("detaching changed the totals:\n%+v, before\n%+v", after.All, before.All)
	}
	for _, l := range c.links {
		l.Idle()
	}
}

// populate makes ports with queues of every temper.
func (c *crowd) populate() {
	c.host = c.tempered(PortConfig{Name: "host"}, demuxtest.LaneConfig{Offloads: gathers}, 99)
	c.host.id = c.sw.HostID()
	c.ok(c.sw.SetHost(HostConfig{NICMAC: nicMAC, HostMAC: hostMAC, GatewayMAC: gateMAC, Addrs: []netip.Addr{host4}, Lanes: c.host.cfg.Lanes}))
	c.sw.SetNextHop(0, ip("10.0.0.254"), hopMAC)
	for i := range 12 {
		cfg := PortConfig{
			Name: fmt.Sprint("port ", i), Foreign: i%3 == 0, MTU: []int{0, 1000, 9000}[i%3],
			Addrs:    []netip.Prefix{netip.PrefixFrom(benchAddr(10+i), 32)},
			NextHops: []netip.Addr{ip("10.0.0.254")},
		}
		if i%4 == 1 {
			cfg.MAC = mac{0x02, 0xcc, 0, 0, 0, byte(i)}
		}
		if i%5 == 2 {
			cfg.VLAN = 7
		}
		lc := demuxtest.LaneConfig{Offloads: []frame.Offload{0, allOffloads, gathers}[i%3], MaxFrame: []int{0, 1514, 3000}[i%3]}
		if i == 6 {
			lc.Delay = 60 * time.Microsecond
		}
		if i == 8 { // takes no super-frame after all
			lc.Refuse = func(f *frame.Frame) frame.Refusal {
				if f.GSO != frame.GSONone {
					return frame.TooBig
				}
				return frame.Accepted
			}
		}
		if i == 9 { // takes no frame of some lengths
			lc.Refuse = func(f *frame.Frame) frame.Refusal {
				if len(f.Data)%5 == 0 {
					return frame.TooBig
				}
				return frame.Accepted
			}
		}
		p := c.tempered(cfg, lc, i)
		ids, err := c.sw.Attach(p.cfg)
		c.ok(err)
		p.id = ids[0]
		c.ports = append(c.ports, p)
	}
}

// tempered makes a port whose lanes refuse some frames, and of which some are
// missing.
func (c *crowd) tempered(cfg PortConfig, lc demuxtest.LaneConfig, i int) *testPort {
	lc.Take = func(f *frame.Frame) {
		if f.GSO == frame.GSOTCPv4 && f.GSOSize == trainSize {
			c.joined.Add(1)
		}
	}
	if i == 4 {
		lc.Take, lc.Depth = nil, 20
	}
	p := c.newPort(cfg, lc)
	if i%4 == 3 && len(p.lanes) > 1 && i != 99 {
		p.cfg.Lanes[i%len(p.lanes)] = nil
	}
	if i == 5 {
		p.lanes[0].SetGone(true)
	}
	if i%3 == 0 && i != 99 { // those that run somebody else's code, and gather
		for k, l := range p.lanes {
			if p.cfg.Lanes[k] != nil {
				p.cfg.Lanes[k] = redLane{l, c.desk}
			}
		}
	}
	return p
}

// traffic sends from everywhere at once.
func (c *crowd) traffic(rounds int) {
	var wg sync.WaitGroup
	for w, l := range c.links {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 9))
			for i := range rounds {
				f := c.randomFrames(rnd, nil, rnd.IntN(40))
				if i%2 == 0 {
					f = append(f, train(nicMAC, far4, benchAddr(10+rnd.IntN(14)), uint16(i), 2+rnd.IntN(20))...)
				}
				c.arrived.Add(uint64(len(f)))
				l.Arrive(f...)
				l.SetRoom([]int{-1, -1, -1, 0, 5}[i%5])
			}
			l.SetRoom(-1)
		})
	}
	for i, p := range append(c.ports, c.host) {
		wg.Go(func() { c.chatter(p, uint64(i), rounds) })
	}
	wg.Go(func() { c.change(rounds) })
	wg.Wait()
}

// chatter is what one container sends, on each of its lanes.
func (c *crowd) chatter(p *testPort, seed uint64, rounds int) {
	rnd := rand.New(rand.NewPCG(seed, 10))
	for range rounds {
		w := rnd.IntN(len(p.lanes))
		if p.cfg.Lanes[w] == nil {
			continue
		}
		if rnd.IntN(8) == 0 && p.cfg.MAC == zeroMAC {
			to := pick1(rnd, []mac{nicMAC, peerMAC, hostMAC})
			f := super(tcp(nicMAC, to, firstAddr(p), benchAddr(10+rnd.IntN(14)), 5000), false, 900+rnd.IntN(900))
			p.lanes[w].SendFrame(f)
			c.sent.Add(1)
			continue
		}
		f := c.randomFrames(rnd, p, rnd.IntN(10))
		c.sent.Add(uint64(len(f)))
		p.lanes[w].Send(f...)
	}
}

func firstAddr(p *testPort) netip.Addr {
	if len(p.cfg.Addrs) == 0 {
		return host4
	}
	return p.cfg.Addrs[0].Addr()
}

func pick1[T any](rnd *rand.Rand, from []T) T { return from[rnd.IntN(len(from))] }

// randomFrames are mostly sensible frames from a port or from the wire.
func (c *crowd) randomFrames(rnd *rand.Rand, p *testPort, n int) (out [][]byte) {
	src, from := peerMAC, far4
	if p != nil {
		src, from = nicMAC, firstAddr(p)
		if p.cfg.MAC != zeroMAC {
			src = p.cfg.MAC
		}
	}
	for range n {
		to, dst := benchAddr(10+rnd.IntN(14)), pick1(rnd, []mac{nicMAC, nicMAC, {0x02, 0xcc, 0, 0, 0, 5}, hostMAC, gateMAC, hopMAC, peerMAC})
		f := udp(src, dst, from, to, rnd.IntN(60)+rnd.IntN(2)*1000)
		switch rnd.IntN(12) {
		case 0:
			f = whoHas(src, from.String(), to.String())
		case 1:
			f = tag(f, 7)
		case 2:
			f = f[:rnd.IntN(len(f))]
		case 3:
			f = ns(src, "fe80::1", "2001:db8::10", &src)
		case 4:
			f = other(src, dst, 0x88b5, 60)
		}
		out = append(out, f)
	}
	return out
}

// change changes ports and relays frames meanwhile. The first ports stay.
func (c *crowd) change(rounds int) {
	for i := range rounds {
		p := c.ports[i%4]
		cfg := p.cfg
		cfg.NoSourceCheck = i%2 == 0
		c.ok(c.sw.Update(p.id, cfg))
		_ = c.sw.Relay(whoHas(hopMAC, "10.0.0.254", "10.0.0.254"), 0, c.ports[0].id, c.ports[1].id, c.ports[6].id)
		c.sw.Stats()
	}
}

// compare holds the switch's counters against what the fakes saw.
func (c *crowd) compare(s *Totals) {
	c.t.Helper()
	is := func(what string, got, want uint64) {
		c.t.Helper()
		if got != want {
			c.t.Errorf("%s: counted %d, the fakes saw %d", what, got, want)
		}
	}
	// What a slow lane did with the switch's own frames is counted a little
	// later, when its worker looks.
	c.until("the ports counted what their queues took", func() bool {
		return c.rxFrames() == c.took()
	})
	is("frames from the wire", s.Wire.Received, c.arrived.Load())
	is("frames from ports and host", s.Ports.Received+s.Host.Received, c.sent.Load())
	is("frames to the wire", s.WireFrames, c.wire.Load())
	st := s.All
	if st.Delivered == 0 || st.ToHost == 0 || st.ToWire == 0 || st.Answered == 0 || st.Flooded == 0 {
		c.t.Errorf("a way was not taken: %+v", st)
	}
	if c.joined.Load() == 0 {
		c.t.Error("nothing was joined")
	}
	for _, r := range []Reason{Full, TooBig, Gone, NoPort, Spoofed, Malformed, BadVLAN, NotAllowed} {
		if st.Drops[r] == 0 {
			c.t.Errorf("nothing was lost as %v: %v", r, st.Drops)
		}
	}
}

// took is what all queues took.
func (c *crowd) took() (n uint64) {
	for _, p := range append(c.ports, c.host) {
		for _, l := range p.lanes {
			n += l.Took()
		}
	}
	return n
}

// rxFrames is what all ports count as delivered.
func (c *crowd) rxFrames() (n uint64) {
	for _, st := range c.sw.AllPortStats() {
		n += st.RxFrames + st.RxBuilt
	}
	return n
}
