// Package eventfd adds to eventfds that belong to somebody else as well, who may
// do with them what he likes, and never waits for him.
//
// A write(2) to an eventfd waits while its counter is full, unless the open file
// description says O_NONBLOCK, which everybody who has it can take away at any
// time. The completion of an asynchronous request that names an eventfd
// (io_submit(2), IOCB_FLAG_RESFD) adds to the counter inside the kernel, where
// nothing waits: a counter that is full stays full. The request that is made here
// reads no bytes of /dev/null, so it is complete when the call returns. One call
// serves many eventfds.
package eventfd

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// depth is how many completions the kernel keeps for us until they are taken.
const depth = 512

// Notifier tells others through their eventfds. Notify may be called by any
// thread at any time before Close.
type Notifier struct {
	context uintptr // of io_setup(2)
	null    int     // /dev/null

	left   atomic.Uint32 // completions that were not taken yet, about
	taking sync.Mutex
	taken  [depth]completion
}

// Open returns a Notifier. It fails where the kernel has no asynchronous I/O
// (CONFIG_AIO), a filter of system calls forbids it, or the system's share of
// requests (fs.aio-max-nr) is used up.
func Open() (*Notifier, error) {
	n := &Notifier{}
	var err error
	if n.context, err = setup(depth); err != nil {
		return nil, fmt.Errorf("io_setup: %w", err)
	}
	if n.null, err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("open /dev/null: %w", err), destroy(n.context))
	}
	return n, nil
}

// Target is somebody's eventfd, prepared for Notify. The descriptor has to be
// open whenever it is told.
type Target struct{ request request }

// Target prepares an eventfd.
func (n *Notifier) Target(fd int) Target { return Target{n.nothing(fd)} }

// Notify adds 1 to each of the eventfds, with one call to the kernel if all is
// well, and returns how many it told. If that is not all, then the next one
// cannot be told, for instance since it is no eventfd. Several calls may be about
// the same Target at once.
func (n *Notifier) Notify(targets []*Target) (told int) {
	for tries := 0; told < len(targets); {
		count, err := submit(n.context, targets[told:])
		if count == 0 {
			if err != unix.EAGAIN || tries == maxTries {
				break
			}
			tries++
			n.makeRoom()
		}
		told += count
		if n.left.Add(uint32(count)) >= depth/2 && n.taking.TryLock() {
			n.take()
			n.taking.Unlock()
		}
	}
	return told
}

// maxTries bounds how often Notify makes room for one list. Once is enough, unless
// other threads fill it again.
const maxTries = 8

func (n *Notifier) makeRoom() {
	n.taking.Lock()
	defer n.taking.Unlock()
	n.take()
}

// take forgets the completions, which say nothing.
func (n *Notifier) take() {
	n.left.Store(0)
	collect(n.context, n.taken[:])
}

// Close lets go of everything.
func (n *Notifier) Close() error {
	return errors.Join(destroy(n.context), unix.Close(n.null))
}
