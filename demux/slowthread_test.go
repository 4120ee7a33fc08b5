package demux

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// TestSlowThreadLooksFirst is a letter, and a wish to stop, that come just
// before the thread would sleep, too early for whoever brought it to wake it.
func TestSlowThreadLooksFirst(t *testing.T) {
	for what, do := range map[string]func(*slowLane){
		"a letter":    func(l *slowLane) { l.box.post(&frame.Frame{Data: []byte{1}}, letter{}) },
		"wish to end": func(l *slowLane) { l.asked.Store(true) },
	} {
		th := &slowThread{wake: make(chan struct{}, 1)}
		l := &slowLane{box: newMailbox(4, 64), thread: th}
		th.lanes.Store(&[]*slowLane{l})
		do(l)
		awake := make(chan struct{})
		go func() { th.sleep(); close(awake) }()
		select {
		case <-awake:
		case <-time.After(10 * time.Second):
			t.Errorf("the thread sleeps on %s", what)
		}
	}
}

// TestSlowFull floods a slow lane: what its mailbox does not hold is lost as
// slow_full, and only that.
func TestSlowFull(t *testing.T) {
	r := stepped(t)
	hold := make(chan struct{})
	p := r.portWith(PortConfig{Name: "p", Foreign: true}, demuxtest.LaneConfig{Take: func(*frame.Frame) { <-hold }}, "10.0.0.10")
	r.makeSlow(p)
	const n = slowLetters + 100
	for i := range n {
		r.links[0].Arrive(udp(peerMAC, nicMAC, far4, a4, i))
	}
	r.settle()
	s := r.sw.Stats().Wire
	if s.Drops[SlowFull] != 100 || s.InFlight != slowLetters || s.Dropped() != 100 {
		t.Errorf("%+v", s)
	}
	close(hold)
	r.until("the rest is delivered", func() bool { r.settle(); return r.sw.Stats().Wire.InFlight == 0 })
	if st, _ := r.sw.PortStats(p.id); st.RxFrames != slowLetters || st.RxDrops[SlowFull] != 100 {
		t.Errorf("%+v", st)
	}
}

// TestSlowRefused is a slow lane that is full, that is gone, and for which a
// frame is too big.
func TestSlowRefused(t *testing.T) {
	r := stepped(t)
	p := r.portWith(PortConfig{Name: "p", Foreign: true}, demuxtest.LaneConfig{Depth: 3, MaxFrame: 200}, "10.0.0.10")
	r.makeSlow(p)
	for _, n := range []int{1, 300, 2, 3, 4} {
		r.links[0].Arrive(udp(peerMAC, nicMAC, far4, a4, n))
	}
	done := func() bool { r.settle(); return r.sw.Stats().Wire.InFlight == 0 }
	r.until("all is settled", done)
	p.lanes[0].SetGone(true)
	r.links[0].Arrive(udp(peerMAC, nicMAC, far4, a4, 5))
	r.until("all is settled", done)
	if s := r.sw.Stats().Wire; s.Delivered != 3 || s.Drops[TooBig] != 1 || s.Drops[Full] != 1 || s.Drops[Gone] != 1 {
		t.Errorf("%+v", s)
	}
}

// TestSlowDetach detaches a port whose slow lane is at work: Detach returns
// when the thread has let go, and what was in the mailbox is lost as gone.
func TestSlowDetach(t *testing.T) {
	r := stepped(t)
	p := r.portWith(PortConfig{Name: "p", Foreign: true}, demuxtest.LaneConfig{Delay: 2 * time.Millisecond}, "10.0.0.10")
	r.makeSlow(p)
	for i := range 200 {
		r.links[0].Arrive(udp(peerMAC, nicMAC, far4, a4, i))
	}
	r.settle()
	r.ok(r.sw.Detach(p.id))
	p.close()
	r.settle()
	s := r.sw.Stats()
	if s.Wire.InFlight != 0 || s.Wire.Delivered+s.Wire.Drops[Gone] != 200 || s.Wire.Drops[Gone] == 0 || s.SlowLanes != 0 {
		t.Errorf("%+v, %d slow lanes", s.Wire, s.SlowLanes)
	}
	if n := len(p.got()); uint64(n) != s.Wire.Delivered {
		t.Errorf("%d frames arrived, %d are counted", n, s.Wire.Delivered)
	}
}

// TestSlowThreadsAreShared makes more ports slow than there may be threads.
func TestSlowThreadsAreShared(t *testing.T) {
	var prepared atomic.Int32
	r := newRig(t, Config{Workers: 1, MaxSlowThreads: 2, SlowThread: func() { prepared.Add(1) }})
	r.setHost("10.0.0.1")
	r.begin()
	var ports []*testPort
	for i := range 7 {
		ports = append(ports, r.port(PortConfig{Name: fmt.Sprint(i), Foreign: true}, benchAddr(10+i).String()))
	}
	for _, p := range ports {
		r.makeSlow(p)
	}
	for n := range 20 {
		for i := range ports {
			r.links[0].Arrive(udp(peerMAC, nicMAC, far4, benchAddr(10+i), n))
		}
	}
	r.until("all is delivered", func() bool { r.settle(); return r.sw.Stats().Wire.Delivered == 140 })
	for i, p := range ports {
		r.ok(r.sw.Detach(p.id))
		p.close()
		if n := len(p.got()); n != 20 {
			t.Errorf("port %d got %d frames", i, n)
		}
	}
	r.settle()
	if n := prepared.Load(); n != 2 {
		t.Errorf("%d threads were prepared", n)
	}
	s := &slowRig{rig: r}
	r.until("the threads end", func() bool { return len(s.threads()) == 0 })
}

// TestSlowWakes is a worker that sleeps while its slow lane works: it is woken
// to count what the lane did.
func TestSlowWakes(t *testing.T) {
	r := stepped(t)
	hold := make(chan struct{})
	p := r.portWith(PortConfig{Name: "p", Foreign: true}, demuxtest.LaneConfig{Take: func(*frame.Frame) { <-hold }}, "10.0.0.10")
	r.makeSlow(p)
	r.links[0].Arrive(udp(peerMAC, nicMAC, far4, a4, 1))
	r.settle()
	w := r.sw.workers[0]
	// Whatever woke it before is one wake-up together with this one.
	r.waits[0].Wake()
	r.waits[0].Wait(w.ready[:], -1)
	woken := make(chan struct{})
	go func() { r.waits[0].Wait(w.ready[:], -1); close(woken) }()
	close(hold)
	select {
	case <-woken:
	case <-time.After(30 * time.Second):
		t.Fatal("the worker sleeps on")
	}
	r.settle()
	if s := r.sw.Stats().Wire; s.Delivered != 1 || s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}
