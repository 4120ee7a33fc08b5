package demux

import (
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// slowHold is how long a lane stays slow at least, in nanoseconds; it returns
// then if its frames have become cheap, or if none came for as long.
const slowHold = int64(time.Second)

// slowLook is how often a worker with slow lanes wakes to look after them.
const slowLook = 250 * time.Millisecond

// goSlow moves a lane to a thread of its own. Happening once in a while, it
// may allocate.
func (w *worker) goSlow(to *laneSlot) {
	now := w.sw.clock()
	l := &slowLane{
		box: newMailbox(slowLetters, slowBytes), lane: to.lane, worker: w, st: to.st,
		ended: make(chan struct{}), since: now, last: now,
	}
	w.sw.slow.start(l)
	to.st.slow.Store(l)
	w.slow = append(w.slow, l)
	w.slowMoves.add(1)
	w.slowLanes.Add(1)
}

// deliverSlow hands frames to the lane's thread.
func (w *worker) deliverSlow(to *laneSlot, f []frame.Frame) {
	l := to.st.slow.Load()
	w.reap(l)
	for i := range f {
		w.post(l.box, to, &f[i], SlowFull)
	}
	l.fed = true
	l.thread.poke()
}

// reap counts what the thread has done.
func (w *worker) reap(l *slowLane) {
	for m := l.box.reap(); m != nil; m = l.box.reap() {
		w.settle(m)
	}
}

// tendSlow counts what the slow lanes did, and takes back those that have
// become fast. A slow lane that ended is forgotten once all is counted.
func (w *worker) tendSlow() {
	if len(w.slow) == 0 {
		return
	}
	now := w.sw.clock()
	keep := w.slow[:0]
	for _, l := range w.slow {
		ended := l.hasEnded() // it has settled all letters before
		w.reap(l)
		if ended {
			w.slowLanes.Add(-1)
			continue
		}
		w.tryFast(l, now)
		keep = append(keep, l)
	}
	clear(w.slow[len(keep):])
	w.slow = keep
}

// tryFast takes the lane back when its mailbox is empty, so that nothing
// overtakes: the thread does not touch the lane without a letter.
func (w *worker) tryFast(l *slowLane, now int64) {
	if l.fed {
		l.fed, l.last = false, now
	}
	calm := l.cost.Load() <= slowFrame || now-l.last >= slowHold
	if l.left || !l.box.settled() || now-l.since < slowHold || !calm {
		return
	}
	l.left = true
	l.st.meter = meter{}
	l.st.slow.Store(nil)
	l.leave()
}
