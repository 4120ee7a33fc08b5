package daemon

import (
	"errors"
	"os"
	"sync"

	"github.com/xdpdemux/xdpdemux/xdp"
)

// ledger keeps the counters of the NIC's sockets, of those that serve its queues
// now and of those that did before them: what the program has redirected since
// it was loaded is accounted for by all of them together. Any goroutine may use
// it.
type ledger struct {
	mu   sync.Mutex
	now  map[int]*xdp.Socket // by queue
	past []xdp.SocketStats   // by queue, of closed sockets
}

func newLedger() *ledger { return &ledger{now: map[int]*xdp.Socket{}} }

// opened enters a socket.
func (l *ledger) opened(s *xdp.Socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now[s.Queue()] = s
	l.grow(s.Queue())
}

func (l *ledger) grow(queue int) {
	for len(l.past) <= queue {
		l.past = append(l.past, xdp.SocketStats{})
	}
}

// closed takes over what a socket has counted that was closed.
func (l *ledger) closed(s *xdp.Socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	st, _ := s.Stats() // it is closed: these are its last
	l.grow(s.Queue())
	l.past[s.Queue()].Add(st)
	if l.now[s.Queue()] == s {
		delete(l.now, s.Queue())
	}
}

// stats are the counters by queue, over all sockets that the queue has had.
func (l *ledger) stats() ([]xdp.SocketStats, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sums := append([]xdp.SocketStats(nil), l.past...)
	for queue, s := range l.now {
		st, err := s.Stats()
		if err != nil && !errors.Is(err, os.ErrClosed) {
			return nil, err
		}
		sums[queue].Add(st)
	}
	return sums, nil
}

// rescue takes every socket from its worker, wherever that is; see
// xdp.Program.Rescue.
func (l *ledger) rescue(p *xdp.Program) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, s := range l.now {
		errs = append(errs, p.Rescue(s))
	}
	return errors.Join(errs...)
}
