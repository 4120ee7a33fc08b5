package demux

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/demux/internal/packet"
)

// slowBatch is how many frames a slow lane delivers before it looks at the
// next lane of its thread.
const slowBatch = 8

// slowLane delivers to one lane on a thread of its own, fed by the mailbox of
// the one worker that has that lane.
type slowLane struct {
	box    *mailbox
	lane   Lane
	worker *worker
	thread *slowThread
	cost   atomic.Int64 // nanoseconds per frame, smoothed; written by the thread
	asked  atomic.Bool  // to stop
	ended  chan struct{}

	// The worker's own.
	st    *laneState
	since int64 // when the lane moved here
	last  int64 // when the worker last saw a frame for it
	fed   bool  // a frame came since the worker last looked
	left  bool  // the lane is served by the worker again
}

// stop ends the slow lane and returns when its thread cannot touch the lane
// any more. What lies in the mailbox is lost as Gone. Any goroutine may call
// it, also twice, once the worker posts no more.
func (l *slowLane) stop() {
	l.leave()
	<-l.ended
}

// leave asks the slow lane to end and does not wait.
func (l *slowLane) leave() {
	l.asked.Store(true)
	l.thread.poke()
}

func (l *slowLane) hasEnded() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// serve delivers up to slowBatch frames and returns how many letters it did.
func (l *slowLane) serve(clock func() int64, join *packet.Coalescer) int {
	n := min(l.box.pending(), slowBatch)
	if n == 0 {
		return 0
	}
	var frames [slowBatch]frame.Frame
	for i := range n {
		_, frames[i] = l.box.letter(i)
	}
	start := clock()
	l.deliver(frames[:n], join)
	l.cost.Store((3*l.cost.Load() + (clock()-start)/int64(n)) / 4)
	l.box.done(n)
	if l.box.pending() == 0 {
		l.worker.wakeIfParked()
	}
	return n
}

// deliver gives the frames, of as many letters, to the lane and notes what became
// of each. Where the lane takes super-frames in pieces, join makes some.
func (l *slowLane) deliver(f []frame.Frame, join *packet.Coalescer) {
	note := func(at, n int, result uint8) { l.note(at, n, result) }
	f, pieces := join.Coalesce(f, l.lane.MaxFrame(), l.lane.Offloads())
	if pieces > 0 {
		note = func(at, n int, result uint8) {
			for i := range n {
				l.note(join.From(at+i), 1, result)
			}
		}
	}
	for at := 0; at < len(f); {
		n, why := l.lane.Deliver(f[at:])
		note(at, n, 0)
		if at += n; at == len(f) {
			return
		}
		r, rest := refusal(why), len(f)-at
		if r == TooBig {
			rest = wholeFrame(f[at:])
		}
		note(at, rest, 1+uint8(r))
		at += rest
	}
}

// note says what became of n letters, from the one at at on.
func (l *slowLane) note(at, n int, result uint8) {
	for i := range n {
		m, _ := l.box.letter(at + i)
		m.result = result
	}
}

// refusal is the reason that a lane's refusal is counted under. A lane that
// took less than all and gave no reason is full.
func refusal(why frame.Refusal) Reason {
	switch why {
	case frame.TooBig:
		return TooBig
	case frame.Gone:
		return Gone
	}
	return Full
}

// end loses what is left and lets go of the lane.
func (l *slowLane) end() {
	n := l.box.pending()
	l.note(0, n, 1+uint8(Gone))
	l.box.done(n)
	close(l.ended)
	l.worker.wakeIfParked()
}

// slowThread is a thread that serves slow lanes, one after the other.
type slowThread struct {
	pool  *slowPool
	lanes atomic.Pointer[[]*slowLane] // written under pool.mu
	idle  atomic.Bool
	wake  chan struct{}
	join  packet.Coalescer // the thread's own
}

// poke makes the thread look at its lanes.
func (t *slowThread) poke() {
	if t.idle.Load() {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

func (t *slowThread) run() {
	runtime.LockOSThread() // and never unlocked: the thread ends with us
	if t.pool.prepare != nil {
		t.pool.prepare()
	}
	for {
		busy := t.round()
		if len(*t.lanes.Load()) == 0 && t.pool.dismiss(t) {
			return
		}
		if !busy {
			t.sleep()
		}
	}
}

// round serves each lane once.
func (t *slowThread) round() (busy bool) {
	for _, l := range *t.lanes.Load() {
		if l.asked.Load() {
			t.pool.remove(t, l)
			l.end()
			continue
		}
		busy = l.serve(t.pool.clock, &t.join) > 0 || busy
	}
	return busy
}

// sleep waits for poke, unless there is something to do already.
func (t *slowThread) sleep() {
	t.idle.Store(true)
	for _, l := range *t.lanes.Load() {
		if l.asked.Load() || l.box.pending() > 0 {
			t.idle.Store(false)
			return
		}
	}
	<-t.wake
	t.idle.Store(false)
}

// slowPool is all threads that serve slow lanes: one per lane up to max, then
// lanes share the threads, so that slow ports harm slow ports only.
type slowPool struct {
	max     int
	prepare func()
	clock   func() int64

	mu      sync.Mutex
	threads []*slowThread
}

// start makes a slow lane. It is called once when a lane becomes slow, so it
// may take its time.
func (p *slowPool) start(l *slowLane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.threads) < p.max {
		l.thread = &slowThread{pool: p, wake: make(chan struct{}, 1)}
		l.thread.lanes.Store(&[]*slowLane{l})
		p.threads = append(p.threads, l.thread)
		go l.thread.run()
		return
	}
	l.thread = slices.MinFunc(p.threads, func(a, b *slowThread) int {
		return len(*a.lanes.Load()) - len(*b.lanes.Load())
	})
	lanes := append(slices.Clone(*l.thread.lanes.Load()), l)
	l.thread.lanes.Store(&lanes)
	l.thread.poke()
}

func (p *slowPool) remove(t *slowThread, l *slowLane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	lanes := slices.DeleteFunc(slices.Clone(*t.lanes.Load()), func(o *slowLane) bool { return o == l })
	t.lanes.Store(&lanes)
}

// dismiss takes a thread without lanes out of the pool; false if it got one.
func (p *slowPool) dismiss(t *slowThread) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(*t.lanes.Load()) > 0 {
		return false
	}
	p.threads = slices.DeleteFunc(p.threads, func(o *slowThread) bool { return o == t })
	return true
}
