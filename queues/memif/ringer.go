package memif

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// ringer rings the doorbells of one client that was set aside, on a goroutine of
// its own, which may write to an eventfd that the client makes block or made
// dear. It is made when that client first wants to be woken, and a queue has one
// at a time, so a client can have no more than one thread of ours stand still.
type ringer struct {
	client *session
	bell   chan struct{} // holds one
	stop   chan struct{}
	done   chan struct{}
	one    [8]byte // what an eventfd is told

	mu  sync.Mutex // of fds, against reading a descriptor that is closed
	fds []int      // all of the client's doorbells
}

// startRinger makes x's ringer. Workers see it before it looks for the first
// time: who did not see it has set what it looks for.
func startRinger(x *session) {
	r := &ringer{
		client: x,
		bell:   make(chan struct{}, 1),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
		fds:    x.shake.doorbells(),
	}
	binary.NativeEndian.PutUint64(r.one[:], 1)
	x.ringer.Store(r)
	r.wake() // for what is pending already
	go r.run()
}

// wake never blocks.
func (r *ringer) wake() {
	select {
	case r.bell <- struct{}{}:
	default: // it has not looked yet
	}
}

func (r *ringer) run() {
	defer close(r.done)
	defer r.close()
	for {
		select {
		case <-r.stop:
			return
		case <-r.bell:
		}
		for i := range r.client.senders {
			for _, b := range [...]*doorbell{&r.client.senders[i].bell, &r.client.receivers[i].bell} {
				if b.pending.Swap(false) {
					r.ring(b.fd)
				}
			}
		}
	}
}

// ring writes to a client's eventfd. It does not block but where the client
// makes the descriptor block, and fills it, between the two calls.
func (r *ringer) ring(fd int) {
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_NONBLOCK)
	_, _ = unix.Write(fd, r.one[:]) // EAGAIN: it has rung 2^64-2 times unread
}

func (r *ringer) close() {
	r.mu.Lock()
	fds := r.fds
	r.fds = nil
	r.mu.Unlock()
	r.client.queue.discard.take(fds...)
}

// leave asks the ringer to end.
func (r *ringer) leave() {
	close(r.stop)
	r.drain()
}

// drain empties the eventfds, which lets go of a write that blocks; it never
// blocks itself.
func (r *ringer) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var count [8]byte
	for _, fd := range r.fds {
		_, _ = unix.Preadv2(fd, [][]byte{count[:]}, -1, unix.RWF_NOWAIT)
	}
}

// gone tells whether the ringer has ended.
func (r *ringer) gone() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}
