package memif

import (
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/eventfd"
)

// doorbell is one eventfd of a client. It belongs to a ring: toward the client,
// which sleeps on it, or from it, where the worker does.
type doorbell struct {
	client  *session
	fd      int
	target  eventfd.Target
	pending atomic.Bool // the ringer is to ring
}

func (b *doorbell) open(x *session, fd int) {
	b.client, b.fd = x, fd
	if n := x.server.notifier; n != nil {
		b.target = n.Target(fd)
	} else {
		x.aside.Store(true)
	}
}

// maxBells bounds those that are rung with one system call.
const maxBells = 64

// ring rings doorbells, at most maxBells, and waits for nobody. Those of clients
// that may be waited for are left to their ringers. It changes the order.
func (s *Server) ring(bells []*doorbell) {
	var targets [maxBells]*eventfd.Target
	n, doubts := 0, false
	for _, b := range bells {
		switch verdict := b.client.queue.trial.verdict.Load(); {
		case b.client.aside.Load() || verdict == outcast:
			b.leave()
		case verdict == single:
			s.ringDoubted([]*doorbell{b}, []*eventfd.Target{&b.target})
		default:
			doubts = doubts || verdict == doubted
			targets[n], bells[n] = &b.target, b
			n++
		}
	}
	switch {
	case n == 0:
	case doubts:
		s.ringDoubted(bells[:n], targets[:n])
	default:
		s.ringTrusted(bells[:n], targets[:n])
	}
}

func (s *Server) ringTrusted(bells []*doorbell, targets []*eventfd.Target) {
	began := time.Now()
	s.tell(bells, targets)
	if took := time.Since(began); took > dear(len(bells)) {
		for _, b := range bells {
			b.client.queue.trial.doubt(took, began)
		}
	}
}

func (s *Server) ringDoubted(bells []*doorbell, targets []*eventfd.Target) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := threadTime()
	s.tell(bells, targets)
	took, now := threadTime()-began, time.Now()
	for _, b := range bells {
		b.client.queue.trial.judge(took, len(bells), now)
	}
}

// ringLater rings one doorbell from the server's goroutine, which is everybody's:
// whoever is doubted has his ringer do it.
func (s *Server) ringLater(b *doorbell) {
	if b.client.queue.trial.verdict.Load() != trusted {
		b.leave()
		return
	}
	s.ring([]*doorbell{b})
}

// tell rings doorbells by the kernel alone. Where that does not work, the ringer
// does it.
func (s *Server) tell(bells []*doorbell, targets []*eventfd.Target) {
	for len(targets) > 0 {
		told := s.notifier.Notify(targets)
		if told == len(targets) {
			return
		}
		bells[told].setAside()
		bells, targets = bells[told+1:], targets[told+1:]
	}
}

// threadTime is what this thread has had of the processors.
func threadTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // there is such a clock
	return time.Duration(t.Nano())
}

// setAside leaves all doorbells of the client to its ringer, from now on and this
// one at once.
func (b *doorbell) setAside() {
	b.client.aside.Store(true)
	b.leave()
}

// leave leaves this time to the ringer.
func (b *doorbell) leave() {
	b.pending.Store(true)
	b.client.ring()
}
