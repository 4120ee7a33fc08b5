package demux

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// hands is a clock that a test moves.
type hands struct{ atomic.Int64 }

func (h *hands) now() int64 { return h.Load() }

// slowRig is a switch whose clock moves only when a lane takes its time: the
// slow port's lane takes cost for each frame.
type slowRig struct {
	*rig
	clock hands
	cost  atomic.Int64
	slow  *testPort
	fast  *testPort
	seen  *stream // of the slow port
	other *stream // of the fast one
}

func newSlowRig(t testing.TB) *slowRig {
	s := &slowRig{rig: stepped(t)}
	s.sw.clock, s.sw.threadTime, s.sw.slow.clock = s.clock.now, s.clock.now, s.clock.now
	s.seen, s.other = newStream(a4, nicMAC), newStream(b4, nicMAC)
	take := s.seen.take(t)
	s.slow = s.portWith(PortConfig{Name: "slow", Foreign: true}, demuxtest.LaneConfig{Take: func(f *frame.Frame) {
		s.clock.Add(s.cost.Load())
		take(f)
	}}, "10.0.0.10")
	s.fast = s.portWith(PortConfig{Name: "fast", Foreign: true}, demuxtest.LaneConfig{Take: s.other.take(t)}, "10.0.0.11")
	s.settle()
	return s
}

// arrive has n frames come for each port, and lets them pass.
func (s *slowRig) arrive(n int) {
	for range n {
		s.links[0].Arrive(s.seen.next(), s.other.next())
	}
	s.settle()
}

// delivered waits for the slow lane's thread.
func (s *slowRig) delivered() {
	s.t.Helper()
	s.until("the slow lane has delivered", func() bool { return s.seen.seen.Load() == s.seen.sent.Load() })
	s.settle()
}

func (s *slowRig) lanes() int { return s.sw.Stats().SlowLanes }

// TestSlowLane is a port that becomes slow, stays slow while it is, and comes
// back when it is fast again; its frames stay in order, the other port's too.
func TestSlowLane(t *testing.T) {
	s := newSlowRig(t)
	s.cost.Store(3_000)
	s.arrive(2000)
	if n := s.lanes(); n != 0 {
		t.Fatalf("a busy port of 3 µs a frame is on a slow lane")
	}
	s.cost.Store(166_000)
	start := s.clock.now()
	for s.lanes() == 0 {
		s.arrive(10)
	}
	if spent := s.clock.now() - start; spent > 10*slowCredit {
		t.Errorf("the worker lost %v before it got rid of the slow port", time.Duration(spent))
	}
	s.delivered()
	s.clock.Add(slowHold / 2)
	s.arrive(10)
	s.delivered()
	if st, _ := s.sw.PortStats(s.slow.id); !st.Slow {
		t.Error("the port came back at once")
	}
	s.clock.Add(slowHold)
	s.arrive(10)
	s.delivered()
	if s.lanes() != 1 {
		t.Error("the port came back though it is slow")
	}
	s.cost.Store(1_000)
	for range 40 { // what is smoothed follows
		s.arrive(slowBatch)
		s.delivered()
	}
	s.until("the port comes back", func() bool { s.clock.Add(slowHold); s.arrive(1); s.delivered(); return s.lanes() == 0 })
	if st, _ := s.sw.PortStats(s.slow.id); st.Slow {
		t.Error("the port is slow still")
	}
	s.arrive(100)
	if s.other.seen.Load() != s.other.sent.Load() {
		t.Errorf("the fast port got %d of %d", s.other.seen.Load(), s.other.sent.Load())
	}
	if n := s.sw.Stats().SlowMoves; n != 1 {
		t.Errorf("it moved %d times", n)
	}
	if st := s.sw.Stats(); st.All.Dropped() != 0 {
		t.Errorf("lost: %v", st.All.Drops)
	}
}

// TestOneOutlier is a lane that takes long once: a preemption, not a firewall.
func TestOneOutlier(t *testing.T) {
	s := newSlowRig(t)
	for range 20 {
		s.cost.Store(8_000_000)
		s.arrive(1)
		s.cost.Store(1_000)
		s.arrive(64)
	}
	if s.lanes() != 0 {
		t.Error("single long calls made the port slow")
	}
}

// TestStolenTime is a port whose every call takes long by the clock on the wall,
// since the worker loses its processor to others, and little of the thread's own
// time: it is not to blame. When its own time is dear as well, it is.
func TestStolenTime(t *testing.T) {
	s := newSlowRig(t)
	var own hands
	s.sw.threadTime = own.now
	s.cost.Store(1_000_000)
	for range 100 {
		s.arrive(8)
	}
	if s.lanes() != 0 {
		t.Fatal("the port is on a slow lane for what others took")
	}
	s.sw.threadTime = s.clock.now
	for i := 0; s.lanes() == 0; i++ {
		if s.arrive(1); i == 100 {
			t.Fatal("a port that takes a millisecond a frame of its own is on no slow lane")
		}
	}
	s.delivered()
}

// TestSlowForAWhile is a port on a slow lane that is cheap at once: it stays there
// for slowHold all the same, so that it does not go back and forth.
func TestSlowForAWhile(t *testing.T) {
	s := newSlowRig(t)
	s.cost.Store(1_000)
	s.makeSlow(s.slow)
	for range 3 {
		s.arrive(slowBatch)
		s.delivered()
		s.clock.Add(slowHold / 4)
	}
	s.settle()
	if st, _ := s.sw.PortStats(s.slow.id); !st.Slow {
		t.Error("the port came back at once")
	}
	s.until("the port comes back", func() bool { s.clock.Add(slowHold); s.settle(); return s.lanes() == 0 })
}

// TestSlowIdle is a slow port that nobody talks to for a while: its thread is
// given up.
func TestSlowIdle(t *testing.T) {
	s := newSlowRig(t)
	s.cost.Store(166_000)
	for s.lanes() == 0 {
		s.arrive(10)
	}
	s.delivered()
	s.until("the thread is given up", func() bool { s.clock.Add(slowHold); s.settle(); return s.lanes() == 0 })
	s.until("the thread ends", func() bool { return len(s.threads()) == 0 })
}

// makeSlow moves a port to a slow lane without asking how slow it is.
func (r *rig) makeSlow(p *testPort) {
	w := r.sw.workers[0]
	w.enter()
	w.goSlow(w.lanes.at(p.id.Slot))
}

func (s *slowRig) threads() []*slowThread {
	s.sw.slow.mu.Lock()
	defer s.sw.slow.mu.Unlock()
	return append([]*slowThread(nil), s.sw.slow.threads...)
}

// TestSlowAsleep is a slow port that nobody talks to while its worker sleeps:
// the worker looks after it all the same.
func TestSlowAsleep(t *testing.T) {
	r := newRig(t, Config{Workers: 1})
	clock := hands{}
	r.sw.clock, r.sw.slow.clock = clock.now, clock.now
	p := r.portWith(PortConfig{Name: "p", Foreign: true}, demuxtest.LaneConfig{}, "10.0.0.10")
	r.begin()
	r.makeSlow(p)
	r.sw.workers[0].ends()
	r.run()
	r.until("the worker sleeps", func() bool { return r.waits[0].Sleeps() > 0 && r.sw.workers[0].parked.Load() })
	clock.Add(10 * slowHold)
	r.until("the thread is given up", func() bool { return r.sw.Stats().SlowLanes == 0 })
	r.stop()
}

// TestSlowIsolates runs real time: a lane whose Deliver takes 100 µs a frame
// is flooded beside others, which lose nothing and stay in order; so does it.
func TestSlowIsolates(t *testing.T) {
	r := newRig(t, Config{Workers: 1})
	r.setHost("10.0.0.1")
	last, disorder := uint64(0), 0
	r.portWith(PortConfig{Name: "slow", Foreign: true}, demuxtest.LaneConfig{Delay: 100 * time.Microsecond, Take: func(f *frame.Frame) {
		if n := binary.BigEndian.Uint64(f.Data[streamTag:]); n <= last {
			disorder++
		} else {
			last = n
		}
	}}, "10.0.0.10")
	var good []*stream
	for i := range 4 {
		s := newStream(netip.AddrFrom4([4]byte{10, 0, 0, byte(20 + i)}), nicMAC)
		r.portWith(PortConfig{Name: fmt.Sprint("good ", i), Foreign: i%2 == 0}, demuxtest.LaneConfig{Take: s.take(t)}, fmt.Sprint("10.0.0.", 20+i))
		good = append(good, s)
	}
	r.run()
	slow := newStream(a4, nicMAC)
	for range 600 {
		var burst [][]byte
		for range 4 {
			burst = append(burst, slow.next(), slow.next(), slow.next())
			for _, s := range good {
				burst = append(burst, s.next())
			}
		}
		r.links[0].Arrive(burst...)
		r.until("there is room", func() bool { return r.links[0].Waiting() < 256 })
	}
	r.quiet()
	r.stop()
	for i, s := range good {
		if s.seen.Load() != s.sent.Load() {
			t.Errorf("good port %d got %d of %d", i, s.seen.Load(), s.sent.Load())
		}
	}
	s := r.sw.Stats()
	if s.SlowMoves == 0 || disorder != 0 || s.Wire.Dropped() != s.Wire.Drops[SlowFull] {
		t.Errorf("%d moves, %d out of order, drops %v", s.SlowMoves, disorder, s.Wire.Drops)
	}
}

// TestSlowStaysInOrder is a slow lane that may come back by the clock, while
// its thread still has frames: it waits for them.
func TestSlowStaysInOrder(t *testing.T) {
	r := stepped(t)
	clock := hands{}
	r.sw.clock, r.sw.slow.clock = clock.now, clock.now
	hold, seen := make(chan struct{}), newStream(a4, nicMAC)
	take := seen.take(t)
	p := r.portWith(PortConfig{Name: "p", Foreign: true}, demuxtest.LaneConfig{Take: func(f *frame.Frame) { <-hold; take(f) }}, "10.0.0.10")
	r.makeSlow(p)
	isSlow := func() bool { st, _ := r.sw.PortStats(p.id); return st.Slow }
	for range 20 {
		r.links[0].Arrive(seen.next())
	}
	r.settle()
	clock.Add(10 * slowHold)
	r.settle()
	r.links[0].Arrive(seen.next())
	r.settle()
	if !isSlow() {
		t.Error("the lane came back before its mailbox was empty")
	}
	close(hold)
	r.until("all is delivered", func() bool { r.settle(); return seen.seen.Load() == 21 })
	clock.Add(10 * slowHold)
	r.until("the lane is back", func() bool { r.settle(); return !isSlow() })
	r.links[0].Arrive(seen.next())
	r.settle()
	if seen.seen.Load() != 22 {
		t.Errorf("%d frames arrived", seen.seen.Load())
	}
}

// TestSlowHolds is a slow lane that is fast at once: it is kept for a while,
// lest it go to and fro.
func TestSlowHolds(t *testing.T) {
	s := newSlowRig(t)
	s.makeSlow(s.slow)
	s.arrive(3)
	s.delivered()
	s.clock.Add(slowHold - 1)
	s.settle()
	if s.lanes() != 1 {
		t.Error("it came back too early")
	}
	s.clock.Add(1)
	s.until("it comes back", func() bool { s.settle(); return s.lanes() == 0 })
}

// TestSlowUpdate changes a port that is on a slow lane: with its lane kept it
// stays there and loses nothing; with another lane it starts anew, and the
// thread has let go of the old one.
func TestSlowUpdate(t *testing.T) {
	r := stepped(t)
	seen := newStream(a4, nicMAC)
	p := r.portWith(PortConfig{Name: "p", Foreign: true}, demuxtest.LaneConfig{Take: seen.take(t), Delay: 100 * time.Microsecond}, "10.0.0.10")
	r.makeSlow(p)
	cfg := p.cfg
	for i := range 10 {
		for range 10 {
			r.links[0].Arrive(seen.next())
		}
		cfg.MTU, cfg.Foreign = 1400+i, i%2 == 0
		r.settle()
		r.ok(r.sw.Update(p.id, cfg))
	}
	r.until("all is delivered", func() bool { r.settle(); return r.sw.Stats().Wire.Delivered == 100 })
	if st, _ := r.sw.PortStats(p.id); !st.Slow || seen.seen.Load() != 100 {
		t.Errorf("slow: %v, %d frames came", st.Slow, seen.seen.Load())
	}
	for range 50 {
		r.links[0].Arrive(seen.next())
	}
	r.settle()
	fresh := r.newPort(PortConfig{}, demuxtest.LaneConfig{})
	cfg.Lanes = fresh.cfg.Lanes
	r.ok(r.sw.Update(p.id, cfg))
	p.close()
	r.links[0].Arrive(seen.next())
	r.settle()
	if st, _ := r.sw.PortStats(p.id); st.Slow || len(fresh.got()) != 1 {
		t.Errorf("the new lane: slow %v", st.Slow)
	}
	if s := r.sw.Stats().Wire; s.InFlight != 0 || s.Delivered+s.Drops[Gone] != 151 {
		t.Errorf("%+v", s)
	}
}

// TestSlowRelay relays to a port on a slow lane only.
func TestSlowRelay(t *testing.T) {
	r := stepped(t)
	p := r.portWith(PortConfig{Name: "p", Foreign: true}, demuxtest.LaneConfig{}, "10.0.0.10")
	r.makeSlow(p)
	r.ok(r.sw.Relay(whoHas(hopMAC, "10.0.0.254", "10.0.0.254"), 0, p.id))
	r.until("it is counted", func() bool { r.settle(); st, _ := r.sw.PortStats(p.id); return st.RxFrames == 1 })
	if s := r.sw.Stats().Injected; s.Flooded != 1 || s.Received != 1 {
		t.Errorf("%+v", s)
	}
	p.lanes[0].Send(whoHas(nicMAC, "10.0.0.10", "10.0.0.1"))
	r.sw.workers[0].activate(p.id.Token())
	r.until("the answer is counted", func() bool { r.settle(); st, _ := r.sw.PortStats(p.id); return st.RxBuilt == 1 })
	if s := r.sw.Stats().Ports; s.Answered != 1 {
		t.Errorf("%+v", s)
	}
}

// TestSenderLeaves detaches a port whose frames lie in another's mailbox: they
// stay accounted for.
func TestSenderLeaves(t *testing.T) {
	r := stepped(t)
	hold := make(chan struct{})
	to := r.portWith(PortConfig{Name: "to", Foreign: true}, demuxtest.LaneConfig{Take: func(*frame.Frame) { <-hold }}, "10.0.0.10")
	from := r.port(PortConfig{Name: "from"}, "10.0.0.11")
	r.makeSlow(to)
	for i := range 10 {
		from.send(udp(nicMAC, nicMAC, b4, a4, i))
	}
	r.settle()
	r.ok(r.sw.Detach(from.id))
	r.settle()
	if s := r.sw.Stats().Ports; s.InFlight != 10 || s.Received != 10 {
		t.Errorf("while they are in flight: %+v", s)
	}
	close(hold)
	r.until("they are delivered", func() bool { r.settle(); return r.sw.Stats().Ports.Delivered == 10 })
	if n := len(r.sw.retired); n != 0 {
		t.Errorf("%d ledgers are kept", n)
	}
}

// crowded is many ports that run somebody else's code and are delivered to together;
// the first one's frames cost dear, the others' 3 µs.
type crowded struct {
	*rig
	clock hands
	dear  atomic.Int64
	desk  *office
	ids   []PortID
	flows []*stream
}

func newCrowded(t *testing.T, ports int) *crowded {
	c := &crowded{rig: stepped(t), desk: &office{t: t}}
	c.dear.Store(3_000)
	c.sw.clock, c.sw.threadTime, c.sw.slow.clock = c.clock.now, c.clock.now, c.clock.now
	for i := range ports {
		addr := benchAddr(100 + i)
		flow := newStream(addr, nicMAC)
		take := flow.take(t)
		lane := demuxtest.NewLane(t, nil, demuxtest.LaneConfig{Take: func(f *frame.Frame) {
			if c.clock.Add(3_000); i == 0 {
				c.clock.Add(c.dear.Load() - 3_000)
			}
			take(f)
		}})
		id, err := c.sw.Attach(PortConfig{Name: fmt.Sprint(i), Foreign: true, Addrs: []netip.Prefix{netip.PrefixFrom(addr, 32)}, Lanes: []Lane{redLane{lane, c.desk}}})
		c.ok(err)
		c.ids, c.flows = append(c.ids, id...), append(c.flows, flow)
	}
	c.settle()
	return c
}

// arrive has one frame come for each port, or for some, in one batch, and lets them
// pass.
func (c *crowded) arrive(some ...*stream) {
	var all [][]byte
	if some == nil {
		some = c.flows
	}
	for _, f := range some {
		all = append(all, f.next())
	}
	c.links[0].Arrive(all...)
	c.settle()
}

// whole reports whoever did not get all that came for him.
func (c *crowded) whole() {
	c.t.Helper()
	c.until("all is delivered", func() bool {
		c.settle()
		for _, f := range c.flows {
			if f.seen.Load() != f.sent.Load() {
				return false
			}
		}
		return true
	})
	if st := c.sw.Stats(); st.All.Dropped() != 0 {
		c.t.Errorf("lost: %v", st.All.Drops)
	}
}

// TestSlowInCompany is a port that is dear among many that are not, with all of
// which it is delivered to together: it is found, and nobody else.
func TestSlowInCompany(t *testing.T) {
	for _, ports := range []int{2, 8, 60} {
		c := newCrowded(t, ports)
		for range 100 {
			c.arrive()
		}
		if n := c.sw.Stats().SlowLanes; n != 0 {
			t.Fatalf("%d ports: %d are slow though all are cheap", ports, n)
		}
		if c.desk.calls.Load() < 90 {
			t.Errorf("%d ports: in 100 batches they were delivered to together %d times", ports, c.desk.calls.Load())
		}
		c.dear.Store(166_000)
		start, together := c.clock.now(), c.desk.calls.Load()
		for c.sw.Stats().SlowLanes == 0 {
			if c.clock.now()-start > 20*slowCredit {
				t.Fatalf("%d ports: the worker has lost %v to the slow one", ports, time.Duration(c.clock.now()-start))
			}
			c.arrive()
		}
		for i, id := range c.ids {
			if st, _ := c.sw.PortStats(id); st.Slow != (i == 0) {
				t.Errorf("%d ports: port %d is slow: %v", ports, i, st.Slow)
			}
		}
		c.whole()
		if ports == 2 {
			if n := c.desk.calls.Load() - together; n > 2 {
				t.Errorf("the two were delivered to together %d times since one is dear", n)
			}
			continue // the other one has no company any more
		}
		c.dear.Store(3_000) // whose thread moves the same clock
		before := c.desk.calls.Load()
		for range 100 {
			c.arrive()
		}
		c.whole()
		if n := c.desk.calls.Load() - before; n < 90 {
			t.Errorf("%d ports: without it they were delivered to together %d times in 100 batches", ports, n)
		}
	}
}

// TestSlowInTurns is a dear port and a cheap one that are delivered to together, where
// every second batch is for others alone: as when they come from another NIC queue.
func TestSlowInTurns(t *testing.T) {
	for between := range 5 {
		c := newCrowded(t, 4)
		c.dear.Store(166_000)
		for c.sw.Stats().SlowLanes == 0 {
			if c.clock.now() > 20*slowCredit {
				t.Fatalf("%d batches between: the worker has lost %v to the slow one", between, time.Duration(c.clock.now()))
			}
			c.arrive(c.flows[:2]...)
			for range between {
				c.arrive(c.flows[2:]...)
			}
		}
		if st, _ := c.sw.PortStats(c.ids[0]); !st.Slow {
			t.Errorf("%d batches between: another port is slow", between)
		}
		c.whole()
	}
}

// TestSlowHasNoCompany is a port on a slow lane, whose thread alone may deliver to it.
func TestSlowHasNoCompany(t *testing.T) {
	c := newCrowded(t, 4)
	w := c.sw.workers[0]
	to := w.lanes.at(c.ids[0].Slot)
	c.desk.never = to.lane
	w.enter()
	w.goSlow(to)
	for range 2 * jointCalls {
		c.arrive()
	}
	c.whole()
	if n := c.desk.calls.Load(); n < jointCalls {
		t.Errorf("the others were delivered to together %d times", n)
	}
}
