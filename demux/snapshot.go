package demux

import (
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// laneState is what changes about a lane while it is in use. Its worker alone
// touches it, save where a field says otherwise. It lives as long as the lane
// is the port's: an Update that keeps the lane keeps its state.
type laneState struct {
	active bool  // stands in the worker's list of lanes to poll
	idle   uint8 // polls in a row that found nothing
	meter  meter
	errors bucket                   // of ICMP errors to the port
	slow   atomic.Pointer[slowLane] // written by the worker, read by control
}

// makeLanes fills in what the workers need to reach p. States of lanes that
// old has as well are kept.
func (s *Switch) makeLanes(p, old *port) {
	p.lanes = make([]laneSlot, len(s.workers))
	for w, lane := range p.Lanes {
		l := &p.lanes[w]
		*l = laneSlot{lane: lane, p: p, sheet: p.books.sheets[w], maxLen: p.maxLen, st: new(laneState)}
		if lane == nil {
			l.owner, l.flags = p.laneOwner(w), laneRemote
			l.ask(p.Lanes[l.owner])
			continue
		}
		l.ask(lane)
		l.kind = s.kindOf(lane)
		if p.Foreign {
			l.flags |= laneForeign
		}
		if old != nil && sameLane(lane, old.Lanes[w]) {
			l.keep(&old.lanes[w])
		}
	}
	s.needMail(p)
}

// keep goes on with a lane that is in use. Once charged it stays charged: it
// may be on a slow lane, which the worker alone ends in order.
func (l *laneSlot) keep(old *laneSlot) {
	l.st = old.st
	l.flags |= old.flags & laneForeign
}

// ask remembers what the lane says about itself.
func (l *laneSlot) ask(lane Lane) {
	const super = frame.OffloadTCPv4 | frame.OffloadTCPv6 | frame.OffloadUDP
	l.maxFrame, l.offloads = uint32(lane.MaxFrame()), lane.Offloads()
	if l.offloads&super != 0 {
		l.flags |= laneSuper
	}
}

// kindOf is the number of a Courier's type, and 0 of any other lane and where
// there are too many types. The caller holds ctl.
func (s *Switch) kindOf(lane Lane) uint8 {
	if _, ok := lane.(Courier); !ok {
		return 0
	}
	t := reflect.TypeOf(lane)
	i := slices.Index(s.kinds, t)
	if i < 0 && len(s.kinds) < maxKinds {
		i = len(s.kinds)
		s.kinds = append(s.kinds, t)
	}
	return uint8(i + 1)
}

// laneOwner is the worker that serves the port for worker w, which has no
// lane: those that have share the others evenly.
func (p *port) laneOwner(w int) uint8 {
	owners := make([]int, 0, len(p.Lanes))
	for i, l := range p.Lanes {
		if l != nil {
			owners = append(owners, i)
		}
	}
	return uint8(owners[(w+int(p.id.Slot))%len(owners)])
}

// publish makes t the snapshot that workers load from their next breath on,
// and enters the change where control and statistics read.
func (s *Switch) publish(t *Table, enter func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	enter()
	t.mail = s.mail
	s.table.Store(t)
}

// activate has every worker look at the ports' lanes: it polls them, and arms
// them once they are idle. The ports must be published already.
func (s *Switch) activate(ids ...PortID) {
	for _, w := range s.workers {
		w.fresh.push(&freshList{ids: ids})
		w.wakeIfParked()
	}
}

// replaced ends the use of the lanes of old that p does not have, and begins
// that of p's.
func (s *Switch) replaced(old, p *port) {
	if p != nil {
		s.activate(p.id)
	}
	if old == nil {
		return
	}
	s.letGo()
	s.grace()
	var keep []laneSlot
	var lanes []Lane
	if p != nil {
		keep, lanes = p.lanes, p.Lanes
	}
	stopSlow(old.lanes, keep)
	s.mu.Lock()
	defer s.mu.Unlock()
	old.books.keep(lanes)
}

// stopSlow ends the slow lanes of old, save those whose state is in keep. No
// worker may reach old any more. It returns when their threads have let go.
func stopSlow(old, keep []laneSlot) {
	for i := range old {
		if keep != nil && keep[i].st == old[i].st {
			continue
		}
		if l := old[i].st.slow.Load(); l != nil {
			l.stop()
		}
	}
}

// letGo wakes the workers that sleep, lest they keep an old snapshot, and with
// it the lanes of ports that are gone, for as long as nobody sends to them.
func (s *Switch) letGo() {
	for _, w := range s.workers {
		w.wakeIfParked()
	}
}

// grace returns once no worker can hold a snapshot older than the published
// one: each has begun a breath since, or sleeps, and loads it when it wakes.
func (s *Switch) grace() {
	for _, w := range s.workers {
		w.outlast()
	}
}

// gracePoll is how often a worker's progress is looked at; a breath takes
// some tens of microseconds.
const gracePoll = 20 * time.Microsecond

func (w *worker) outlast() {
	for b := w.breaths.Load(); !w.parked.Load() && w.breaths.Load() == b; {
		time.Sleep(gracePoll)
	}
}

// freshList is a stack of ports whose lanes a worker has not seen yet; any
// goroutine pushes, the worker takes all.
type freshList struct {
	ids  []PortID
	next *freshList
}

type freshStack struct{ top atomic.Pointer[freshList] }

func (s *freshStack) push(l *freshList) {
	for {
		l.next = s.top.Load()
		if s.top.CompareAndSwap(l.next, l) {
			return
		}
	}
}

func (s *freshStack) empty() bool { return s.top.Load() == nil }

func (s *freshStack) take() *freshList { return s.top.Swap(nil) }
