package xdp

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Watched is what a Watchdog looks at. *Socket is one.
type Watched interface {
	// Pending says whether received frames wait for the worker, or are held by
	// it. Any goroutine may call it.
	Pending() bool
	// Progress is a number that changes whenever the worker gives frames back.
	// Any goroutine may call it.
	Progress() uint64
}

// Pending says whether the kernel has filled receive entries that it does not
// have back. False once the socket is closed.
func (s *Socket) Pending() bool {
	s.ctl.Lock()
	defer s.ctl.Unlock()
	return !s.closed && !s.seized && s.rx.waiting() != 0
}

// Progress is how far the worker has given received frames back.
func (s *Socket) Progress() uint64 {
	s.ctl.Lock()
	defer s.ctl.Unlock()
	if s.closed || s.seized {
		return 0
	}
	return twin(atomic.LoadUint32(s.fill.own), atomic.LoadUint32(s.rx.own))
}

// A Watchdog guards zero-copy sockets. In zero-copy the chunks of the fill ring
// carry the host's frames too. A worker that stops giving chunks back can keep
// no more than the receive ring holds (see SocketConfig.RxSize), but some
// drivers receive nothing at all while that is full. So after WatchdogLimit of
// frames pending without progress the socket is taken from the worker.
//
// It runs on a goroutine, and if possible a thread, outside of the workers. It
// counts its own looks instead of trusting the clock alone, so that a pause of
// the whole process is not taken for one of the worker. A process that is
// stopped as a whole (SIGSTOP) has a stopped watchdog too.
type Watchdog struct {
	mu      sync.Mutex
	patient map[Watched]*patient
	looks   uint64        // how often it looked
	wake    chan struct{} // holds something once there is a first patient
}

// WatchdogLimit is how long a worker may hold frames without progress.
const WatchdogLimit = 20 * time.Millisecond

// watchdogLooks is how many looks make the limit.
const watchdogLooks = 4

// patient is one socket under watch.
type patient struct {
	rescue   func()
	progress uint64
	misses   int       // looks in a row that found frames and no progress
	since    time.Time // of the first of them
}

// NewWatchdog returns one that guards nothing yet.
func NewWatchdog() *Watchdog {
	return &Watchdog{patient: make(map[Watched]*patient), wake: make(chan struct{}, 1)}
}

// Guard watches w from now on. If its worker stops, rescue is called once, from
// Run's goroutine, and w is watched no more. For a socket, rescue is what
// Program.Rescue does, and a note to somebody who opens a new one.
func (d *Watchdog) Guard(w Watched, rescue func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.patient[w] = &patient{rescue: rescue, progress: w.Progress()}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Leave ends the watch of w; rescue is not called once Leave has returned,
// though a call that has begun goes on.
func (d *Watchdog) Leave(w Watched) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.patient, w)
}

// Run looks until ctx ends. While nothing is guarded it sleeps.
func (d *Watchdog) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		}
		d.round(ctx, time.NewTicker(WatchdogLimit/watchdogLooks))
	}
}

// round looks at each tick until nothing is guarded any more, or ctx ends.
func (d *Watchdog) round(ctx context.Context, tick *time.Ticker) {
	defer tick.Stop()
	for !d.idle() {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			d.look(now)
		}
	}
}

func (d *Watchdog) idle() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.patient) == 0
}

// look looks at each once and rescues those whose worker is stuck.
func (d *Watchdog) look(now time.Time) {
	for _, rescue := range d.stuck(now) {
		rescue()
	}
}

func (d *Watchdog) stuck(now time.Time) (rescues []func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.looks++
	for w, p := range d.patient {
		if p.stuck(w, now) {
			rescues = append(rescues, p.rescue)
			delete(d.patient, w)
		}
	}
	return rescues
}

// stuck says whether the limit is over, by the clock and by the looks.
func (p *patient) stuck(w Watched, now time.Time) bool {
	progress := w.Progress()
	if progress != p.progress || !w.Pending() {
		p.progress, p.misses = progress, 0
		return false
	}
	if p.misses == 0 {
		p.since = now
	}
	p.misses++
	return p.misses > watchdogLooks && now.Sub(p.since) >= WatchdogLimit
}
