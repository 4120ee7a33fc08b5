// Package epoll is where a worker sleeps: one epoll instance over the sockets
// of its links and the doorbells of its lanes.
package epoll

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// batch bounds the events that one call to the kernel yields.
const batch = 256

// The kinds of descriptor that one instance watches; they travel in the upper
// half of epoll's user data, a lane's token in the lower.
const (
	kindLane int32 = iota
	kindLink
	kindWake
)

// Waiter is an epoll instance; it is a demux.Waiter. Wait belongs to the
// worker; all other methods may be called from any goroutine at any time
// before Close.
//
// A socket in an epoll instance is always waited for: the kernel looks for the
// sleeper at each frame that has been sent, which is 8% of what sending one takes.
// So the links stand in the instance only while the worker sleeps now and then,
// and not while it looks and looks. (poll(2) waits for them only when it is
// called; but it holds the sockets meanwhile, and one that is closed under a worker
// that hangs would not be gone.)
type Waiter struct {
	fd, wake int
	events   [batch]unix.EpollEvent
	looks    int // of the worker, since it slept
	short    int // sleeps of the worker in a row

	mu    sync.Mutex
	links []int
	apart bool // the links do not stand in the instance
	stay  bool // they are not taken out again, for once they did not get back in
}

// busyLooks is how often a worker looks without sleeping before its links are
// taken out.
const busyLooks = 4

// New returns a Waiter that watches nothing yet.
func New() (w *Waiter, err error) {
	w = &Waiter{}
	if w.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("creating an epoll instance: %w", err)
	}
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, errors.Join(fmt.Errorf("creating an eventfd: %w", err), unix.Close(w.fd))
	}
	if err = w.add(w.wake, kindWake, 0); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// AddLink watches the socket of a link. A frame that is there ends Wait.
func (w *Waiter) AddLink(fd int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.apart {
		if err := w.add(fd, kindLink, 0); err != nil {
			return err
		}
	}
	w.links = append(w.links, fd)
	return nil
}

// AddLane watches the doorbell of a lane: Wait yields token once for each
// time that frames begin to come (edge-triggered), and once if some are there
// already.
func (w *Waiter) AddLane(fd int, token uint32) error { return w.add(fd, kindLane, token) }

// Remove forgets a lane's doorbell or a link. One that is not watched is no error,
// since closing its last copy makes the kernel forget it too; nor is one whose
// number stands by now for something that cannot be polled.
func (w *Waiter) Remove(fd int) error {
	w.mu.Lock()
	w.links = slices.DeleteFunc(w.links, func(link int) bool { return link == fd })
	w.mu.Unlock()
	err := unix.EpollCtl(w.fd, unix.EPOLL_CTL_DEL, fd, nil)
	for _, forgotten := range []error{unix.ENOENT, unix.EBADF, unix.EPERM} {
		if errors.Is(err, forgotten) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("taking a descriptor from the epoll instance: %w", err)
	}
	return nil
}

func (w *Waiter) add(fd int, kind int32, token uint32) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: int32(token), Pad: kind}
	if err := unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watching descriptor %d: %w", fd, err)
	}
	return nil
}

// Wait is described at demux.Waiter. Its clock counts whole milliseconds: a
// shorter timeout than one sleeps for one.
func (w *Waiter) Wait(ready []uint32, timeout time.Duration) int {
	room := w.events[:min(len(ready), batch)]
	if len(room) == 0 {
		return 0
	}
	if timeout == 0 {
		if w.looks++; w.looks == busyLooks {
			w.part()
		}
		return w.collect(ready, look(w.fd, room, 0))
	}
	if w.looks >= busyLooks && !w.join() {
		timeout = blind // and try again
	} else {
		w.looks = 0
	}
	return w.collect(ready, w.sleep(room, milliseconds(timeout)))
}

// sleep waits for so many milliseconds, -1 for ever. While one short sleep follows
// the other it keeps the worker's place among Go's processors; otherwise Go would
// watch the doze of a worker that is as good as idle, every 20 µs.
func (w *Waiter) sleep(room []unix.EpollEvent, ms int) int {
	if w.short >= shortSleeps {
		moment := doze
		if ms >= 0 {
			moment = min(doze, ms)
		}
		if n := look(w.fd, room, moment); n != 0 || moment == ms {
			return n
		}
		w.short = 0
		if ms > 0 {
			ms -= moment
		}
	}
	began := time.Now()
	n, _ := unix.EpollWait(w.fd, room, ms) // EINTR is a wake-up like any other
	if n > 0 && time.Since(began) < doze*time.Millisecond {
		w.short++
	} else {
		w.short = 0
	}
	return n
}

const (
	// doze is how long a worker sleeps, in milliseconds, before Go hears of it.
	doze = 2
	// shortSleeps is after how many sleeps in a row that were shorter than that a
	// worker dozes.
	shortSleeps = 8
)

// blind is how long a worker sleeps whose links cannot be watched.
const blind = time.Millisecond

// part takes the links out of the instance.
func (w *Waiter) part() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stay {
		return
	}
	for _, fd := range w.links {
		_ = unix.EpollCtl(w.fd, unix.EPOLL_CTL_DEL, fd, nil) // one that is gone is not there
	}
	w.apart = true
}

// join puts them back, and says whether all are watched. (The kernel limits how
// much a user may watch, and others may have used that up.) What they have by then
// ends the sleep. A link whose device is gone, or which was taken from a worker
// that hung, has nothing to say any more.
func (w *Waiter) join() (all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.apart, all = false, true
	for _, fd := range w.links {
		err := w.add(fd, kindLink, 0)
		all = all && (err == nil || slices.ContainsFunc([]error{unix.EEXIST, unix.EPERM, unix.EBADF},
			func(harmless error) bool { return errors.Is(err, harmless) }))
	}
	w.stay = w.stay || !all
	return all
}

func (w *Waiter) collect(ready []uint32, n int) int {
	tokens := 0
	for i := range max(n, 0) {
		switch ev := &w.events[i]; ev.Pad {
		case kindLane:
			ready[tokens] = uint32(ev.Fd)
			tokens++
		case kindWake:
			w.drain()
		}
	}
	return tokens
}

// drain takes the wake-up back, so that the next Wake rings again.
func (w *Waiter) drain() {
	var buf [8]byte
	_, _ = unix.Read(w.wake, buf[:])
}

// Wake is described at demux.Waiter.
func (w *Waiter) Wake() {
	one := [8]byte{1}
	_, _ = unix.Write(w.wake, one[:]) // EAGAIN: it rings already
}

// Close lets go of the instance; no other method may run at that moment.
func (w *Waiter) Close() error {
	return errors.Join(unix.Close(w.wake), unix.Close(w.fd))
}

func milliseconds(d time.Duration) int {
	if d < 0 {
		return -1
	}
	return int((d + time.Millisecond - 1) / time.Millisecond)
}
