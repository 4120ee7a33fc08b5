package demux

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/demux/internal/packet"
)

// ErrRunning says that this worker runs already.
var ErrRunning = errors.New("demux: worker runs already")

// The doorbells are looked at every choreBreaths breaths, or after so much
// work that about 50 µs have passed; work is counted in units of workTime
// nanoseconds, about what one frame costs, since reading the clock is dear.
const (
	choreBreaths = 16
	workTime     = 100
	choreWork    = 50_000 / workTime
)

// worker is one thread's share of the switch.
type worker struct {
	// Hot: of the breath, touched by the worker alone.
	table    *Table
	lanes    *laneTable // of this worker in table
	from     *ledger    // the source of the batch
	fromSlot uint32
	mode     mode
	pinned   bool    // the batch lies in transmit buffers, at base
	work     int     // since the last chores
	cuts     int     // segments that the batch has been cut into
	errors   *bucket // of the source of the batch
	egress   *egress
	base     []frame.Frame
	links    []*egress
	active   []activeLane
	cursor   int // the next of active to visit
	reached  uint64
	missed   uint64
	missedBy Reason
	tally    tally
	head     packet.Header
	plain    plain
	way      way
	group    grouper
	couriers couriers
	rx       [batch]frame.Frame

	// Warm: of what is not every frame's.
	scratch  scratch
	replies  replies
	cut      packet.Segmenter
	join     packet.Coalescer
	segments []byte
	pieces   [batch]frame.Frame
	slow     []*slowLane
	ready    [256]uint32
	beat     int

	// Cold.
	sw      *Switch
	id      int
	waiter  Waiter
	waking  atomic.Pointer[Waiter] // the same, for other goroutines
	stopped atomic.Bool
	running atomic.Bool

	// Shared: see Switch.grace and Switch.Stats.
	_           [64]byte
	breaths     atomic.Uint64
	parked      atomic.Bool // touches no snapshot and no lane
	fresh       freshStack
	activeLanes atomic.Int64
	slowLanes   atomic.Int64
	wireFrames  counter
	wireBytes   counter
	wholeFrames counter
	wholeBytes  counter
	sleeps      counter
	slowMoves   counter
}

func newWorker(s *Switch, id int) *worker {
	w := &worker{sw: s, id: id}
	w.parked.Store(true)
	return w
}

// Run is worker number n until ctx ends, and then returns nil; an error says
// that it could not begin. It keeps its goroutine on one thread. The links are
// its own while it runs; none is needed for local traffic. It may run again,
// with other links, and finds its lanes as they were.
func (s *Switch) Run(ctx context.Context, n int, links []Link, wt Waiter) error {
	if n < 0 || n >= len(s.workers) {
		return &ConfigError{"", "worker", n, fmt.Sprintf("is not within 0 and %d", len(s.workers)-1)}
	}
	if wt == nil {
		return &ConfigError{"", "waiter", nil, "is missing"}
	}
	w := s.workers[n]
	if !w.running.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: %d", ErrRunning, n)
	}
	defer w.running.Store(false)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w.begins(links, wt)
	defer w.ends()
	defer context.AfterFunc(ctx, w.stop)()
	w.loop()
	return nil
}

func (w *worker) begins(links []Link, wt Waiter) {
	if w.segments == nil { // the first time
		w.segments = make([]byte, segmentRoom)
		w.scratch.init()
		w.replies.init()
	}
	w.links = nil
	for _, l := range links {
		w.links = append(w.links, newEgress(l))
	}
	w.waiter = wt
	w.waking.Store(&wt)
	w.stopped.Store(false)
	w.parked.Store(false)
	w.enter()
	w.activateAll()
}

func (w *worker) ends() {
	for _, e := range w.links {
		e.close()
	}
	w.parked.Store(true)
	w.waking.Store(nil)
	w.links, w.waiter, w.egress, w.base = nil, nil, nil, nil
	clear(w.rx[:])
	clear(w.group.sorted[:])
	w.couriers = couriers{}
}

func (w *worker) stop() {
	w.stopped.Store(true)
	if p := w.waking.Load(); p != nil {
		(*p).Wake()
	}
}

func (w *worker) loop() {
	for !w.stopped.Load() {
		n := w.breath()
		switch {
		case n == 0 && len(w.active) == 0:
			w.park()
		case w.due(n):
			w.chores(w.waiter.Wait(w.ready[:], 0))
		}
	}
}

// due tells, after a breath of n frames, whether it is time for the chores.
func (w *worker) due(n int) bool {
	w.beat++
	w.work += n
	return w.beat >= choreBreaths || w.work >= choreWork
}

// enter begins a breath: from here on the worker uses the latest snapshot.
// Control counts breaths, so the count comes before the snapshot is loaded;
// and what is new is taken before, so that the snapshot has it.
func (w *worker) enter() {
	w.breaths.Add(1)
	var fresh *freshList
	if !w.fresh.empty() {
		fresh = w.fresh.take()
	}
	if t := w.sw.table.Load(); t != w.table {
		w.table, w.lanes = t, &t.lanes[w.id]
	}
	for ; fresh != nil; fresh = fresh.next {
		for _, id := range fresh.ids {
			w.activate(id.Token())
		}
	}
}

// breath does one round over the links and the active lanes, and returns how
// many frames came.
func (w *worker) breath() int {
	w.enter()
	n := w.deliverMail()
	for _, e := range w.links {
		e.dry = false
		n += w.inbound(e)
	}
	n += w.outbound()
	for _, e := range w.links {
		e.flush(w)
	}
	return n
}

// park sleeps until something happens. Whoever adds work does so before he
// looks at parked, so it is set first and then looked for work.
func (w *worker) park() {
	w.activeLanes.Store(0)
	w.parked.Store(true)
	n := 0
	if !w.hasWork() {
		w.sleeps.add(1)
		timeout := time.Duration(-1)
		if len(w.slow) > 0 {
			timeout = slowLook
		}
		n = w.waiter.Wait(w.ready[:], timeout)
	}
	w.parked.Store(false)
	w.enter()
	w.chores(n)
}

func (w *worker) hasWork() bool {
	if !w.fresh.empty() || w.stopped.Load() || w.id == 0 && len(w.sw.relays) > 0 {
		return true
	}
	for from := range w.sw.table.Load().mail {
		if b := w.sw.table.Load().mail[from][w.id]; b != nil && b.pending() > 0 {
			return true
		}
	}
	return false
}

// chores are what need not be done each breath. n doorbells rang; see ready.
func (w *worker) chores(n int) {
	w.beat, w.work = 0, 0
	for _, token := range w.ready[:n] {
		w.activate(token)
	}
	if w.id == 0 {
		w.relayAll()
	}
	w.replies.tick(w.sw.clock)
	w.tendSlow()
	w.activeLanes.Store(int64(len(w.active)))
}

// wakeIfParked ends the worker's sleep. Any goroutine may call it.
func (w *worker) wakeIfParked() {
	if !w.parked.Load() {
		return
	}
	if p := w.waking.Load(); p != nil {
		(*p).Wake()
	}
}
