package eventfd

import (
	"encoding/binary"
	"math"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func open(t testing.TB) *Notifier {
	t.Helper()
	n, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// of makes somebody's eventfd.
func of(t testing.TB, n *Notifier, flags int) (fd int, target *Target) {
	t.Helper()
	fd, err := unix.Eventfd(0, flags|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	made := n.Target(fd)
	return fd, &made
}

// count reads an eventfd; 0 is one that says nothing.
func count(t testing.TB, fd int) uint64 {
	t.Helper()
	var buf [8]byte
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Read(fd, buf[:]); err != nil {
		return 0
	}
	return binary.NativeEndian.Uint64(buf[:])
}

func TestEachIsToldOnce(t *testing.T) {
	n := open(t)
	var fds []int
	var targets []*Target
	for range 64 {
		fd, target := of(t, n, unix.EFD_NONBLOCK)
		fds, targets = append(fds, fd), append(targets, target)
	}
	for range 100 { // far more than the kernel keeps completions
		if told := n.Notify(targets); told != len(targets) {
			t.Fatalf("told %d of %d", told, len(targets))
		}
		for i, fd := range fds {
			if got := count(t, fd); got != 1 {
				t.Fatalf("eventfd %d was told %d times", i, got)
			}
		}
	}
}

// An eventfd that is full and blocks would hold a writer for ever.
func TestFullEventfdHoldsNobody(t *testing.T) {
	n := open(t)
	fd, target := of(t, n, 0)
	var full [8]byte
	binary.NativeEndian.PutUint64(full[:], math.MaxUint64-1)
	if _, err := unix.Write(fd, full[:]); err != nil {
		t.Fatal(err)
	}
	for range 3 * depth {
		if told := n.Notify([]*Target{target}); told != 1 {
			t.Fatalf("told %d", told)
		}
	}
	if got := count(t, fd); got < math.MaxUint64-1 {
		t.Errorf("the counter went from full to %d", got)
	}
}

// What is no eventfd is not told, and who stands before it is; the others are
// the caller's to try again.
func TestWhoCannotBeTold(t *testing.T) {
	n := open(t)
	good, first := of(t, n, unix.EFD_NONBLOCK)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	for what, fd := range map[string]Target{"a pipe": n.Target(pipe[1]), "none": n.Target(-1)} {
		_, last := of(t, n, unix.EFD_NONBLOCK)
		if told := n.Notify([]*Target{first, &fd, last}); told != 1 {
			t.Errorf("%s: told %d, want 1", what, told)
		}
		if got := count(t, good); got != 1 {
			t.Errorf("%s: who stands before was told %d times", what, got)
		}
	}
	if told := n.Notify(nil); told != 0 {
		t.Errorf("of none told %d", told)
	}
}

func TestManyThreadsTellMany(t *testing.T) {
	n := open(t)
	const threads, rounds = 4, 2000
	fd, _ := of(t, n, unix.EFD_NONBLOCK)
	var all sync.WaitGroup
	for range threads {
		all.Go(func() {
			target := n.Target(fd)
			for range rounds {
				if n.Notify([]*Target{&target, &target}) != 2 {
					t.Error("not told")
					return
				}
			}
		})
	}
	all.Wait()
	if got := count(t, fd); got != threads*rounds*2 {
		t.Errorf("told %d times, want %d", got, threads*rounds*2)
	}
}

func TestNotifyAllocatesNothing(t *testing.T) {
	n := open(t)
	_, target := of(t, n, unix.EFD_NONBLOCK)
	if got := testing.AllocsPerRun(1000, func() { n.Notify([]*Target{target}) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkNotify(b *testing.B) {
	for _, each := range []int{1, 8, 64} {
		b.Run(map[int]string{1: "1", 8: "8", 64: "64"}[each], func(b *testing.B) {
			n := open(b)
			var targets []*Target
			for range each {
				_, target := of(b, n, unix.EFD_NONBLOCK)
				targets = append(targets, target)
			}
			for b.Loop() {
				n.Notify(targets)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*each), "ns/eventfd")
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	one := []byte{1, 0, 0, 0, 0, 0, 0, 0}
	for b.Loop() {
		_, _ = unix.Write(fd, one)
	}
}
