package demux

import (
	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/demux/internal/packet"
)

// How many transmit buffers are reserved at a time: the number follows use,
// since what is reserved and not used costs a little too.
const (
	reserveMin = 16
	reserveMax = 128
)

// reserveSlack is what a reserved buffer holds beside a frame of the wire's
// MTU: room in front for the tag to be pushed, and behind for a tag that a
// container put there, so that such a frame is seen and counted as what it is.
const reserveSlack = 2 * vlanTag

// egress is one link as a way out. A reservation stays open over lanes and
// breaths until frames were sent from it or it is used up.
type egress struct {
	link  Link
	whole WholeLink // link, if it is one
	size  int       // of the buffers reserved
	ask   int       // how many to reserve next
	n     int       // reserved
	next  int       // used so far, sent or not
	views int       // how many of view are ready
	c     int       // frames to commit
	dry   bool
	bytes uint64

	base   [reserveMax]frame.Frame // as the link lent them
	view   [reserveMax]frame.Frame // the same behind the headroom
	commit [reserveMax]frame.Frame
}

func newEgress(l Link) *egress {
	e := &egress{link: l, ask: reserveMin}
	e.whole, _ = l.(WholeLink)
	return e
}

// take lends up to want transmit buffers, of which used says how many are
// spent. None: the NIC has no room, or is down.
func (e *egress) take(w *worker, want int) (base, view []frame.Frame) {
	if e.next == e.n || e.size != w.wireSize() {
		e.renew(w)
	}
	to := min(e.next+want, e.n)
	for ; e.views < to; e.views++ {
		e.view[e.views] = frame.Frame{Data: e.base[e.views].Data[vlanTag:]}
	}
	return e.base[e.next:to], e.view[e.next:to]
}

func (e *egress) used(n int) { e.next += n }

// spare lends one transmit buffer, or nil.
func (e *egress) spare(w *worker) []byte {
	if e.next == e.n || e.size != w.wireSize() {
		if w.pinned {
			return nil
		}
		e.renew(w)
		if e.next == e.n {
			return nil
		}
	}
	e.next++
	return e.base[e.next-1].Data
}

// renew sends what is to be sent and makes a new reservation.
func (e *egress) renew(w *worker) {
	if e.n > 0 && e.next == e.n {
		e.ask = min(2*e.ask, reserveMax)
	}
	e.flush(w)
	e.n, e.next, e.views, e.size = 0, 0, 0, w.wireSize()
	if e.dry {
		return
	}
	e.n = e.link.Reserve(e.base[:e.ask], e.size)
	e.dry = e.n == 0
}

// send appends a frame, which lies in a reserved buffer, to what flush sends.
func (e *egress) send(data []byte) {
	e.commit[e.c] = frame.Frame{Data: data}
	e.c++
	e.bytes += uint64(len(data))
}

// flush sends; what else was reserved returns to the link.
func (e *egress) flush(w *worker) {
	if e.c == 0 {
		return
	}
	if 4*e.next < e.ask {
		e.ask = max(e.ask/2, reserveMin)
	}
	e.link.Commit(e.commit[:e.c])
	w.wireFrames.add(uint64(e.c))
	w.wireBytes.add(e.bytes)
	e.n, e.next, e.views, e.c, e.bytes = 0, 0, 0, 0, 0
}

// close gives back what is still reserved.
func (e *egress) close() {
	if e.n > 0 {
		e.link.Commit(nil)
	}
	*e = egress{}
}

// wireSize is how large a transmit buffer must be, in bytes.
func (w *worker) wireSize() int { return int(w.table.wireMax) + reserveSlack }

// toWire sends frame i of the batch of port p to the wire.
func (w *worker) toWire(p *port, i int, f *frame.Frame) {
	switch {
	case w.leavesWhole(p, f):
		w.wholeToWire(f)
	case f.GSO != frame.GSONone:
		w.superToWire(p, f)
	case f.Flags&frame.NeedsChecksum != 0 && !packet.CompleteChecksum(f.Data, &f.Meta):
		w.drop(Malformed)
	case uint32(len(f.Data)) > w.table.wireMax:
		w.tooBig(f, w.table.wireMax)
	case w.egress == nil:
		w.drop(WireFull)
	case w.pinned:
		w.egress.send(tagged(w.base[i].Data, len(f.Data), p.VLAN))
		w.tally.toWire++
	default:
		w.copyToWire(p, f)
	}
}

// copyToWire sends a frame that lies in the worker's own memory.
func (w *worker) copyToWire(p *port, f *frame.Frame) {
	buf := w.egress.spare(w)
	if buf == nil {
		w.drop(WireFull)
		return
	}
	n := copy(buf[vlanTag:], f.Data)
	w.egress.send(tagged(buf, n, p.VLAN))
	w.tally.toWire++
}

// tagged returns the frame of n bytes that stands in buf behind the room for a
// tag, with the tag if there is to be one.
func tagged(buf []byte, n int, vlan uint16) []byte {
	if vlan != 0 && packet.PushTag(buf, vlanTag, vlan) {
		return buf[:vlanTag+n]
	}
	return buf[vlanTag : vlanTag+n]
}

// superToWire cuts a super-frame into transmit buffers. It counts as sent if
// all of it was.
func (w *worker) superToWire(p *port, f *frame.Frame) {
	s := &w.cut
	switch {
	case !s.Init(f.Data, &f.Meta):
		w.drop(Malformed)
		return
	case uint32(s.MaxLen()) > w.table.wireMax:
		w.tooBig(f, w.table.wireMax)
		return
	case w.egress == nil:
		w.drop(WireFull)
		return
	case !w.mayCut():
		return
	}
	for i := range s.Count() {
		buf := w.egress.spare(w)
		if buf == nil {
			w.drop(WireFull)
			return
		}
		w.egress.send(tagged(buf, s.At(buf[vlanTag:], i), p.VLAN))
	}
	w.work += s.Count()
	w.tally.toWire++
}
