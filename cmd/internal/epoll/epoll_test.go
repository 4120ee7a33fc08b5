package epoll

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
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

// busy looks as often as a worker that has much to do.
func busy(w *Waiter) {
	for range 2 * busyLooks {
		w.Wait(make([]uint32, 4), 0)
	}
}

// asleep tells whether the worker sleeps through the next few milliseconds.
func asleep(w *Waiter) bool {
	const long = 20 * time.Millisecond
	began := time.Now()
	w.Wait(make([]uint32, 4), long)
	return time.Since(began) >= long
}

// Whatever comes to a link while the worker is busy ends its next sleep, and
// whatever comes later does too.
func TestLinkIsHeardAfterBusyTime(t *testing.T) {
	w, early, late := open(t), bell(t), bell(t)
	for _, fd := range []int{early, late} {
		if err := w.AddLink(fd); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		busy(w)
		for _, fd := range []int{early, late} {
			ring(t, fd)
			if n := w.Wait(make([]uint32, 4), -1); n != 0 {
				t.Errorf("%d tokens", n)
			}
		}
	}
}

// Links that come and go while the worker is busy are watched, and forgotten, when
// it sleeps.
func TestLinksChangeWhileBusy(t *testing.T) {
	w, first, second := open(t), bell(t), bell(t)
	if err := w.AddLink(first); err != nil {
		t.Fatal(err)
	}
	busy(w)
	if err := w.AddLink(second); err != nil {
		t.Fatal(err)
	}
	if err := w.Remove(first); err != nil {
		t.Fatal(err)
	}
	ring(t, first)
	for !asleep(w) { // a signal ends a sleep now and then
	}
	ring(t, second)
	w.Wait(make([]uint32, 4), -1)
}

// A link that was taken from its worker, or closed, lets the worker sleep, and the
// others are heard.
func TestLinkIsGoneAfterBusyTime(t *testing.T) {
	w, seized, closed, alive := open(t), bell(t), bell(t), bell(t)
	for _, fd := range []int{seized, closed, alive} {
		if err := w.AddLink(fd); err != nil {
			t.Fatal(err)
		}
	}
	busy(w)
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	if err := errors.Join(unix.Dup3(null, seized, unix.O_CLOEXEC), unix.Close(closed)); err != nil {
		t.Fatal(err)
	}
	for !asleep(w) {
	}
	ring(t, alive)
	if n := w.Wait(make([]uint32, 4), -1); n != 0 {
		t.Errorf("%d tokens", n)
	}
}

// TestEverySleepEnds: whenever it is that something comes, before, while the
// worker dozes or when Go has heard that it sleeps.
func TestEverySleepEnds(t *testing.T) {
	w, fd := open(t), bell(t)
	if err := w.AddLane(fd, 7); err != nil {
		t.Fatal(err)
	}
	var over atomic.Bool
	woken := make(chan int)
	go func() {
		defer close(woken)
		ready := make([]uint32, 4)
		for {
			if n := w.Wait(ready, -1); n > 0 { // Go's own signals end it as well
				woken <- n
			} else if over.Load() {
				return
			}
		}
	}()
	for range 3 {
		for range 2 * shortSleeps {
			ring(t, fd)
			if n := <-woken; n != 1 {
				t.Errorf("%d tokens, want 1", n)
			}
		}
		time.Sleep(3 * doze * time.Millisecond)
	}
	over.Store(true)
	w.Wake()
	<-woken
}

// TestWhenToDoze: after many short sleeps, until one was not short.
func TestWhenToDoze(t *testing.T) {
	w, fd := open(t), bell(t)
	if err := w.AddLane(fd, 7); err != nil {
		t.Fatal(err)
	}
	ready := make([]uint32, 4)
	for i := range shortSleeps {
		if w.short != i {
			t.Fatalf("%d short sleeps, want %d", w.short, i)
		}
		ring(t, fd)
		w.Wait(ready, -1)
	}
	for range 3 { // dozing
		ring(t, fd)
		if n := w.Wait(ready, -1); n != 1 || w.short != shortSleeps {
			t.Fatalf("%d tokens, %d short sleeps, want 1 and %d", n, w.short, shortSleeps)
		}
		if n := w.Wait(ready, time.Millisecond); n != 0 || w.short != shortSleeps {
			t.Fatalf("%d tokens, %d short sleeps after one that was to be short", n, w.short)
		}
	}
	for tries := 0; w.short != 0; tries++ { // a signal ends a doze as well
		if n := w.Wait(ready, 2*doze*time.Millisecond); n != 0 || tries == 100 {
			t.Fatalf("%d tokens, %d short sleeps after %d long ones", n, w.short, tries)
		}
	}
	if n := w.Wait(ready, time.Millisecond); n != 0 || w.short != 0 {
		t.Errorf("%d tokens, %d short sleeps after one that nothing ended", n, w.short)
	}
}

// TestDozingStopsNobody: who dozes all the time holds up neither the collector nor,
// where Go has one place alone, anybody else.
func TestDozingStopsNobody(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	w := open(t)
	var stopped atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		ready := make([]uint32, 4)
		for !stopped.Load() {
			w.short = shortSleeps
			w.Wait(ready, doze*time.Millisecond)
		}
	}()
	for range 20 {
		time.Sleep(time.Millisecond)
		runtime.GC()
	}
	stopped.Store(true)
	<-done
}

// TestSignalIsNoExpiry: a signal, by which Go asks a thread to stop, does not look
// as if nothing had come for a moment, or every tenth millisecond would end the dozing.
func TestSignalIsNoExpiry(t *testing.T) {
	w := open(t)
	thread, answer := make(chan int), make(chan int, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		answer <- look(w.fd, w.events[:], 10_000)
	}()
	for tid := <-thread; ; {
		if err := unix.Tgkill(unix.Getpid(), tid, unix.SIGURG); err != nil {
			t.Fatal(err)
		}
		select {
		case n := <-answer:
			if n != -1 {
				t.Errorf("look returned %d, want -1", n)
			}
			return
		case <-time.After(time.Millisecond): // it did not sleep yet
		}
	}
}
