package main

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Who runs where, the same for every contender.
const (
	generatorCPU = 0 // the generator, and the kernel's receive work with it
	workerCPU    = 1 // worker and consumers
	leastCPUs    = 2
)

// pin binds the calling thread to one processor.
func pin(cpu int) error {
	var one unix.CPUSet
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("binding a thread to processor %d: %w", cpu, err)
	}
	return nil
}

// pinned runs fn on one processor, and then gives the calling thread, which is
// somebody else's, its processors back. The goroutine keeps to the thread
// meanwhile: if it went to another one, the first would stay bound, and with it
// every program that is started from there.
func pinned(cpu int, fn func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("asking for a thread's processors: %w", err)
	}
	defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &before)) }()
	if err := pin(cpu); err != nil {
		return err
	}
	return fn()
}

// onCPU runs fn on a thread of its own that is bound to a processor, and which
// ends with fn.
func onCPU(cpu int, fn func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := pin(cpu); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return done
}

// yield lets another thread of this processor run, if one wants to.
func yield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
