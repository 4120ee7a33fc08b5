package xdp

import (
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// flood sends count frames from a goroutine of its own, and says when it is done.
func (r *rig) flood(count int, data []byte) *atomic.Bool {
	done := new(atomic.Bool)
	wire := r.wire
	go func() {
		defer done.Store(true)
		for range count {
			if unix.Send(wire, data, 0) != nil {
				runtime.Gosched()
			}
		}
	}()
	return done
}

// settle ends the flow into the socket and receives what had come.
func settle(t testing.TB, p *Program, s *Socket) {
	t.Helper()
	if err := p.ClearSocket(s.Queue()); err != nil {
		t.Fatal(err)
	}
	drain(s)
}

// Nothing is received while more comes than there are chunks: exactly that many
// wait, and every other frame is in a drop counter.
func TestExactCountsWithAStarvedFillRing(t *testing.T) {
	bothModes(t, func(t *testing.T, mode Mode) {
		r := newRig(t, rigConfig{})
		p := r.program(mode, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
		s := r.socket(p, SocketConfig{Frames: 256})
		for range 5 {
			for range 2000 {
				r.send(udp4(r.mac, "10.0.0.2"))
			}
			eventually(t, "the fill ring to be empty", func() bool { return s.rx.waiting() == 128 })
			if n := drain(s); n < 128 {
				t.Fatalf("%d frames waited, want all 128 chunks full", n)
			}
		}
		settle(t, p, s)
		_, st := exact(t, p, s)
		if st.RxDropped == 0 || st.FillEmpty == 0 {
			t.Errorf("nothing was dropped for want of chunks: %+v", st)
		}
	})
}

func TestExactCountsWithAFullReceiveRing(t *testing.T) {
	bothModes(t, func(t *testing.T, mode Mode) {
		r := newRig(t, rigConfig{})
		p := r.program(mode, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
		s := r.socket(p, SocketConfig{Frames: 1024, RxSize: 64})
		for range 1000 {
			r.send(udp4(r.mac, "10.0.0.2"))
		}
		eventually(t, "the receive ring to be full", func() bool { return s.rx.waiting() == 64 })
		settle(t, p, s)
		if _, st := exact(t, p, s); st.RxRingFull == 0 || st.Received < 64 {
			t.Errorf("the receive ring was not full: %+v", st)
		}
	})
}

// A worker that receives and sends at the same time, under more load than it
// can take, with the slot emptied and filled again meanwhile.
func TestExactCountsUnderLoad(t *testing.T) {
	bothModes(t, func(t *testing.T, mode Mode) {
		r := newRig(t, rigConfig{})
		p := r.program(mode, exactRule(RuleIPIdentity, 0, "10.0.0.2"), macRule(0, ownMAC))
		s := r.socket(p, SocketConfig{Frames: 256})
		done := r.flood(100_000, udp4(r.mac, "10.0.0.2"))
		f := make([]frame.Frame, 64)
		sent, since := uint64(0), 0
		for !done.Load() {
			n := s.Recv(f)
			s.Release()
			if n > 0 {
				n = s.Reserve(f[:min(n, 16)], 60)
				for i := range f[:n] {
					copy(f[i].Data, udp4(broadcast, "10.0.0.1"))
				}
				s.Commit(f[:n])
				sent += uint64(n)
			}
			if since += n; since > 1000 {
				since = 0
				if err := p.ClearSocket(0); err != nil {
					t.Fatal(err)
				}
				runtime.Gosched()
				if err := p.SetSocket(0, s); err != nil {
					t.Fatal(err)
				}
			}
		}
		settle(t, p, s)
		c, st := exact(t, p, s)
		if st.Received == 0 || sent == 0 || st.Sent != sent {
			t.Errorf("%d received, %d sent, %d counted as sent", st.Received, sent, st.Sent)
		}
		if c.Redirected()+c.Passed() > 100_000 {
			t.Errorf("%d frames of 100000 were counted", c.Redirected()+c.Passed())
		}
		allReturned(t, s)
		if n := fill(s.memory.fill.ringMemory); n != 128 {
			t.Errorf("the fill ring holds %d chunks, want all 128", n)
		}
	})
}

// The device vanishes while frames run both ways: nothing hangs, nothing panics,
// and everything can be closed.
func TestDeviceRemovedUnderTraffic(t *testing.T) {
	bothModes(t, func(t *testing.T, mode Mode) {
		r := newRig(t, rigConfig{})
		p := r.program(mode, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
		s := r.socket(p, SocketConfig{Frames: 256})
		done := r.flood(50_000, udp4(r.mac, "10.0.0.2"))
		f := make([]frame.Frame, 64)
		breath := func() int {
			got := s.Recv(f)
			s.Release()
			n := s.Reserve(f[:8], 60)
			for i := range f[:n] {
				copy(f[i].Data, udp4(broadcast, "10.0.0.1"))
			}
			s.Commit(f[:n])
			return got
		}
		total := 0
		eventually(t, "traffic", func() bool { total += breath(); return total > 100 })
		r.unplug()
		eventually(t, "the socket to notice", func() bool { breath(); return s.Gone() })
		kicks := s.state.Kicks
		for range 10_000 {
			breath()
		}
		if s.state.Kicks != kicks {
			t.Errorf("%d system calls for a device that is gone", s.state.Kicks-kicks)
		}
		eventually(t, "the flood to end", done.Load)
		if !s.Down() {
			t.Error("a device that is gone is not down")
		}
		if _, err := s.Stats(); err != nil {
			t.Errorf("Stats: %v", err)
		}
		if err := p.Detach(); err != nil {
			t.Errorf("Detach: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		// It returns, and with it everything works again.
		r.plug()
		r.attach(p, mode)
		again := r.socket(p, SocketConfig{Frames: 256})
		r.send(udp4(r.mac, "10.0.0.2"))
		take(t, again, 1)
	})
}

func TestDeviceDownAndUpUnderTraffic(t *testing.T) {
	r := newRig(t, rigConfig{})
	p := r.program(ModeNative, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
	s := r.socket(p, SocketConfig{Frames: 256})
	f := make([]frame.Frame, 8)
	transmit := func() int {
		n := s.Reserve(f, 60)
		for i := range f[:n] {
			copy(f[i].Data, udp4(broadcast, "10.0.0.1"))
		}
		s.Commit(f[:n])
		return n
	}
	for range 5 {
		r.send(udp4(r.mac, "10.0.0.2"))
		take(t, s, 1)
		r.up(false)
		eventually(t, "the socket to notice that the device is down", func() bool { transmit(); return s.Down() })
		if s.Gone() {
			t.Fatal("a device that is down counts as gone")
		}
		if n := transmit(); n != 0 {
			t.Errorf("%d buffers while the device is down", n)
		}
		r.up(true)
		eventually(t, "the socket to notice that the device is up", func() bool { transmit(); return !s.Down() })
	}
	r.send(udp4(r.mac, "10.0.0.2"))
	take(t, s, 1)
	settle(t, p, s)
	exact(t, p, s)
	allReturned(t, s)
	if st, _ := s.Stats(); st.Downs != 5 {
		t.Errorf("%d downs, want 5", st.Downs)
	}
}

// A socket may be opened while the device is down.
func TestOpenOnADeviceThatIsDown(t *testing.T) {
	r := newRig(t, rigConfig{})
	r.up(false)
	p := r.program(ModeNative, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
	s := r.socket(p, SocketConfig{Frames: 256})
	r.up(true)
	r.send(udp4(r.mac, "10.0.0.2"))
	take(t, s, 1)
	eventually(t, "the socket to notice that the device is up", func() bool { s.Reserve(nil, 60); return !s.Down() })
	checkSending(t, r, s, []int{60})
}

// When ClearSocket has returned, everything that was redirected has arrived:
// nothing comes later, though the sender goes on.
func TestClearSocketIsABarrier(t *testing.T) {
	r := newRig(t, rigConfig{})
	p := r.program(ModeNative, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
	s := r.socket(p, SocketConfig{Frames: 4096})
	defer r.generate(udp4(r.mac, "10.0.0.2"))() // in batches of 64, as a NIC does
	for range 100 {
		eventually(t, "frames", func() bool { return drain(s) > 0 })
		if err := p.ClearSocket(0); err != nil {
			t.Fatal(err)
		}
		at := atomic.LoadUint32(s.rx.peer)
		drain(s)
		passed := countersOf(t, p).PassedNoSocket
		eventually(t, "frames for the host", func() bool { return countersOf(t, p).PassedNoSocket > passed+100 })
		if later := atomic.LoadUint32(s.rx.peer) - at; later != 0 || drain(s) != 0 {
			t.Fatalf("%d frames came after ClearSocket had returned", later)
		}
		if err := p.SetSocket(0, s); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, p, s)
	exact(t, p, s)
}
