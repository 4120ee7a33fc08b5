package xdp

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// fakeWatched is a worker that does what the test says.
type fakeWatched struct {
	pending  bool
	progress uint64
}

func (f *fakeWatched) Pending() bool    { return f.pending }
func (f *fakeWatched) Progress() uint64 { return f.progress }

// clock is the watchdog's time in a test.
type clock struct{ now time.Time }

func (c *clock) after(d time.Duration) time.Time {
	c.now = c.now.Add(d)
	return c.now
}

const look = WatchdogLimit / watchdogLooks

func TestWatchdogRescuesAStuckWorkerOnce(t *testing.T) {
	d, c := NewWatchdog(), clock{time.Unix(0, 0)}
	w, rescued := &fakeWatched{pending: true}, 0
	d.Guard(w, func() { rescued++ })
	for i := range watchdogLooks {
		d.look(c.after(look))
		if rescued != 0 {
			t.Fatalf("rescued at look %d, before the limit", i+1)
		}
	}
	d.look(c.after(look))
	if rescued != 1 {
		t.Fatalf("rescued %d times after the limit, want once", rescued)
	}
	for range 10 {
		d.look(c.after(look))
	}
	if rescued != 1 {
		t.Errorf("rescued %d times", rescued)
	}
}

func TestWatchdogLeavesAWorkerThatProgresses(t *testing.T) {
	d, c := NewWatchdog(), clock{time.Unix(0, 0)}
	busy, idle := &fakeWatched{pending: true}, &fakeWatched{}
	left, flaky := &fakeWatched{pending: true}, &fakeWatched{pending: true}
	for _, w := range []*fakeWatched{busy, idle, left, flaky} {
		d.Guard(w, func() { t.Errorf("rescued %+v", *w) })
	}
	d.Leave(left)
	for i := range 100 {
		if i%3 == 0 {
			busy.progress++
		}
		flaky.pending = i%watchdogLooks != 0
		d.look(c.after(look))
	}
}

// A pause of the whole process is one look, however long it was; and looks that
// come in a burst are not time.
func TestWatchdogCountsLooksAndTime(t *testing.T) {
	d, c := NewWatchdog(), clock{time.Unix(0, 0)}
	w, rescued := &fakeWatched{pending: true}, 0
	d.Guard(w, func() { rescued++ })
	d.look(c.after(look))
	d.look(c.after(time.Hour))
	if rescued != 0 {
		t.Error("a pause was taken for a stuck worker")
	}
	w.progress++
	for range 20 {
		d.look(c.after(time.Microsecond))
	}
	if rescued != 0 {
		t.Error("a burst of looks was taken for time")
	}
	d.look(c.after(WatchdogLimit))
	if rescued != 1 {
		t.Error("not rescued once both had passed")
	}
}

func TestWatchdogRuns(t *testing.T) {
	d := NewWatchdog()
	ctx, cancel := context.WithCancel(t.Context())
	rescued, ended := make(chan bool), make(chan bool)
	d.Guard(&fakeWatched{pending: true}, func() { close(rescued) })
	go func() {
		defer close(ended)
		d.Run(ctx)
	}()
	<-rescued
	cancel()
	<-ended
}

// Where nothing is guarded nothing is looked at: in copy mode the watchdog costs
// nothing.
func TestWatchdogSleepsWithoutPatients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewWatchdog()
		looks := func() uint64 {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.looks
		}
		go d.Run(t.Context())
		time.Sleep(time.Hour)
		if n := looks(); n != 0 {
			t.Fatalf("%d looks at nothing", n)
		}
		for range 3 { // it wakes again each time
			w := &fakeWatched{}
			d.Guard(w, func() { t.Error("rescued") })
			before := looks()
			time.Sleep(time.Second)
			if looks() == before {
				t.Fatal("a guarded socket is not looked at")
			}
			d.Leave(w)
			time.Sleep(time.Second)
			before = looks()
			time.Sleep(time.Hour)
			if n := looks(); n != before {
				t.Fatalf("%d looks at nothing", n-before)
			}
		}
	})
}

// What the watchdog sees of a socket: frames that wait, frames that are lent,
// and that they are given back.
func TestSocketUnderWatch(t *testing.T) {
	s, k := newFake(t, small)
	f := make([]frame.Frame, 8)
	if s.Pending() {
		t.Error("frames are pending before any came")
	}
	k.receiveFrame(numbered(1, 100))
	before := s.Progress()
	if !s.Pending() {
		t.Error("a frame that waits is not pending")
	}
	s.Recv(f)
	if !s.Pending() || s.Progress() != before {
		t.Error("a frame that is lent counts as progress")
	}
	s.Release()
	if s.Pending() || s.Progress() == before {
		t.Error("a frame that was given back is no progress")
	}
}

// The whole way on a device: a worker stops, the watchdog takes the socket, the
// host has its frames back.
func TestWatchdogGivesTheHostItsFramesBack(t *testing.T) {
	r := newRig(t, rigConfig{})
	p := r.program(ModeNative, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
	s := r.socket(p, SocketConfig{Frames: 256})
	d := NewWatchdog()
	rescued := make(chan error, 1)
	d.Guard(s, func() { rescued <- p.Rescue(s) })
	go d.Run(t.Context())
	r.send(udp4(r.mac, "10.0.0.2"))
	if err := <-rescued; err != nil {
		t.Fatal(err)
	}
	host := packetSocket(t, r.index)
	r.send(udp4(r.mac, "10.0.0.2"))
	if receive(host) == nil {
		t.Error("the host did not get the next frame")
	}
	if !s.Gone() {
		t.Error("the socket is not gone")
	}
}

// What may be called from anywhere is called while the worker works; the race
// detector looks on.
func TestControlPlaneBesideTheWorker(t *testing.T) {
	s, k := newTreadmill(t, small, 64)
	done := make(chan bool)
	go func() {
		defer close(done)
		f := make([]frame.Frame, 64)
		for range 2000 {
			breath(s, k, f, 100)
		}
	}()
	for last := uint64(0); ; {
		st := s.state.counters.read()
		if st.Received < last {
			t.Fatalf("the counter went back from %d to %d", last, st.Received)
		}
		last = st.Received
		if _, err := s.Handover(); err != nil || s.Down() || s.Gone() || s.Fd() != -1 {
			t.Fatalf("Handover %v, down %v", err, s.Down())
		}
		s.Progress()
		s.Pending()
		select {
		case <-done:
			if got := s.state.counters.read().Received; got != 2000*64 {
				t.Errorf("%d received", got)
			}
			return
		default:
		}
	}
}
