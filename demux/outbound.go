package demux

import (
	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/demux/internal/packet"
)

// How much one breath takes from the lanes before the links are looked at
// again: lanes visited, frames, and bytes of one lane.
const (
	maxVisits    = 64
	maxCollect   = 256
	collectBytes = 256 << 10
)

// idlePolls is how often in a row an active lane may have nothing before it is
// armed and left.
const idlePolls = 8

// activeLane is a lane that is polled. Its state tells whether the slot's lane
// is still the one that was meant.
type activeLane struct {
	slot uint32
	st   *laneState
}

// activate puts the lane of a token among those that are polled, if its port
// still lives.
func (w *worker) activate(token uint32) {
	l := w.lanes.find(token >> 16)
	if l != nil && l.p.id.Gen&0xffff == token&0xffff {
		w.poll(l)
	}
}

// activateAll polls every lane once: nobody knows which doorbells rang while
// the worker did not run.
func (w *worker) activateAll() {
	for _, p := range w.lanes.pages {
		for i := range p.e {
			if p.e[i].p != nil {
				w.poll(&p.e[i])
			}
		}
	}
}

func (w *worker) poll(l *laneSlot) {
	if l.lane == nil || l.st.active {
		return
	}
	l.st.active, l.st.idle = true, 0
	l.lane.Arm(false)
	w.active = append(w.active, activeLane{l.p.id.Slot, l.st})
}

// outbound takes what the active lanes have, in turn, and returns how many
// frames that were.
func (w *worker) outbound() (total int) {
	for v := min(len(w.active), maxVisits); v > 0 && total < maxCollect; v-- {
		if w.cursor >= len(w.active) {
			w.cursor = 0
		}
		a := w.active[w.cursor]
		l := w.lanes.find(a.slot)
		if l == nil || l.st != a.st {
			w.leave(a.st)
			continue
		}
		n := w.visit(l)
		total += n
		if n > 0 || !w.idles(l) {
			w.cursor++
		}
	}
	return total
}

// idles notes a visit that found nothing. After idlePolls of them the lane is
// armed, looked at once more, since a frame may have come before, and left.
func (w *worker) idles(l *laneSlot) (left bool) {
	if l.st.idle++; l.st.idle < idlePolls {
		return false
	}
	l.lane.Arm(true)
	if w.visit(l) > 0 {
		l.lane.Arm(false)
		return false
	}
	w.leave(l.st)
	return true
}

// leave takes the lane at the cursor out of those that are polled.
func (w *worker) leave(st *laneState) {
	st.active = false
	last := len(w.active) - 1
	w.active[w.cursor] = w.active[last]
	w.active[last] = activeLane{}
	w.active = w.active[:last]
}

// visit takes one batch from a lane to wherever its frames go.
func (w *worker) visit(l *laneSlot) int {
	w.egress = w.wayOut(l.p.id.Slot)
	f := w.buffers(l)
	n := l.lane.Collect(f, collectBytes)
	if w.pinned {
		w.egress.used(n)
	} else {
		w.scratch.used = n
	}
	if n > 0 {
		l.st.idle = 0
		w.switchBatch(l, f[:n])
	}
	w.pinned = false
	return n
}

// switchBatch judges what one lane sent, and passes it on.
func (w *worker) switchBatch(l *laneSlot, f []frame.Frame) {
	w.begin(l.p.books, l.p.id.Slot)
	w.errors = &l.st.errors
	w.group.reset()
	w.lookFrom(l.p, f)
	for i := range f {
		w.tally.bytes += uint64(len(f[i].Data))
		if slot := w.plain.slot[i]; slot != 0 {
			w.head.Dst = [6]byte(f[i].Data) // tooBig asks for it
			w.actOn(l.p, i, &f[i], verdictOf(slot))
			continue
		}
		w.actOn(l.p, i, &f[i], w.judgePort(l.p, &f[i]))
	}
	w.tally.received += uint64(len(f))
	w.deliverGroups(f)
	w.repliesToPort(l)
	w.end()
}

// judgePort parses a frame that a port sent and asks the table.
func (w *worker) judgePort(p *port, f *frame.Frame) verdict {
	h := &w.head
	if !packet.ParseFast(f.Data, h) {
		return dropped(Malformed)
	}
	if h.Kind == packet.KindARP || h.ND != packet.NDNone {
		if !packet.Parse(f.Data, h) {
			return dropped(Malformed)
		}
	}
	if p.id.Slot == HostSlot {
		return w.table.fromHost(p, h)
	}
	return w.table.fromPort(p, h)
}

// wayOut is the link by which a port's frames leave: always the same, so that
// they stay in order.
func (w *worker) wayOut(slot uint32) *egress {
	if len(w.links) == 0 {
		return nil
	}
	return w.links[int(slot)%len(w.links)]
}

// buffers lends the memory that a lane's frames are copied into: transmit
// buffers of the link, so that what leaves is not copied again; or the
// worker's own, where frames may be larger than the wire takes, or while the
// link lends none.
func (w *worker) buffers(l *laneSlot) []frame.Frame {
	if w.egress != nil && l.flags&laneSuper == 0 && l.maxLen <= w.table.wireMax {
		base, view := w.egress.take(w, batch)
		if len(view) > 0 {
			w.base, w.pinned = base, true
			return view
		}
	}
	return w.scratch.lend()
}

// scratchFrame is the size in bytes of one of the worker's own buffers: the
// largest super-frame and its Ethernet header, and a remainder that spreads
// the buffers' beginnings over the cache.
const scratchFrame = 65536 + 1600

// scratch is a worker's own memory for one batch.
type scratch struct {
	data []byte
	f    [batch]frame.Frame
	used int // of f, since they were lent last
}

func (s *scratch) init() {
	s.data = make([]byte, batch*scratchFrame)
	s.used = batch
}

// lend makes the used buffers whole again and lends all.
func (s *scratch) lend() []frame.Frame {
	for i := range s.used {
		at := i * scratchFrame
		s.f[i] = frame.Frame{Data: s.data[at : at+scratchFrame : at+scratchFrame]}
	}
	s.used = 0
	return s.f[:]
}
