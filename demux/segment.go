package demux

import (
	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/demux/internal/packet"
)

// segmentRoom is the memory in bytes for a batch of segments on their way to a
// lane that takes no super-frames: one super-frame's payload, and as many
// headers, of which none is longer than 134 bytes.
const segmentRoom = scratchFrame + batch*256

// fit makes an unusual frame such as the port takes: one that is too long, a
// super-frame, or one whose checksum is to be completed. It returns false if
// the frame is lost, and counted.
func (w *worker) fit(g *group, f *frame.Frame) bool {
	to := g.to
	switch {
	case f.GSO != frame.GSONone:
		return w.fitSuper(g, f)
	case uint32(len(f.Data)) > to.maxLen:
		to.sheet.rxDrops[TooBig].add(1)
		w.tooBig(f, to.maxLen)
		return false
	case f.Flags&frame.NeedsChecksum != 0 && !to.finishes(f):
		w.drop(Malformed)
		return false
	}
	return true
}

// finishes completes a checksum where the lane's other side does not. Where it
// does, the offsets are judged all the same: they say where two bytes will be
// written after the source check, and a container chose them.
func (l *laneSlot) finishes(f *frame.Frame) bool {
	if l.offloads&frame.OffloadChecksum != 0 {
		return packet.PartialChecksum(f.Data, &f.Meta)
	}
	return packet.CompleteChecksum(f.Data, &f.Meta)
}

// fitSuper looks whether a super-frame fits a port, whole or in segments.
func (w *worker) fitSuper(g *group, f *frame.Frame) bool {
	if !w.cut.Init(f.Data, &f.Meta) {
		w.drop(Malformed)
		return false
	}
	if uint32(w.cut.MaxLen()) > g.to.maxLen {
		g.to.sheet.rxDrops[TooBig].add(1)
		w.tooBig(f, g.to.maxLen)
		return false
	}
	if !g.to.takesWhole(f) {
		if !w.mayCut() {
			return false
		}
		g.super = true
	}
	f.HdrLen = uint16(w.cut.HeaderLen()) // the sender's may be anything, and a TAP refuses one beyond the frame
	return true
}

// maxCuts is how many segments one visit to a lane may make. Segments of 160
// bytes or more never meet it; a sender of smaller ones, who would have a
// thousand frames made of a kilobyte, loses the rest.
const maxCuts = collectBytes / 128

// mayCut tells whether the visit may still make the segments of w.cut, and
// else drops the super-frame.
func (w *worker) mayCut() bool {
	if w.cuts += w.cut.Count(); w.cuts > maxCuts {
		w.drop(NotAllowed)
		return false
	}
	return true
}

// takesWhole tells whether the lane takes this super-frame as it is.
func (l *laneSlot) takesWhole(f *frame.Frame) bool {
	need := superOffload(f.GSO)
	return l.offloads&need == need && uint32(len(f.Data)) <= l.maxFrame
}

// takes tells whether the port takes the frame, which was made to fit once, as
// it is now.
func (l *laneSlot) takes(f *frame.Frame) bool {
	if f.GSO == frame.GSONone {
		return uint32(len(f.Data)) <= l.maxLen &&
			(f.Flags&frame.NeedsChecksum == 0 || l.offloads&frame.OffloadChecksum != 0)
	}
	return l.takesWhole(f) && min(uint32(f.HdrLen)+uint32(f.GSOSize), uint32(len(f.Data))) <= l.maxLen
}

// refit delivers a frame that the port does not take as it is, in the shape that
// it does take, and counts it. It is nobody's batch any more, so its sender is
// told no path MTU: its next frame will tell.
func (w *worker) refit(to *laneSlot, f *frame.Frame) {
	switch s := &w.cut; {
	case f.GSO == frame.GSONone && uint32(len(f.Data)) > to.maxLen:
		w.lost(to, TooBig, 1)
	case f.GSO == frame.GSONone && !packet.CompleteChecksum(f.Data, &f.Meta), f.GSO != frame.GSONone && !s.Init(f.Data, &f.Meta):
		w.lost(to, Malformed, 1)
	case f.GSO == frame.GSONone:
		w.pieces[0] = *f
		w.deliver(to, w.pieces[:1])
	case uint32(s.MaxLen()) > to.maxLen:
		w.lost(to, TooBig, 1)
	case w.mayCut():
		w.deliverCut(to, f)
	}
}

// superOffload is what a lane must offer to take that kind of super-frame.
func superOffload(gso uint8) frame.Offload {
	switch gso {
	case frame.GSOTCPv4:
		return frame.OffloadTCPv4 | frame.OffloadChecksum
	case frame.GSOTCPv6:
		return frame.OffloadTCPv6 | frame.OffloadChecksum
	}
	return frame.OffloadUDP | frame.OffloadChecksum
}

// deliverMixed delivers frames of which some are super-frames that must be
// cut, and keeps their order.
func (w *worker) deliverMixed(to *laneSlot, f []frame.Frame) {
	from := 0
	for i := range f {
		if f[i].GSO == frame.GSONone || to.takesWhole(&f[i]) {
			continue
		}
		if from < i {
			w.deliver(to, f[from:i])
		}
		w.deliverCut(to, &f[i])
		from = i + 1
	}
	if from < len(f) {
		w.deliver(to, f[from:])
	}
}

// deliverCut delivers a super-frame in segments. It counts as delivered if all
// of it was.
func (w *worker) deliverCut(to *laneSlot, f *frame.Frame) {
	s := &w.cut
	if !s.Init(f.Data, &f.Meta) {
		w.drop(Malformed)
		return
	}
	was := w.mode
	w.mode, w.missed = modeCopy, 0
	n, used := 0, 0
	for i := range s.Count() {
		if n == batch {
			w.deliver(to, w.pieces[:n])
			n, used = 0, 0
		}
		size := s.At(w.segments[used:], i)
		w.pieces[n] = frame.Frame{Data: w.segments[used : used+size : used+size]}
		n, used = n+1, used+size
	}
	w.deliver(to, w.pieces[:n])
	w.mode = was
	w.work += s.Count()
	w.countCut(to)
}

func (w *worker) countCut(to *laneSlot) {
	switch {
	case w.missed > 0:
		w.lost(to, w.missedBy, 1)
	case to.p.id.Slot == HostSlot:
		w.tally.toHost++
	default:
		w.tally.delivered++
	}
}
