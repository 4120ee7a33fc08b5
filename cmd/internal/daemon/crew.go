package daemon

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/cmd/internal/epoll"
	"github.com/xdpdemux/xdpdemux/demux"
)

// crew is the workers: one thread each, with its place to sleep. They outlive
// the NIC; when it goes or comes back they are stopped and started with other
// links, and the queues of the ports never notice. Its methods belong to one
// goroutine at a time, save size and waiter.
type crew struct {
	sw      *demux.Switch
	waiters []*epoll.Waiter
	stop    context.CancelFunc // nil while none runs
	runs    atomic.Bool
	mu      sync.Mutex // guards the waiters against being woken once closed
	closed  bool
	limit   time.Duration // see halt
	over    chan struct{} // closed when workers that halt waits for have ended
	done    sync.WaitGroup
	errs    chan error // how workers ended, if not because they were told to
}

func newCrew(sw *demux.Switch, size int) (c *crew, err error) {
	makeRoom(size)
	c = &crew{sw: sw, limit: haltLimit, errs: make(chan error, size)}
	for range size {
		w, err := epoll.New()
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.waiters = append(c.waiters, w)
	}
	return c, nil
}

// makeRoom has enough threads run Go code at once, whatever GOMAXPROCS says: a
// worker is one of them also while it dozes, on however few processors, and nobody
// is to wait for a place because of that. Of the others one may be asleep in the
// kernel, one runs, and one is free, or Go would look every 20 µs whom to take a
// place from. Whom a worker has just woken by a channel, a ringer, has to be found in
// its place by another, which takes 100 µs.
func makeRoom(workers int) {
	if n := workers + 3; runtime.GOMAXPROCS(0) < n {
		runtime.GOMAXPROCS(n)
	}
}

// size is the number of workers, and so of lanes that each queue has.
func (c *crew) size() int { return len(c.waiters) }

// waiter is where worker i sleeps.
func (c *crew) waiter(i int) *epoll.Waiter { return c.waiters[i] }

// share deals the queues' sockets out to the workers.
func share[T any](sockets []T, workers int) [][]T {
	hands := make([][]T, workers)
	for i, s := range sockets {
		hands[i%workers] = append(hands[i%workers], s)
	}
	return hands
}

// linked is a link with the descriptor that says when it has something.
type linked interface {
	demux.Link
	Fd() int
}

// start runs the workers with these links, dealt out.
func (c *crew) start(links []linked) error {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.runs.Store(true)
	for i, hand := range share(links, c.size()) {
		own := make([]demux.Link, len(hand))
		for j, l := range hand {
			own[j] = l
			if err := c.waiters[i].AddLink(l.Fd()); err != nil {
				return errors.Join(err, c.halt(links))
			}
		}
		c.done.Add(1)
		go c.work(ctx, i, own)
	}
	return nil
}

// work is a worker's thread. A thread that was pinned is not given back to
// the runtime: it ends with its goroutine, which never unlocks it.
func (c *crew) work(ctx context.Context, i int, links []demux.Link) {
	defer c.done.Done()
	runtime.LockOSThread()
	pin(i)
	if err := c.sw.Run(ctx, i, links, c.waiters[i]); err != nil && ctx.Err() == nil {
		c.errs <- fmt.Errorf("worker %d ended: %w", i, err)
	}
}

// pin binds the calling thread to the i-th of the processors that it may run
// on. A kernel that refuses leaves the thread free to move, which costs speed
// and nothing else.
func pin(i int) {
	var may, one unix.CPUSet
	if unix.SchedGetaffinity(0, &may) != nil || may.Count() < 2 {
		return
	}
	nth := i % may.Count()
	for cpu := range len(may) * 64 {
		if !may.IsSet(cpu) {
			continue
		}
		if nth == 0 {
			one.Set(cpu)
			_ = unix.SchedSetaffinity(0, &one)
			return
		}
		nth--
	}
}

// avoid keeps the calling thread off the processors of the workers, if there
// are others: what it does in the kernel cannot be interrupted for a worker that
// wakes.
func avoid(workers int) {
	var may unix.CPUSet
	if unix.SchedGetaffinity(0, &may) != nil || workers >= may.Count() {
		return
	}
	for cpu := 0; workers > 0; cpu++ {
		if may.IsSet(cpu) {
			may.Clear(cpu)
			workers--
		}
	}
	_ = unix.SchedSetaffinity(0, &may)
}

// haltLimit is how long a worker may take to end, which it does once a breath: a
// microsecond or, on a busy host with dear containers, some milliseconds.
const haltLimit = 10 * time.Second

// errHung says that a worker does not go round.
var errHung = errors.New("a worker hangs")

// halt stops the workers; on return none of them touches a link or a lane. A
// worker that does not end in time is errHung: then all that workers touch must
// stay as it is, and halt may be tried again.
func (c *crew) halt(links []linked) error {
	if c.stop == nil {
		return nil
	}
	c.stop()
	if !c.ended() {
		return errHung
	}
	c.stop, c.over = nil, nil
	c.runs.Store(false)
	var errs []error
	for i, hand := range share(links, c.size()) {
		for _, l := range hand {
			errs = append(errs, c.waiters[i].Remove(l.Fd()))
		}
	}
	return errors.Join(errs...)
}

// ended waits until all workers have ended, but not for ever.
func (c *crew) ended() bool {
	if c.over == nil {
		c.over = make(chan struct{})
		go func(over chan<- struct{}) {
			c.done.Wait()
			close(over)
		}(c.over)
	}
	select {
	case <-c.over:
		return true
	case <-time.After(c.limit):
		return false
	}
}

// hung says that a halt was given up, and over that the workers have ended since.
func (c *crew) hung() (hung, over bool) {
	if c.over == nil {
		return false, false
	}
	select {
	case <-c.over:
		return true, true
	default:
		return true, false
	}
}

// wake has every worker go round once. Any goroutine may call it.
func (c *crew) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	for _, w := range c.waiters {
		w.Wake()
	}
}

// close lets go of the waiters; the workers have been halted.
func (c *crew) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var errs []error
	for _, w := range c.waiters {
		errs = append(errs, w.Close())
	}
	return errors.Join(errs...)
}
