package inproc

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues"
)

// Queue is an in-process queue. Its methods may be called by any goroutine;
// Close and Remove only once the workers have let go of the lanes.
type Queue struct {
	lanes     []*Lane
	endpoints []*Endpoint
	close     sync.Once
	closeErr  error
}

var _ queues.Queue = (*Queue)(nil)

// Open makes a queue.
func Open(cfg Config) (*Queue, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	q := &Queue{}
	for i := range cfg.Lanes {
		l, err := newLane(cfg, i)
		if err != nil {
			return nil, errors.Join(err, q.Close())
		}
		q.lanes = append(q.lanes, l)
		q.endpoints = append(q.endpoints, newEndpoint(l))
	}
	return q, nil
}

// Lanes is described at queues.Queue.
func (q *Queue) Lanes() int { return len(q.lanes) }

// Lane is described at queues.Queue. What it returns is a *Lane.
func (q *Queue) Lane(i int) queues.Lane { return q.lanes[i] }

// Fd is Lane.Fd of lane i.
func (q *Queue) Fd(i int) int { return q.lanes[i].Fd() }

// Endpoint is the program's half of lane i.
func (q *Queue) Endpoint(i int) *Endpoint { return q.endpoints[i] }

// Stats is described at queues.Queue.
func (q *Queue) Stats() queues.Stats {
	var sum queues.Stats
	for _, l := range q.lanes {
		sum = sum.Add(l.Stats())
	}
	return sum
}

// Close ends the queue. The program reads what was delivered before, then
// every call of an Endpoint says so.
func (q *Queue) Close() error {
	q.close.Do(func() {
		for _, l := range q.lanes {
			q.closeErr = errors.Join(q.closeErr, l.close())
		}
	})
	return q.closeErr
}

// Remove is Close: nothing of the queue is persistent.
func (q *Queue) Remove() error { return q.Close() }

func newEventFD() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("make an eventfd for a lane: %w", err)
	}
	return fd, nil
}
