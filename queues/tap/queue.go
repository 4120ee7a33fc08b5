// Package tap is the queue kind for unmodified programs: a TAP interface in
// the container's network namespace, one descriptor per worker.
//
// The interface is persistent: it, its addresses and its routes outlive the
// process that made it, and Restore takes it over again. Remove deletes it.
//
// Every frame travels behind a virtio_net_hdr of 10 bytes (virtio 1.2, section
// 5.1.6, without num_buffers, which counts only where receive buffers are
// merged). So checksums stay partial and super-frames whole as far as the
// worker wants them to.
//
// A frame is a super-frame if its Meta.GSO says so, and only then may it be
// larger than the MTU with header and one VLAN tag; each of its segments must
// keep to that limit too.
package tap

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/xdpdemux/xdpdemux/queues"
	"github.com/xdpdemux/xdpdemux/queues/netns"
)

// Queue is an open TAP. Its methods may be called by any goroutine, beside
// running lanes; Close and Remove only once the workers have let go of the
// lanes.
type Queue struct {
	lanes []*Lane
	index int

	mu     sync.Mutex // of what follows, and of every change to the interface
	cfg    Config     // what the interface shall be
	neighs map[netip.Addr][6]byte
	closed bool
}

var _ queues.Queue = (*Queue)(nil)

// Lanes is described at queues.Queue.
func (q *Queue) Lanes() int { return len(q.lanes) }

// Lane is described at queues.Queue. What it returns is a *Lane.
func (q *Queue) Lane(i int) queues.Lane { return q.lanes[i] }

// Fd is the descriptor of lane i, for epoll; see Lane.Fd.
func (q *Queue) Fd(i int) int { return q.lanes[i].Fd() }

// Index is the interface's index in its namespace. It stays when somebody
// renames the interface.
func (q *Queue) Index() int { return q.index }

// NetNS is the namespace that Config named.
func (q *Queue) NetNS() *netns.NetNS {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cfg.NetNS
}

// Config returns what the interface shall be now.
func (q *Queue) Config() Config {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cfg.clone()
}

// Stats is described at queues.Queue.
func (q *Queue) Stats() queues.Stats {
	var sum queues.Stats
	for _, l := range q.lanes {
		sum = sum.Add(l.Stats())
	}
	return sum
}

// Close lets go of the interface and leaves it, without a carrier, for a
// later Restore. A second call does nothing.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.close()
}

func (q *Queue) close() error {
	if q.closed {
		return nil
	}
	q.closed = true
	return closeLanes(q.lanes)
}

func closeLanes(lanes []*Lane) error {
	var errs []error
	for _, l := range lanes {
		if err := l.close(); err != nil {
			errs = append(errs, fmt.Errorf("close a TAP descriptor: %w", err))
		}
	}
	return errors.Join(errs...)
}
