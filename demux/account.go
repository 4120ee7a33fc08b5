package demux

import "github.com/xdpdemux/xdpdemux/demux/frame"

// mode is whose frames a worker delivers, and so how they are counted.
type mode uint8

const (
	// modeSwitch: frames of the source w.from.
	modeSwitch mode = iota
	// modeAnswer: answers; the frame that asked is counted by their fate.
	modeAnswer
	// modeError: ICMP errors; the frame that they are about is counted already.
	modeError
	// modeCopy: copies of one frame, which is counted once and elsewhere:
	// a relayed frame, the segments of a super-frame.
	modeCopy
)

// begin has what follows counted as frames of l.
func (w *worker) begin(l *ledger, slot uint32) {
	w.from, w.fromSlot, w.mode, w.cuts = l, slot, modeSwitch, 0
}

// end enters what was counted since begin.
func (w *worker) end() { w.tally.flush(w.from.sheets[w.id]) }

// drop counts one lost frame of the source.
func (w *worker) drop(r Reason) { w.tally.drop(r, 1) }

// delivered counts frames that a lane took.
func (w *worker) delivered(to *laneSlot, f []frame.Frame) {
	n := uint64(len(f))
	switch w.mode {
	case modeAnswer, modeError:
		to.sheet.built.add(n)
		if w.mode == modeAnswer {
			w.tally.answered += n
		}
		return
	case modeSwitch:
		if to.p.id.Slot == HostSlot {
			w.tally.toHost += n
		} else {
			w.tally.delivered += n
		}
	}
	w.reached += n
	to.sheet.rxFrames.add(n)
	to.sheet.rxBytes.add(bytesOf(f))
}

// lost counts frames on their way to a lane that it did not get.
func (w *worker) lost(to *laneSlot, r Reason, n int) {
	switch w.mode {
	case modeSwitch:
		w.tally.drop(r, n)
		to.sheet.rxDrops[r].add(uint64(n))
	case modeAnswer:
		w.tally.drop(r, n)
		to.sheet.builtLost.add(uint64(n))
	case modeError:
		to.sheet.builtLost.add(uint64(n))
	case modeCopy:
		w.missed, w.missedBy = w.missed+uint64(n), r
	}
}

// post puts a copy of the frame into a mailbox on its way to a lane. Its fate
// is counted when the mailbox's other end knows it; full is the reason where
// there is no room.
func (w *worker) post(b *mailbox, to *laneSlot, f *frame.Frame, full Reason) {
	l := letter{to: to.p.books, id: to.p.id, mode: w.mode}
	if w.mode == modeSwitch {
		l.src = w.from
	}
	if !b.post(f, l) {
		w.lost(to, full, 1)
		return
	}
	switch w.mode {
	case modeSwitch:
		w.tally.handed++
	case modeAnswer:
		w.tally.answered++
	case modeCopy:
		w.reached++
	}
}

// settle counts what a slow lane did with a letter.
func (w *worker) settle(l *letter) {
	to := l.to.sheets[w.id]
	ok, r := l.result == 0, Reason(l.result-1)
	switch {
	case (l.mode == modeAnswer || l.mode == modeError) && ok:
		to.built.add(1)
	case l.mode == modeAnswer || l.mode == modeError:
		to.builtLost.add(1)
	case ok:
		to.rxFrames.add(1)
		to.rxBytes.add(uint64(l.len))
	default:
		to.rxDrops[r].add(1)
	}
	if l.mode == modeSwitch {
		l.src.sheets[w.id].settle(l.id.Slot, ok, r)
	}
}

// settle counts the fate of a frame of this source that was in flight.
func (s *sheet) settle(slot uint32, ok bool, r Reason) {
	switch {
	case !ok:
		s.drops[r].add(1)
	case slot == HostSlot:
		s.toHost.add(1)
	default:
		s.delivered.add(1)
	}
	s.settled.add(1)
}

// bytesOf is how long the frames are, or were before they were joined.
func bytesOf(f []frame.Frame) (n uint64) {
	for i := range f {
		n += uint64(len(f[i].Data))
		if f[i].GSO == frame.GSOPiece {
			n += uint64(f[i].HdrLen)
		}
	}
	return n
}
