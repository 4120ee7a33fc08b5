package epoll

import (
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux"
)

var _ demux.Waiter = (*Waiter)(nil)

func open(t *testing.T) *Waiter {
	t.Helper()
	w, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func bell(t *testing.T) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func ring(t *testing.T, fd int) {
	t.Helper()
	if _, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
}

func TestTokenComesOncePerRing(t *testing.T) {
	w, fd := open(t), bell(t)
	const token = 0xfffe0001
	if err := w.AddLane(fd, token); err != nil {
		t.Fatal(err)
	}
	ready := make([]uint32, 4)
	if n := w.Wait(ready, 0); n != 0 {
		t.Fatalf("%d tokens before anything rang", n)
	}
	for range 3 {
		ring(t, fd)
		if n := w.Wait(ready, -1); n != 1 || ready[0] != token {
			t.Fatalf("got %d tokens, %#x; want 1, %#x", n, ready[0], uint32(token))
		}
		if n := w.Wait(ready, 0); n != 0 {
			t.Fatalf("%d tokens for a bell that rang once", n)
		}
	}
}

func TestFramesThatAreThereAlreadyRing(t *testing.T) {
	w, fd := open(t), bell(t)
	ring(t, fd)
	if err := w.AddLane(fd, 7); err != nil {
		t.Fatal(err)
	}
	ready := make([]uint32, 1)
	if n := w.Wait(ready, 0); n != 1 || ready[0] != 7 {
		t.Fatalf("got %d tokens, %v", n, ready)
	}
}

func TestLinkAndWakeEndWaitWithoutToken(t *testing.T) {
	for name, act := range map[string]func(*Waiter, int){
		"link": func(_ *Waiter, fd int) { ring(t, fd) },
		"wake": func(w *Waiter, _ int) { w.Wake(); w.Wake() },
	} {
		t.Run(name, func(t *testing.T) {
			w, fd := open(t), bell(t)
			if err := w.AddLink(fd); err != nil {
				t.Fatal(err)
			}
			// A signal ends Wait as well, so the act is waited for apart:
			// it must find its descriptors open.
			var acted sync.WaitGroup
			acted.Go(func() { act(w, fd) })
			if n := w.Wait(make([]uint32, 4), -1); n != 0 {
				t.Errorf("%d tokens", n)
			}
			acted.Wait()
		})
	}
}

func TestManyLanesAreYieldedInTurns(t *testing.T) {
	w := open(t)
	want := map[uint32]bool{}
	for i := range uint32(20) {
		fd := bell(t)
		ring(t, fd)
		if err := w.AddLane(fd, i<<16|1); err != nil {
			t.Fatal(err)
		}
		want[i<<16|1] = true
	}
	ready := make([]uint32, 3)
	for len(want) > 0 {
		n := w.Wait(ready, 0)
		if n == 0 {
			t.Fatalf("%d lanes never rang", len(want))
		}
		for _, token := range ready[:n] {
			delete(want, token)
		}
	}
}

func TestRemoveForgets(t *testing.T) {
	w, fd := open(t), bell(t)
	if err := w.AddLane(fd, 1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Remove(fd); err != nil {
			t.Fatal(err)
		}
	}
	ring(t, fd)
	if n := w.Wait(make([]uint32, 1), 0); n != 0 {
		t.Errorf("%d tokens of a forgotten lane", n)
	}
}

// A descriptor whose number was given to something else meanwhile, which cannot be
// polled, is forgotten.
func TestRemoveWhatCannotBePolled(t *testing.T) {
	w, fd := open(t), bell(t)
	if err := w.AddLink(fd); err != nil {
		t.Fatal(err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	if err := unix.Dup3(null, fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := w.Remove(fd); err != nil {
		t.Error(err)
	}
}

func TestLookingAllocatesNothing(t *testing.T) {
	w, fd := open(t), bell(t)
	if err := w.AddLane(fd, 1); err != nil {
		t.Fatal(err)
	}
	ready := make([]uint32, 8)
	if n := testing.AllocsPerRun(100, func() { w.Wait(ready, 0) }); n != 0 {
		t.Errorf("%v allocations a look", n)
	}
}

func TestMillisecondsNeverTurnASleepIntoALook(t *testing.T) {
	for d, want := range map[time.Duration]int{-1: -1, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, time.Second: 1000} {
		if got := milliseconds(d); got != want {
			t.Errorf("%v: %d ms, want %d", d, got, want)
		}
	}
}
