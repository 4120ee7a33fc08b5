package demux

import (
	"net/netip"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
)

// TestStaleToken rings the doorbell of a port that is gone, whose slot another
// has: nothing happens.
func TestStaleToken(t *testing.T) {
	r := stepped(t)
	old := r.port(PortConfig{Name: "old"}, "10.0.0.10")
	r.settle()
	r.ok(r.sw.Detach(old.id))
	old.lanes[0].Close()
	fresh := r.port(PortConfig{Name: "new"}, "10.0.0.11")
	if fresh.id.Slot != old.id.Slot || fresh.id.Gen != old.id.Gen+1 {
		t.Fatalf("the new port is %v, the old was %v", fresh.id, old.id)
	}
	r.settle()
	w := r.sw.workers[0]
	for _, token := range []uint32{old.id.Token(), 0, WireSlot<<16 | 1, 500<<16 | 1, MaxSlot<<16 | 1} {
		w.activate(token)
		if len(w.active) != 0 {
			t.Errorf("token %#x activated %v", token, w.active)
		}
	}
	w.activate(fresh.id.Token())
	w.activate(fresh.id.Token())
	if len(w.active) != 1 {
		t.Errorf("the port's own token, twice, activated %v", w.active)
	}
	r.settle()
}

// TestDoorbell is a lane that is polled while it has frames, armed when it has
// none, and found again when it rings.
func TestDoorbell(t *testing.T) {
	r := stepped(t)
	p := r.port(PortConfig{Name: "p"}, "10.0.0.10")
	w := r.sw.workers[0]
	r.settle()
	if on, n := p.lanes[0].Armed(); !on || n != 1 || len(w.active) != 0 {
		t.Fatalf("after a while without frames: armed %v, %d times, %d active", on, n, len(w.active))
	}
	p.send(udp(nicMAC, peerMAC, a4, far4, 1))
	w.chores(r.waits[0].Wait(w.ready[:], 0))
	if on, _ := p.lanes[0].Armed(); on || len(w.active) != 1 {
		t.Errorf("after it rang: armed %v, %d active", on, len(w.active))
	}
	for i := range 3 * idlePolls {
		w.breath()
		if on, _ := p.lanes[0].Armed(); on != (i >= idlePolls) {
			t.Fatalf("breath %d: armed %v", i, on)
		}
	}
	if n := len(r.links[0].Sent()); n != 1 {
		t.Errorf("%d frames were sent", n)
	}
}

// late is a lane whose container sends just before the doorbell is armed.
type late struct {
	*demuxtest.Lane
	f []byte
}

func (l *late) Arm(on bool) {
	if on && l.f != nil {
		l.Lane.Send(l.f)
		l.f = nil
	}
	l.Lane.Arm(on)
}

// TestLateFrame is a frame that comes between the last poll and the arming,
// for which no doorbell rings: it is found all the same.
func TestLateFrame(t *testing.T) {
	r := stepped(t)
	f := udp(nicMAC, peerMAC, a4, far4, 1)
	l := &late{demuxtest.NewLane(t, func() { t.Error("the doorbell rang") }, demuxtest.LaneConfig{}), f}
	_, err := r.sw.Attach(PortConfig{Name: "p", Addrs: []netip.Prefix{pfx("10.0.0.10/32")}, Lanes: []Lane{l}})
	r.ok(err)
	r.settle()
	wantFrames(t, "wire", r.links[0].Sent(), f)
	if on, n := l.Armed(); !on || n != 2 {
		t.Errorf("armed %v, %d times", on, n)
	}
}

// watch is a waiter that must not be slept on.
type watch struct {
	*demuxtest.Waiter
	t    testing.TB
	what string
}

func (w *watch) Wait(ready []uint32, timeout time.Duration) int {
	if timeout != 0 {
		w.t.Errorf("the worker slept though %s", w.what)
	}
	return 0
}

// TestParkLooksFirst is work that came just before the worker would sleep, too
// early for whoever brought it to see it asleep.
func TestParkLooksFirst(t *testing.T) {
	r := newRig(t, Config{Workers: 2})
	r.setHost("10.0.0.1")
	p := r.newPort(PortConfig{Name: "p", Addrs: []netip.Prefix{pfx("10.0.0.10/32")}}, demuxtest.LaneConfig{})
	p.cfg.Lanes[1] = nil
	ids, err := r.sw.Attach(p.cfg)
	r.ok(err)
	r.begin()
	r.settle()
	w := r.sw.workers[0]
	for what, do := range map[string]func(){
		"a port is new":       func() { w.fresh.push(&freshList{ids: ids}) },
		"a frame is to relay": func() { r.ok(r.sw.Relay(whoHas(hopMAC, "10.0.0.254", "10.0.0.254"), 0, ids...)) },
		"a letter came":       func() { r.links[1].Arrive(udp(peerMAC, nicMAC, far4, a4, 1)); r.sw.workers[1].breath() },
		"it is to stop":       func() { w.stopped.Store(true) },
	} {
		r.settle()
		w.waiter = &watch{r.waits[0], t, what}
		do()
		w.park()
		w.stopped.Store(false)
		for w.breath() > 0 || len(w.active) > 0 {
		}
	}
	if s := r.sw.Stats(); s.Workers[0].Sleeps != 0 || s.Injected.Flooded != 1 || s.Wire.Delivered != 1 {
		t.Errorf("%+v", s)
	}
}
