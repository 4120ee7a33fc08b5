package xdp

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// resources counts what a socket could leave behind in this process.
func resources(t testing.TB) (fds, mappings int) {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "xdpdemux-umem") || strings.Contains(line, "socket:") {
			mappings++
		}
	}
	return len(dir), mappings
}

func TestCloseLeavesNothing(t *testing.T) {
	r := newRig(t, rigConfig{})
	p := r.program(ModeNative, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
	fds, mappings := resources(t)
	for i := range 20 { // the queue is free again each time
		s := r.socket(p, SocketConfig{Frames: 256})
		if f, m := resources(t); f != fds+2 || m != mappings+5 {
			t.Fatalf("an open socket has %d descriptors and %d mappings, want 2 and 5", f-fds, m-mappings)
		}
		r.send(udp4(r.mac, "10.0.0.2"))
		take(t, s, 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if f, m := resources(t); f != fds || m != mappings {
			t.Fatalf("round %d: %d descriptors and %d mappings are left", i, f-fds, m-mappings)
		}
	}
}

func TestClosedSocketIsHarmless(t *testing.T) {
	r := newRig(t, rigConfig{})
	s := r.socket(nil, SocketConfig{Frames: 256})
	checkSending(t, r, s, []int{60})
	f := make([]frame.Frame, 8)
	s.Reserve(f, 60)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	empty := make([]frame.Frame, 8)
	if s.Recv(empty) != 0 || s.Reserve(empty, 60) != 0 || s.Reserve(empty, 9000) != 0 {
		t.Error("a closed socket lends frames")
	}
	s.Release()
	s.Commit(f[:0])
	st, err := s.Stats()
	if !errors.Is(err, ErrClosed) || st.Sent != 1 {
		t.Errorf("Stats: %+v, %v", st, err)
	}
	_, handover := s.Handover()
	for name, err := range map[string]error{"Close": s.Close(), "Handover": handover} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !s.Gone() || s.Pending() || s.Seize() != nil {
		t.Error("a closed socket is not gone")
	}
	if err := loadProgram(t, ProgramConfig{}).SetSocket(0, s); !errors.Is(err, ErrClosed) {
		t.Errorf("SetSocket: %v", err)
	}
}

// Each way to fail leaves nothing behind, and says what to do.
func TestOpenThatFails(t *testing.T) {
	r := newRig(t, rigConfig{})
	taken := r.socket(nil, SocketConfig{Frames: 256})
	fds, mappings := resources(t)
	cases := []struct {
		message string
		config  SocketConfig
		want    error
	}{
		{"another AF_XDP socket", SocketConfig{IfIndex: r.index, Patience: time.Millisecond}, unix.EBUSY},
		{"no such device", SocketConfig{IfIndex: 9999}, unix.ENODEV},
		{"ethtool -l", SocketConfig{IfIndex: r.index, Queue: 7}, unix.EINVAL},
		{"power of two", SocketConfig{IfIndex: r.index, RxSize: 100}, ErrConfig},
	}
	for _, c := range cases {
		s, err := OpenSocket(c.config)
		if s != nil || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.message) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v, want one line with %q", c.config, err, c.message)
		}
		if f, m := resources(t); f != fds || m != mappings {
			t.Fatalf("%q: %d descriptors and %d mappings are left", c.message, f-fds, m-mappings)
		}
	}
	checkSending(t, r, taken, []int{60}) // the one that holds the queue goes on
}

func TestZeroCopyFallsBack(t *testing.T) {
	r := newRig(t, rigConfig{}) // a veth has no zero-copy
	var zc *ZeroCopyError
	fds, mappings := resources(t)
	_, err := OpenSocket(SocketConfig{IfIndex: r.index, ZeroCopy: ZeroCopyOn})
	if !errors.As(err, &zc) || !errors.Is(err, unix.EOPNOTSUPP) || !strings.Contains(err.Error(), "choose auto or off") {
		t.Fatalf("zero-copy on: %v", err)
	}
	if f, m := resources(t); f != fds || m != mappings {
		t.Fatalf("%d descriptors and %d mappings are left", f-fds, m-mappings)
	}
	s := r.socket(nil, SocketConfig{ZeroCopy: ZeroCopyAuto})
	if s.ZeroCopy() || !errors.As(s.WhyCopy(), &zc) || !s.MultiBuffer() {
		t.Errorf("auto: zero-copy %v, because of %v", s.ZeroCopy(), s.WhyCopy())
	}
	checkSending(t, r, s, []int{60, 1514})
	s.Close()
	if s := r.socket(nil, SocketConfig{}); s.ZeroCopy() || s.WhyCopy() != nil {
		t.Errorf("off: zero-copy %v, because of %v", s.ZeroCopy(), s.WhyCopy())
	}
}

func TestBusyPoll(t *testing.T) {
	r := newRig(t, rigConfig{})
	p := r.program(ModeNative, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
	s := r.socket(p, SocketConfig{Frames: 256, BusyPoll: BusyPoll{Micros: 20}})
	for option, want := range map[int]int{unix.SO_PREFER_BUSY_POLL: 1, unix.SO_BUSY_POLL: 20} {
		if got, err := unix.GetsockoptInt(s.Fd(), unix.SOL_SOCKET, option); err != nil || got != want {
			t.Errorf("option %d is %d (%v), want %d", option, got, err, want)
		}
	}
	if b, why := s.BusyPoll(); b != (BusyPoll{Micros: 20, Budget: 64}) || why != nil {
		t.Errorf("%+v in force, %v", b, why)
	}
	before := s.state.Kicks
	s.Recv(make([]frame.Frame, 1))
	if s.state.Kicks != before+1 {
		t.Error("an empty Recv did not poll")
	}
	r.send(udp4(r.mac, "10.0.0.2"))
	take(t, s, 1)
}

// What the kernel refuses of busy polling leaves a socket that works by
// interrupts, and says so.
func TestBusyPollRefused(t *testing.T) {
	r := newRig(t, rigConfig{})
	p := r.program(ModeNative, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
	s := r.socket(p, SocketConfig{Frames: 256})
	s.setBusyPoll(BusyPoll{Micros: -7, Budget: 64}) // EINVAL of any kernel
	if b, why := s.BusyPoll(); b != (BusyPoll{}) || why == nil || !strings.Contains(why.Error(), "SO_BUSY_POLL") {
		t.Errorf("%+v in force, %v", b, why)
	}
	r.send(udp4(r.mac, "10.0.0.2"))
	take(t, s, 1)
}

// The descriptor becomes readable by a frame, which is how a worker sleeps.
func TestDescriptorIsPolled(t *testing.T) {
	r := newRig(t, rigConfig{})
	p := r.program(ModeNative, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
	s := r.socket(p, SocketConfig{Frames: 256})
	ready := func(wait int) bool {
		fds := []unix.PollFd{{Fd: int32(s.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, wait)
		return err == nil && n == 1 && fds[0].Revents&unix.POLLIN != 0
	}
	if ready(0) {
		t.Error("readable without a frame")
	}
	r.send(udp4(r.mac, "10.0.0.2"))
	if !ready(2000) {
		t.Error("not readable by a frame")
	}
	take(t, s, 1)
	if ready(0) {
		t.Error("still readable after Recv")
	}
}

// A worker in the middle of everything keeps running while its socket is taken
// from it; the queue is free at once.
func TestSeizeUnderTheWorkersFeet(t *testing.T) {
	r := newRig(t, rigConfig{})
	p := r.program(ModeNative, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
	for range 10 {
		s := r.socket(p, SocketConfig{Frames: 256})
		done := r.flood(20_000, udp4(r.mac, "10.0.0.2"))
		var stop atomic.Bool
		stopped, started := make(chan bool), make(chan bool)
		go func() {
			defer close(stopped)
			f := make([]frame.Frame, 64)
			for total := 0; !stop.Load(); {
				n := s.Recv(f)
				if total == 0 && n > 0 {
					close(started)
				}
				total += n
				s.Release()
				n = s.Reserve(f, 60)
				for i := range f[:n] {
					copy(f[i].Data, udp4(broadcast, "10.0.0.1"))
				}
				s.Commit(f[:n])
			}
		}()
		<-started
		if err := p.Rescue(s); err != nil {
			t.Fatal(err)
		}
		again := r.socket(nil, SocketConfig{Frames: 256})
		if again.Fd() == s.Fd() {
			t.Error("the number of the descriptor was given away under the worker")
		}
		if err := s.Seize(); err != nil {
			t.Errorf("a second time: %v", err)
		}
		eventually(t, "the flood to end", done.Load)
		stop.Store(true)
		<-stopped
		if !s.Gone() {
			t.Error("the worker's device is not gone")
		}
		if _, err := s.Stats(); !errors.Is(err, ErrClosed) {
			t.Errorf("Stats: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		again.Close()
	}
}
