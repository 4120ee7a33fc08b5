package demux

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// TestHint is the kernel's look-up: it counts if it is as old as the port.
func TestHint(t *testing.T) {
	r := stepped(t)
	a, b := r.port(PortConfig{Name: "a"}, "10.0.0.10"), r.port(PortConfig{Name: "b"}, "10.0.0.11")
	toA := udp(peerMAC, nicMAC, far4, a4, 10)
	arrive := func(f []byte, hint, gen uint32) {
		r.links[0].ArriveFrame(frame.Frame{Data: f, Meta: frame.Meta{Hint: hint, Gen: gen}})
		r.settle()
	}
	arrive(toA, b.id.Slot, b.id.Gen)
	wantFrames(t, "by hint", b.got(), toA)
	for name, h := range map[string]PortID{
		"older": {b.id.Slot, b.id.Gen + 1}, "no such slot": {77, 1}, "far away": {1 << 20, 1}, "host": {HostSlot, 1}, "none": {0, 1},
	} {
		arrive(toA, h.Slot, h.Gen)
		wantFrames(t, name, a.got(), toA)
		wantFrames(t, name, b.got())
	}
	r.ok(r.sw.Detach(b.id))
	c := r.port(PortConfig{Name: "c"}, "10.0.0.12")
	arrive(toA, b.id.Slot, b.id.Gen)
	wantFrames(t, "of the port before", a.got(), toA)
	arrive(toA, c.id.Slot, c.id.Gen)
	wantFrames(t, "of the port that has the slot now", c.got(), toA)
	arrive(whoHas(peerMAC, "10.0.0.99", "10.0.0.10"), c.id.Slot, c.id.Gen)
	wantFrames(t, "ARP is answered whatever the hint", c.got())
	m := r.port(PortConfig{Name: "m", MAC: macM})
	arrive(udp(peerMAC, macM, ip("127.0.0.1"), far4, 1), m.id.Slot, m.id.Gen)
	wantFrames(t, "a loopback address is refused whatever the hint", m.got())
}

func TestRunRefuses(t *testing.T) {
	r := newRig(t, Config{Workers: 1})
	r.run()
	r.until("the worker runs", func() bool { return r.sw.Stats().Workers[0].Running })
	ctx := context.Background()
	if err := r.sw.Run(ctx, 0, nil, r.waits[0]); !errors.Is(err, ErrRunning) {
		t.Errorf("running twice: %v", err)
	}
	for _, n := range []int{-1, 1} {
		if err := r.sw.Run(ctx, n, nil, r.waits[0]); err == nil {
			t.Errorf("worker %d ran", n)
		}
	}
	if err := r.sw.Run(ctx, 0, nil, nil); err == nil {
		t.Error("ran without a waiter")
	}
	r.stop()
}

// TestRunAgain is the NIC that went away and came back: the worker runs with
// another link, and the ports are as they were.
func TestRunAgain(t *testing.T) {
	r := newRig(t, Config{Workers: 1})
	r.setHost("10.0.0.1")
	p := r.port(PortConfig{Name: "p"}, "10.0.0.10")
	r.run()
	r.quiet(p)
	r.stop()
	p.send(udp(nicMAC, peerMAC, a4, far4, 1)) // nobody hears the doorbell
	old := r.links[0]
	r.waits[0] = demuxtest.NewWaiter()
	r.links[0] = demuxtest.NewLink(t, r.waits[0].Wake)
	r.links[0].Arrive(udp(peerMAC, nicMAC, far4, a4, 1))
	r.run()
	r.quiet(p)
	r.stop()
	wantFrames(t, "the old link", old.Sent())
	wantFrames(t, "the new link", r.links[0].Sent(), udp(nicMAC, peerMAC, a4, far4, 1))
	wantFrames(t, "the port", p.got(), udp(peerMAC, nicMAC, far4, a4, 1))
}

// TestAttachWakes attaches a port that has a frame already, for which no
// doorbell rang, while the worker sleeps.
func TestAttachWakes(t *testing.T) {
	r := newRig(t, Config{Workers: 1})
	r.setHost("10.0.0.1")
	r.run()
	r.until("the worker sleeps", func() bool { return r.waits[0].Sleeps() > 0 && r.sw.workers[0].parked.Load() })
	p := r.newPort(PortConfig{Name: "p", Addrs: []netip.Prefix{pfx("10.0.0.10/32")}}, demuxtest.LaneConfig{})
	p.send(udp(nicMAC, peerMAC, a4, far4, 1))
	_, err := r.sw.Attach(p.cfg)
	r.ok(err)
	r.until("the frame is sent", func() bool { return r.sw.Stats().WireFrames == 1 })
	r.stop()
}

// TestDetachWaits detaches a port while a worker delivers to it: the lane is
// the caller's when Detach returns, and not before.
func TestDetachWaits(t *testing.T) {
	waitsForTheLane(t, func(r *rig, p *testPort) error { return r.sw.Detach(p.id) })
}

// TestUpdateWaits replaces a lane while a worker delivers to it: Update returns
// when the worker has let go of the old one, and not before.
func TestUpdateWaits(t *testing.T) {
	waitsForTheLane(t, func(r *rig, p *testPort) error {
		return r.sw.Update(p.id, r.newPort(PortConfig{Name: "p", Addrs: p.cfg.Addrs}, demuxtest.LaneConfig{}).cfg)
	})
}

// waitsForTheLane does something to a port while a worker delivers to its lane.
func waitsForTheLane(t *testing.T, do func(*rig, *testPort) error) {
	r := newRig(t, Config{Workers: 1})
	r.setHost("10.0.0.1")
	in, out := make(chan struct{}, 1), make(chan struct{})
	p := r.portWith(PortConfig{Name: "p"}, demuxtest.LaneConfig{Take: func(*frame.Frame) { in <- struct{}{}; <-out }}, "10.0.0.10")
	r.run()
	r.links[0].Arrive(udp(peerMAC, nicMAC, far4, a4, 1))
	<-in
	done := make(chan error)
	go func() { done <- do(r, p) }()
	select {
	case <-done:
		t.Error("it returned while the lane was in use")
	case <-time.After(50 * time.Millisecond):
	}
	close(out)
	if err := <-done; err != nil {
		t.Error(err)
	}
	p.close()
	r.stop()
}

// TestDetachUnderLoad detaches a port while the worker never sleeps.
func TestDetachUnderLoad(t *testing.T) {
	r := newRig(t, Config{Workers: 1})
	r.ok(r.sw.SetHost(HostConfig{NICMAC: nicMAC}))
	busy := demuxtest.NewSink(4, 128)
	busy.Frame, busy.Burst = udp(nicMAC, peerMAC, a4, far4, 10), 8
	_, err := r.sw.Attach(PortConfig{Name: "busy", Addrs: []netip.Prefix{pfx("10.0.0.10/32")}, Lanes: []Lane{busy}})
	r.ok(err)
	r.links[0].OnSend(func([]byte) {})
	r.run()
	r.until("the worker is at work", func() bool { return r.sw.Stats().WireFrames > 0 })
	for range 20 {
		p := r.port(PortConfig{Name: "p"}, "10.0.0.11")
		r.ok(r.sw.Detach(p.id))
		p.close()
	}
	r.stop()
	if n := r.waits[0].Sleeps(); n > 1 {
		t.Errorf("the worker slept %d times", n)
	}
}

// TestNextHopIsShared detaches one of two ports that use a next hop.
func TestNextHopIsShared(t *testing.T) {
	w := newWorld(t)
	w.ok(w.sw.Detach(w.ports["M"].id))
	delete(w.ports, "M")
	w.check(t, rule{from: "A", f: udp(nicMAC, hopMAC, a4, b4, 10), to: "B", dst: nicMAC})
	for left := 1; left >= 0; left-- {
		w.links[0].Arrive(arp(2, nicMAC, hopMAC, ip("10.0.0.254"), nicMAC, b4))
		w.settle()
		if n := len(w.sw.Neighbours()); n != left {
			t.Errorf("%d events, want %d", n, left)
		} else if n > 0 {
			<-w.sw.Neighbours()
			w.ok(w.sw.Detach(w.ports["A"].id))
		}
	}
	if tab := w.sw.table.Load(); tab.hops4.used != 0 || tab.hops6.used != 0 {
		t.Errorf("%d and %d next hops are left", tab.hops4.used, tab.hops6.used)
	}
	w.sw.SetNextHop(0, ip("10.0.0.254"), mac{})
	w.sw.SetNextHop(0, ip("fe80::fe"), mac{})
	if len(w.sw.hops) != 0 {
		t.Errorf("%v are left", w.sw.hops)
	}
}

// TestDetachedLaneIsForgotten attaches and detaches a port while the workers
// sleep: nothing keeps its lanes in memory.
func TestDetachedLaneIsForgotten(t *testing.T) {
	r := newRig(t, Config{Workers: 2})
	r.setHost("10.0.0.1")
	r.run()
	p := r.port(PortConfig{Name: "p"}, "10.0.0.10")
	r.until("the workers have seen the port and sleep again", func() bool {
		on0, _ := p.lanes[0].Armed()
		on1, _ := p.lanes[1].Armed()
		return on0 && on1 && r.sw.workers[0].parked.Load() && r.sw.workers[1].parked.Load()
	})
	id, lane := p.id, weak.Make(p.lanes[0])
	p = nil
	r.ok(r.sw.Detach(id))
	r.until("the lane is collected", func() bool { runtime.GC(); return lane.Value() == nil })
}

// TestUpdateKeepsTraffic changes a port's addresses and lanes: what the kept
// lane held is still collected.
func TestUpdateKeepsTraffic(t *testing.T) {
	r := newRig(t, Config{Workers: 2})
	r.setHost("10.0.0.1")
	p := r.port(PortConfig{Name: "p"}, "10.0.0.10")
	r.begin()
	p.lanes[0].Send(udp(nicMAC, peerMAC, b4, far4, 1))
	p.lanes[1].Send(udp(nicMAC, peerMAC, b4, far4, 2))
	other := r.newPort(PortConfig{}, demuxtest.LaneConfig{})
	cfg := p.cfg
	cfg.Addrs = []netip.Prefix{pfx("10.0.0.11/32")}
	cfg.Lanes = []Lane{p.lanes[0], other.lanes[1]}
	r.ok(r.sw.Update(p.id, cfg))
	p.lanes[1].Close()
	r.settle()
	wantFrames(t, "the kept lane's frame", r.links[0].Sent(), udp(nicMAC, peerMAC, b4, far4, 1))
	wantFrames(t, "the replaced lane's frame", r.links[1].Sent())
	other.lanes[1].Send(udp(nicMAC, peerMAC, b4, far4, 3))
	r.sw.workers[1].activate(p.id.Token())
	r.settle()
	wantFrames(t, "the new lane's frame", r.links[1].Sent(), udp(nicMAC, peerMAC, b4, far4, 3))
	r.links[0].Arrive(udp(peerMAC, nicMAC, far4, a4, 1), udp(peerMAC, nicMAC, far4, b4, 1))
	r.settle()
	wantFrames(t, "the new address", p.got(), udp(peerMAC, nicMAC, far4, b4, 1))
	if st, _ := r.sw.PortStats(p.id); st.Tx.Received != 2 || st.RxFrames != 1 {
		t.Errorf("the counters did not go on: %+v", st)
	}
}
