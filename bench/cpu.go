package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// burner tells what all processors spend, the kernel's interrupts included, to
// the microsecond: a process with the scheduler's idle policy looks at the clock
// without end on each of them, and what it had no time for in a window somebody else
// had. How fast it goes round does not matter, which differs with what the machine's
// other users do. (The kernel's own figures of /proc/stat are sampled by ticks, which
// miss work that is shorter than one.)
//
// It keeps the processors from sleeping, for every contender alike.
type burner struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	page  *page
}

// burnCommand is the argument by which the program knows that it is the burner.
const burnCommand = "burn"

// interruption is longer than from one look at the clock to the next, 30 to 80 ns, and
// shorter than any interrupt.
const interruption = 300 * time.Nanosecond

// mostCPUs is how many counters a page has room for.
const mostCPUs = pageSize / counterPlace

func startBurner(b *bed) *burner {
	if runtime.NumCPU() > mostCPUs {
		b.Skipf("more than %d processors cannot be watched", mostCPUs)
	}
	p, err := newPage()
	b.check(err)
	b.Cleanup(p.close)
	r := &burner{page: p, cmd: exec.Command("/proc/self/exe", burnCommand)}
	r.cmd.ExtraFiles = []*os.File{p.file}
	r.cmd.Stderr = os.Stderr
	r.stdin, err = r.cmd.StdinPipe()
	b.check(err)
	b.check(r.cmd.Start())
	b.Cleanup(func() {
		_ = r.stdin.Close()
		_ = r.cmd.Wait()
	})
	b.check(r.counts())
	return r
}

// A burner counts a processor once it had firstSpare of it, within firstLook.
const (
	firstSpare = 10 * time.Millisecond
	firstLook  = 5 * time.Second
)

// counts waits until every processor is counted.
func (r *burner) counts() error {
	for end := time.Now().Add(firstLook); ; time.Sleep(firstSpare) {
		cpu := slices.IndexFunc(r.spare(), func(ns uint64) bool { return ns < uint64(firstSpare) })
		if cpu < 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("processor %d has no time to spare, or a clock that takes %v to read: its use cannot be measured", cpu, interruption)
		}
	}
}

// spare is the time that each processor has had for the burner, in nanoseconds.
func (r *burner) spare() []uint64 {
	t := make([]uint64, runtime.NumCPU())
	for i := range t {
		t[i] = r.page.counter(i).Load()
	}
	return t
}

// busyTime is the time that others than the burner had, between two readings of what
// it had itself, seconds apart; in nanoseconds, of all processors together.
func busyTime(before, after []uint64, seconds float64) float64 {
	sum := 0.0
	for i := range after {
		sum += max(0, seconds*1e9-float64(after[i]-before[i]))
	}
	return sum
}

// burn is the process: it looks at the clock until its input ends.
func burn(in io.Reader) error {
	p, err := openPage(os.NewFile(3, "counters"))
	if err != nil {
		return err
	}
	debug.SetGCPercent(-1)
	cpus := runtime.NumCPU()
	runtime.GOMAXPROCS(cpus + 2)
	started := make(chan error, cpus)
	for cpu := range cpus {
		go func() {
			runtime.LockOSThread()
			err := errors.Join(pin(cpu), idlePolicy())
			started <- err
			if err == nil {
				count(p.counter(cpu))
			}
		}()
	}
	for range cpus {
		if err := <-started; err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

// idlePolicy has the calling thread run only where nobody else wants to.
func idlePolicy() error {
	err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
	if err != nil {
		return fmt.Errorf("the scheduler's idle policy: %w", err)
	}
	return nil
}

// count publishes what the calling thread has of its processor, without end.
func count(spare *atomic.Uint64) {
	began, own := time.Now(), ownTime{}
	for {
		own.look(time.Since(began))
		spare.Store(uint64(own.sum))
	}
}

// ownTime adds up the time between looks at the clock that nothing came between.
type ownTime struct{ last, sum time.Duration }

func (o *ownTime) look(now time.Duration) {
	if now-o.last < interruption {
		o.sum += now - o.last
	}
	o.last = now
}
