package demux

import (
	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/demux/internal/packet"
)

// inbound takes one batch from a link to its ports.
func (w *worker) inbound(e *egress) int {
	n := e.link.Recv(w.rx[:])
	if n == 0 {
		return 0
	}
	w.begin(w.sw.wire, WireSlot)
	w.errors = &w.replies.wire
	w.egress = e
	w.group.reset()
	f := w.rx[:n]
	w.plain.lookAt(w.table, w.lanes, f)
	for i := range f {
		w.tally.bytes += uint64(len(f[i].Data))
		if slot := w.plain.slot[i]; slot != 0 {
			w.placePlain(i, &f[i], slot)
			continue
		}
		v := w.judgeWire(&f[i])
		if w.table.unfinished && v.act == actPort {
			packet.MarkUnfinished(f[i].Data, &w.head, &f[i].Meta)
		}
		w.actOn(nil, i, &f[i], v)
	}
	w.tally.received += uint64(n)
	w.deliverGroups(f)
	e.link.Release()
	w.repliesToWire()
	w.end()
	return n
}

// judgeWire parses a frame from the wire, takes its tag off and asks the table.
func (w *worker) judgeWire(f *frame.Frame) verdict {
	h := &w.head
	if !packet.ParseFast(f.Data, h) {
		return dropped(Malformed)
	}
	if h.Tags != 0 && !untag(h, f) {
		return dropped(BadVLAN)
	}
	if h.Kind == packet.KindARP || h.ND != packet.NDNone {
		if !packet.Parse(f.Data, h) {
			return dropped(Malformed)
		}
		w.sight(h, f.VLAN)
	}
	return w.table.fromWire(h, &f.Meta)
}

// untag takes the one tag off that a frame may bear, in its bytes or already
// in its Meta.
func untag(h *packet.Header, f *frame.Frame) bool {
	if h.Tags != 1 || f.VLAN != 0 {
		return false
	}
	f.Data, f.VLAN = packet.StripTag(f.Data)
	h.Tags, h.L3 = 0, h.L3-vlanTag
	if f.Flags&frame.NeedsChecksum != 0 {
		f.CsumStart -= vlanTag
	}
	return true
}

// actOn does what the verdict on frame i of the batch says. p is the port that
// it came from; nil: the wire.
func (w *worker) actOn(p *port, i int, f *frame.Frame, v verdict) {
	switch v.act {
	case actPort:
		if v.mac != 0 {
			putMAC(f.Data, v.mac)
		}
		w.place(i, f, v.slot)
	case actWire:
		w.toWire(p, i, f)
	case actAnswer:
		w.answer(f, v.mac)
	case actSwallow:
		w.tally.answered++
	case actDrop:
		w.drop(v.reason)
	}
}
