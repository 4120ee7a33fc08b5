package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// burner tells what all processors spend, the kernel's interrupts included, to
// the microsecond: a process with the scheduler's idle policy does nothing but
// count on each of them, and what it cannot count in a window somebody else had.
// (The kernel's own figures of /proc/stat are sampled by ticks, which miss work
// that is shorter than one.)
//
// It keeps the processors from sleeping, for every contender alike.
type burner struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	page  *page
	rates []float64 // turns in a second of each processor that has nothing else to do
}

// burnCommand is the argument by which the program knows that it is the burner.
const burnCommand = "burn"

// A turn is so many steps of arithmetic, between half a microsecond and two.
const turnSteps = 1000

// How the rates are found: the fastest of many short slices, since what
// disturbs a slice only ever makes it slower.
const (
	calibrationSlices = 60
	calibrationSlice  = 5 * time.Millisecond
	calibrationTries  = 10 // until others leave each processor some time
)

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
	r.stdin, err = r.cmd.StdinPipe()
	b.check(err)
	b.check(r.cmd.Start())
	b.Cleanup(func() {
		_ = r.stdin.Close()
		_ = r.cmd.Wait()
	})
	for range calibrationTries - 1 {
		if r.calibrate() == nil {
			return r
		}
	}
	b.check(r.calibrate())
	return r
}

// turns is what each processor has counted.
func (r *burner) turns() []uint64 {
	t := make([]uint64, runtime.NumCPU())
	for i := range t {
		t[i] = r.page.counter(i).Load()
	}
	return t
}

func (r *burner) calibrate() error {
	r.rates = make([]float64, runtime.NumCPU())
	for range calibrationSlices {
		before, at := r.turns(), time.Now()
		time.Sleep(calibrationSlice)
		after, seconds := r.turns(), time.Since(at).Seconds()
		for i := range r.rates {
			r.rates[i] = max(r.rates[i], float64(after[i]-before[i])/seconds)
		}
	}
	for i, rate := range r.rates {
		if rate == 0 {
			return fmt.Errorf("processor %d has no time to spare: its use cannot be measured", i)
		}
	}
	return nil
}

// busy is the time that others than the burner had, between two readings of its
// counters, seconds apart; in nanoseconds, of all processors together.
func (r *burner) busy(before, after []uint64, seconds float64) float64 {
	sum := 0.0
	for i := range after {
		sum += busyTime(after[i]-before[i], r.rates[i], seconds)
	}
	return sum * 1e9
}

// busyTime is in seconds; a burner that counted more than it can was not
// disturbed at all.
func busyTime(turns uint64, rate, seconds float64) float64 {
	return max(0, seconds-float64(turns)/rate)
}

// burn is the process: it counts until its input ends.
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

func count(turns *atomic.Uint64) {
	x, n := uint64(1), uint64(0)
	for {
		for range turnSteps {
			x = x*6364136223846793005 + 1442695040888963407
		}
		n++
		turns.Store(n)
		if x == 0 { // whoever asks for the result has it worked out
			runtime.Gosched()
		}
	}
}
