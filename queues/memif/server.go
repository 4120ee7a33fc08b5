package memif

import (
	"container/list"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/eventfd"
)

const (
	// patience is how long a handshake may last.
	patience = 10 * time.Second
	// tick is how long after a doorbell was armed its ring is looked at once
	// more.
	tick = time.Millisecond
	// rest is how long a listener pauses when there are no descriptors left.
	rest = 100 * time.Millisecond
	// maxWaiting bounds the connections of one queue in their handshake.
	maxWaiting = 8
)

// ErrClosed: the server was closed.
var ErrClosed = errors.New("the memif server is closed")

// token tells what an event is for. It is never used twice, so that an event
// of a descriptor that was closed meanwhile meets nobody.
type token uint64

// watched is what the server's epoll watches, beside the bell.
type watched interface {
	// ready is called, with Server.mu held, when there is something to read.
	ready(now time.Time)
}

// Server listens on the sockets of its queues and speaks with their clients,
// on one goroutine for all of them. Its methods may be called by any goroutine.
type Server struct {
	epoll, bell int
	notifier    *eventfd.Notifier // nil where the kernel has none
	whyRingers  error             // why it has none
	done        chan struct{}

	// Workers use these.
	calls   atomic.Pointer[session] // who is to be looked after, newest first
	rung    atomic.Bool             // the bell has rung and was not heard
	ticking atomic.Bool             // the server looks every millisecond by itself

	mu       sync.Mutex
	patience time.Duration
	closed   bool
	queues   map[*Queue]struct{}
	watched  map[token]watched
	tokens   token
	shaking  *list.List // of *session, the oldest first
	resting  []*listener
	leaving  []*ringer // were asked to end

	fresh, aged []*receiver // armed since the last tick, and before it
	ticked      time.Time
}

// NewServer starts a server without queues.
func NewServer() (*Server, error) {
	s := &Server{
		done:     make(chan struct{}),
		patience: patience,
		queues:   map[*Queue]struct{}{},
		watched:  map[token]watched{},
		shaking:  list.New(),
	}
	var err error
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make an epoll instance for memif: %w", err)
	}
	if s.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, errors.Join(fmt.Errorf("make an eventfd for memif: %w", err), unix.Close(s.epoll))
	}
	if err := s.add(0, s.bell); err != nil {
		return nil, errors.Join(err, unix.Close(s.bell), unix.Close(s.epoll))
	}
	s.notifier, s.whyRingers = eventfd.Open()
	go s.run()
	return s, nil
}

// WhyRingers is why each client that sleeps has a goroutine that wakes it, which
// takes longer; nil if the kernel wakes them.
func (s *Server) WhyRingers() error { return s.whyRingers }

// Open makes a queue, which clients can connect to from then on.
func (s *Server) Open(cfg Config) (*Queue, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	q := &Queue{server: s, cfg: cfg}
	for range cfg.Rings {
		q.lanes = append(q.lanes, newLane(cfg.MaxFrame))
	}
	sock, place, err := listen(&q.cfg)
	if err != nil {
		return nil, err
	}
	q.place, q.cfg.NetNS = place, nil
	s.mu.Lock()
	defer s.mu.Unlock()
	q.listener = &listener{server: s, queue: q, sock: sock}
	q.listener.token, err = s.watch(q.listener, sock)
	if err != nil {
		return nil, errors.Join(err, unix.Close(sock), place.remove())
	}
	s.queues[q] = struct{}{}
	return q, nil
}

// Close closes all queues and ends the server. A second call does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	var all []*Queue
	for q := range s.queues {
		all = append(all, q)
	}
	s.mu.Unlock()
	var errs []error
	for _, q := range all {
		errs = append(errs, q.Close())
	}
	s.wake()
	<-s.done
	if s.notifier != nil {
		errs = append(errs, s.notifier.Close())
	}
	return errors.Join(append(errs, unix.Close(s.bell), unix.Close(s.epoll))...)
}

// watch has w.ready called whenever fd is readable.
func (s *Server) watch(w watched, fd int) (token, error) {
	if s.closed {
		return 0, ErrClosed
	}
	s.tokens++
	if err := s.add(s.tokens, fd); err != nil {
		return 0, err
	}
	s.watched[s.tokens] = w
	return s.tokens, nil
}

func (s *Server) add(t token, fd int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(t), Pad: int32(t >> 32)}
	if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watch a memif socket: %w", err)
	}
	return nil
}

// unwatch forgets fd, which is still open.
func (s *Server) unwatch(t token, fd int) {
	_ = unix.EpollCtl(s.epoll, unix.EPOLL_CTL_DEL, fd, nil) // a resting one is not there
	delete(s.watched, t)
}

// push puts x before the others that are to be looked after. It may be called
// from any thread and never waits.
func (s *Server) push(x *session) {
	for {
		first := s.calls.Load()
		x.nextCall.Store(first)
		if s.calls.CompareAndSwap(first, x) {
			return
		}
	}
}

// wake makes the server look. It may be called from any thread and never
// blocks: the eventfd is nobody else's.
func (s *Server) wake() {
	if !s.rung.Swap(true) {
		one := [8]byte{1} // any number but zero
		_, _ = unix.Write(s.bell, one[:])
	}
}

// run is the server's goroutine.
func (s *Server) run() {
	defer close(s.done)
	var events [64]unix.EpollEvent
	for timeout := -1; ; {
		n, _ := unix.EpollWait(s.epoll, events[:], timeout) // EINTR: look around
		s.mu.Lock()
		if s.closed && len(s.queues) == 0 {
			s.mu.Unlock()
			return
		}
		timeout = s.turn(events[:max(n, 0)], time.Now())
		s.mu.Unlock()
	}
}

// turn does everything that is to be done now and returns for how many
// milliseconds nothing is, -1 for ever.
func (s *Server) turn(events []unix.EpollEvent, now time.Time) int {
	for i := range events {
		t := token(uint32(events[i].Fd)) | token(uint32(events[i].Pad))<<32
		if t == 0 {
			s.hearBell()
		} else if w := s.watched[t]; w != nil {
			w.ready(now)
		}
	}
	s.expire(now)
	s.resume(now)
	s.bury()
	s.look(now)
	return s.timeout(now)
}

// hearBell comes before the calls are looked at: who calls later rings again.
func (s *Server) hearBell() {
	var count [8]byte
	_, _ = unix.Read(s.bell, count[:])
	s.rung.Store(false)
}

// expire ends handshakes that take too long.
func (s *Server) expire(now time.Time) {
	for e := s.shaking.Front(); e != nil; e = s.shaking.Front() {
		x := e.Value.(*session)
		if now.Before(x.deadline) {
			return
		}
		x.end(fmt.Sprintf("the handshake takes longer than %v", s.patience), true)
	}
}

// resume lets listeners accept again that had run out of descriptors.
func (s *Server) resume(now time.Time) {
	kept := s.resting[:0]
	for _, l := range s.resting {
		switch {
		case l.sock < 0: // closed meanwhile
		case now.Before(l.until) || s.add(l.token, l.sock) != nil:
			kept = append(kept, l)
		}
	}
	clear(s.resting[len(kept):])
	s.resting = kept
}

// bury forgets ringers that have ended. For one that has not it looks again:
// its client can hold it for as long as that lives.
func (s *Server) bury() {
	kept := s.leaving[:0]
	for _, r := range s.leaving {
		if r.gone() {
			s.engage(r.client.queue.active)
			continue
		}
		r.drain()
		kept = append(kept, r)
	}
	clear(s.leaving[len(kept):])
	s.leaving = kept
}

// engage gives x a ringer if it wants one, unless the last one of its queue
// still stands somewhere.
func (s *Server) engage(x *session) {
	if x == nil || x.ended || !x.wantsRinger.Load() || x.ringer.Load() != nil {
		return
	}
	for _, r := range s.leaving {
		if r.client.queue == x.queue && !r.gone() {
			return
		}
	}
	startRinger(x)
}

// timeout is when something is to be done without an event, in milliseconds.
func (s *Server) timeout(now time.Time) int {
	next := time.Duration(-1)
	within := func(d time.Duration) {
		if next < 0 || d < next {
			next = max(d, 0)
		}
	}
	if s.ticking.Load() {
		within(tick)
	}
	if len(s.leaving) > 0 {
		within(10 * time.Millisecond)
	}
	if len(s.resting) > 0 {
		within(rest)
	}
	if e := s.shaking.Front(); e != nil {
		within(e.Value.(*session).deadline.Sub(now))
	}
	if next < 0 {
		return -1
	}
	return int((next + time.Millisecond - 1) / time.Millisecond)
}
