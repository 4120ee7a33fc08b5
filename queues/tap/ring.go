package tap

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// ringSlots is how many frames one system call takes at most.
const ringSlots = 64

// ringLeast is from how many writes on the ring is faster than a system call for each.
const ringLeast = 4

// ErrNoRing is that the kernel has no io_uring for this process, which is for who
// runs the machine to decide (sysctl kernel.io_uring_disabled).
var ErrNoRing = errors.New("the kernel offers no io_uring")

// Ring hands the kernel frames for many TAPs in one system call (io_uring(7)), where
// writing to each takes one of its own. It changes nothing else: the kernel takes
// each frame, with all of the container's receive path, before that call returns,
// and no descriptor is kept open by it.
//
// Lanes that have the ring in their Config use it in DeliverAll, from any goroutine;
// who finds it in use writes frame by frame.
type Ring struct {
	mu    sync.Mutex
	unfit atomic.Bool // the kernel cannot do with it what we need; or it is closed
	queue ringMemory
	// enter submits and waits for so many; io_uring_enter(2).
	enter func(submit, wait uint32) (submitted int, errno unix.Errno)
	close func() error

	n     int // slots in use
	slots [ringSlots]ringSlot
	hdr   [ringSlots][hdrLen]byte
	iov   [3 * ringSlots]unix.Iovec
	used  int // of iov
}

// ringSlot is one frame, of one or several pieces, on its way.
type ringSlot struct {
	delivery, at, n int // which frames of which delivery
	result          int32
}

// The results of a slot beside those of write(2).
const (
	notAsked = -int32(unix.EINPROGRESS) // the kernel has not looked at it
	noNowait = -int32(unix.EOPNOTSUPP)  // it cannot do it without waiting
)

// OpenRing makes a ring, which helps from Linux 6.4 on, where a TAP can be asked not to
// wait. What goes wrong is an ErrNoRing.
func OpenRing() (*Ring, error) {
	r := &Ring{}
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoRing, err)
	}
	return r, nil
}

// Close gives back what the ring has. Lanes that still have it do without.
func (r *Ring) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unfit.Store(true)
	if r.close == nil {
		return nil
	}
	shut := r.close
	r.close = nil
	return shut()
}

// take tells whether the ring is the caller's, who then gives it back. A nil ring
// is nobody's.
func (r *Ring) take() bool {
	if r == nil || r.unfit.Load() || !r.mu.TryLock() {
		return false
	}
	if r.unfit.Load() {
		r.mu.Unlock()
		return false
	}
	return true
}

func (r *Ring) giveBack() { r.mu.Unlock() }

// deliver is DeliverAll.
func (r *Ring) deliver(d []frame.Delivery) {
	for i := range d {
		d[i].Taken, d[i].Why = 0, frame.Accepted
		r.add(d, i)
	}
	r.flush(d)
	for i := range d {
		if d[i].Taken < len(d[i].Frames) && d[i].Why == frame.Accepted {
			d[i].Why = frame.TooBig // for the lane, as add found
		}
	}
}

// add puts the frames of delivery i into slots, up to the first that its lane
// cannot have.
func (r *Ring) add(d []frame.Delivery, i int) {
	l, f := d[i].Lane.(*Lane), d[i].Frames
	for at := 0; at < len(f); {
		n := wholeFrame(f[at:])
		if !l.fits(f[at : at+n]) {
			return
		}
		if r.n == ringSlots || r.used+1+n > len(r.iov) {
			r.flush(d)
		}
		r.put(l.fd, f[at:at+n], ringSlot{delivery: i, at: at, n: n})
		at += n
	}
}

// flush has the kernel take what is in the slots, and notes what became of it.
func (r *Ring) flush(d []frame.Delivery) {
	if r.n == 0 {
		return
	}
	r.submit()
	for i := range r.n {
		s := &r.slots[i]
		o := &d[s.delivery]
		switch {
		case s.result >= 0:
			advance(o, s.at, s.n)
		case s.result == noNowait:
			r.unfit.Store(true)
			r.writeOut(o, s)
		case s.result == notAsked:
			r.writeOut(o, s)
		default:
			r.refused(o, unix.Errno(-s.result))
		}
	}
	clear(r.iov[:r.used])
	r.n, r.used = 0, 0
}

// advance moves the n frames at at, which were taken, before those that were not.
func advance(o *frame.Delivery, at, n int) {
	if at > o.Taken {
		var taken [1 + maxPieces]frame.Frame
		copy(taken[:n], o.Frames[at:at+n])
		copy(o.Frames[o.Taken+n:at+n], o.Frames[o.Taken:at])
		copy(o.Frames[o.Taken:], taken[:n])
	}
	o.Taken += n
}

// refused notes that a frame was. That a lane is full or gone counts for all that it
// did not take: who tried such a one again would have it overtaken.
func (r *Ring) refused(o *frame.Delivery, errno unix.Errno) {
	why := o.Lane.(*Lane).refusal(errno)
	if o.Why == frame.Accepted || o.Why == frame.TooBig {
		o.Why = why
	}
}

// writeOut delivers by a system call what the kernel does not take by a ring, unless
// something before it was refused.
func (r *Ring) writeOut(o *frame.Delivery, s *ringSlot) {
	if o.Why != frame.Accepted {
		return
	}
	l := o.Lane.(*Lane)
	if o.Why = l.deliver(o.Frames[s.at : s.at+s.n]); o.Why == frame.Accepted {
		advance(o, s.at, s.n)
	}
}

// submit hands the slots to the kernel and returns when it has done with all of
// them: then the frames are the caller's again. Every write asks not to wait
// (RWF_NOWAIT), so that the kernel leaves none to a thread of its own, and this takes
// no longer than the containers' receive paths do.
func (r *Ring) submit() {
	for i := range r.n {
		r.slots[i].result = notAsked
	}
	r.queue.publish(r.n)
	submitted, done := 0, 0
	for done < r.n {
		n, errno := r.enter(uint32(r.n-submitted), uint32(r.n-done))
		submitted += n
		got := r.reap()
		done += got
		if n > 0 || got > 0 || errno == unix.EINTR {
			continue
		}
		if done == submitted { // the kernel takes no more of them
			r.queue.withdraw(r.n - submitted)
			passes := errno == unix.EAGAIN || errno == unix.EBUSY || errno == unix.ENOMEM
			r.unfit.Store(!passes)
			return
		}
	}
}

// reap takes what the kernel says about slots and returns of how many.
func (r *Ring) reap() (n int) {
	for {
		slot, result, ok := r.queue.completion()
		if !ok {
			return n
		}
		if slot < uint64(r.n) {
			r.slots[slot].result = result
		}
		n++
	}
}
