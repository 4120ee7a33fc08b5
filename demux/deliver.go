package demux

import "github.com/xdpdemux/xdpdemux/demux/frame"

// place puts frame i of the batch into the group of a port, unless the port
// cannot take it.
func (w *worker) place(i int, f *frame.Frame, slot uint32) {
	g := w.group.find(slot)
	if g == nil {
		g = w.group.open(slot, w.lanes.at(slot))
	}
	if uint32(len(f.Data)) > g.to.maxLen || f.Flags&frame.NeedsChecksum != 0 || f.GSO != frame.GSONone {
		if !w.fit(g, f) {
			return
		}
	}
	w.group.put(i, g)
}

// deliverGroups gives each port its frames of the batch, once.
func (w *worker) deliverGroups(f []frame.Frame) {
	g := &w.group
	if g.n == 1 && g.placed == len(f) && !g.groups[1].super {
		w.deliver(g.groups[1].to, f)
		return
	}
	g.sort(f)
	for i := uint8(1); i <= g.n; i++ {
		p := &g.groups[i]
		switch {
		case p.count == 0:
		case p.super:
			w.deliverMixed(p.to, g.frames(p))
		case w.together(p.to):
			w.couriers.add(p.to, g.frames(p))
		default:
			w.deliver(p.to, g.frames(p))
		}
	}
	w.sendCouriers()
}

// deliver gives frames to a port by whatever way leads there from this worker.
func (w *worker) deliver(to *laneSlot, f []frame.Frame) {
	switch {
	case to.flags&laneSpecial == 0:
		w.give(to, f)
	case to.flags&laneRemote != 0:
		w.deliverRemote(to, f)
	default:
		w.deliverForeign(to, f)
	}
}

// give has the lane copy the frames, as super-frames where it takes such in
// pieces.
func (w *worker) give(to *laneSlot, f []frame.Frame) {
	if to.offloads&frame.OffloadGather != 0 {
		f, _ = w.join.Coalesce(f, int(to.maxFrame), to.offloads)
	}
	if to.kind != 0 && to.flags&laneForeign != 0 && len(f) > 1 {
		f = w.giveAtOnce(to, f)
	}
	w.push(to, f)
}

// giveAtOnce has a lane that runs somebody else's code take the frames by a Courier,
// which may be faster for it than one by one also without others. It returns those
// that are still to be tried.
func (w *worker) giveAtOnce(to *laneSlot, f []frame.Frame) []frame.Frame {
	d := &w.couriers.one
	d[0] = frame.Delivery{Lane: to.lane, Frames: f}
	to.lane.(Courier).DeliverAll(d[:])
	return w.took(to, f, d[0].Taken, d[0].Why)
}

// push has the lane copy the frames such as they are. A refused frame is counted
// and the next one tried, unless none can succeed.
func (w *worker) push(to *laneSlot, f []frame.Frame) {
	for len(f) > 0 {
		n, why := to.lane.Deliver(f)
		f = w.took(to, f, n, why)
	}
}

// took counts what became of frames of which a lane has taken n, and returns
// those that are still to be tried.
func (w *worker) took(to *laneSlot, f []frame.Frame, n int, why frame.Refusal) []frame.Frame {
	if n > 0 {
		w.delivered(to, f[:n])
		f = f[n:]
	}
	switch {
	case len(f) == 0:
		return nil
	case why != frame.TooBig:
		w.lost(to, refusal(why), len(f))
		return nil
	}
	n = wholeFrame(f)
	w.lost(to, TooBig, n)
	return f[n:]
}

// wholeFrame is how many of the frames are the first one and its pieces.
func wholeFrame(f []frame.Frame) int {
	n := 1
	for n < len(f) && f[n].GSO == frame.GSOPiece {
		n++
	}
	return n
}

// deliverRemote hands the frames to the worker that owns the port's lane.
func (w *worker) deliverRemote(to *laneSlot, f []frame.Frame) {
	box := w.table.mail[w.id][to.owner]
	box.discard()
	for i := range f {
		w.post(box, to, &f[i], MailboxFull)
	}
	w.sw.workers[to.owner].wakeIfParked()
}

// deliverMail delivers what other workers handed over, and returns how many
// frames that were.
func (w *worker) deliverMail() (n int) {
	for from := range w.table.mail {
		if box := w.table.mail[from][w.id]; box != nil {
			n += w.openMail(box)
		}
	}
	return n
}

// openMail delivers up to a batch of letters, run by run: letters that go the
// same way and are counted alike.
func (w *worker) openMail(box *mailbox) int {
	n := min(box.pending(), batch)
	for at := 0; at < n; {
		first, f := box.letter(at)
		run := 0
		for {
			w.group.sorted[run] = f
			run++
			if at+run == n {
				break
			}
			var l *letter
			if l, f = box.letter(at + run); l.id != first.id || l.src != first.src || l.mode != first.mode {
				break
			}
		}
		w.deliverRun(first, w.group.sorted[:run])
		at += run
	}
	if n > 0 {
		box.done(n)
	}
	return n
}

// deliverRun delivers frames of one mailbox that are alike, as this worker's
// part of counting them. Where an Update gave the port's lane to another worker
// meanwhile, it hands them on.
func (w *worker) deliverRun(l *letter, f []frame.Frame) {
	src := l.src
	if src == nil {
		src = w.sw.injected // counted already; nothing will be added to it
	}
	w.begin(src, WireSlot)
	if w.mode = l.mode; w.mode == modeAnswer {
		w.mode = modeError
	}
	w.missed = 0
	if to := w.lanes.find(l.id.Slot); to != nil && to.p.id == l.id {
		w.deliverLetters(to, f)
		if w.mode == modeCopy {
			to.sheet.rxDrops[w.missedBy].add(w.missed)
		}
	} else if w.mode == modeSwitch {
		w.tally.drop(Gone, len(f))
	}
	w.end()
	if l.mode == modeSwitch {
		src.sheets[w.id].settled.add(uint64(len(f)))
	}
}

// deliverLetters delivers frames of one mailbox. Their sender made them such as
// the port took them then: an Update since may have given it another lane,
// without that one's offloads, or a smaller MTU.
func (w *worker) deliverLetters(to *laneSlot, f []frame.Frame) {
	from := 0
	for i := range f {
		if to.takes(&f[i]) {
			continue
		}
		w.deliver(to, f[from:i])
		w.refit(to, &f[i])
		from = i + 1
	}
	w.deliver(to, f[from:])
}
