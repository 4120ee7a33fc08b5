package demux

import "github.com/xdpdemux/xdpdemux/demux/frame"

// maxKinds is how many types of Couriers a switch tells apart; what is beyond is
// delivered to lane by lane.
const maxKinds = 4

// couriers gather what of a batch is for lanes that are delivered to together,
// each for one type.
type couriers struct {
	of    [maxKinds]courier
	one   [1]frame.Delivery
	first [batch]frame.Frame // what was joined to super-frames
	used  int                // of first
	seen  uint64             // keeps the compiler from leaving out a look ahead
}

// courier gathers what is for lanes of one Courier's type.
type courier struct {
	n       int
	foreign bool // some lane runs somebody else's code
	to      [batch]*laneSlot
	d       [batch]frame.Delivery
}

// together tells whether a lane is delivered to together with others of its kind.
// One that runs somebody else's code is not while it is watched.
func (w *worker) together(to *laneSlot) bool {
	switch {
	case to.kind == 0 || to.flags&laneRemote != 0:
		return false
	case to.flags&laneForeign == 0:
		return true
	}
	return to.st.slow.Load() == nil && !to.st.meter.alone()
}

// add gives the frames to whoever delivers them together with others. The
// counters of their port will be needed behind the copies: they are looked at
// now, while nothing waits for them.
func (c *couriers) add(to *laneSlot, f []frame.Frame) {
	k := &c.of[to.kind-1]
	k.to[k.n] = to
	k.d[k.n] = frame.Delivery{Lane: to.lane, Frames: f}
	k.n++
	k.foreign = k.foreign || to.flags&laneForeign != 0
	c.seen += to.sheet.rxFrames.load()
}

// sendCouriers delivers what has been gathered.
func (w *worker) sendCouriers() {
	c := &w.couriers
	c.used = 0
	for i := range c.of {
		k := &c.of[i]
		n, foreign := k.n, k.foreign
		k.n, k.foreign = 0, false
		switch {
		case n == 0:
		case n == 1:
			w.deliver(k.to[0], k.d[0].Frames)
		case foreign:
			w.sendForeign(k.to[:n], k.d[:n])
		default:
			w.send(k.to[:n], k.d[:n])
		}
	}
}

// send delivers to the lanes, and counts what became of it. Where a lane refused
// a frame for its size, the others are tried.
func (w *worker) send(to []*laneSlot, d []frame.Delivery) {
	for i := range d {
		if to[i].offloads&frame.OffloadGather != 0 {
			d[i].Frames = w.joinFor(to[i], d[i].Frames)
		}
	}
	to[0].lane.(Courier).DeliverAll(d)
	for i := range d {
		w.push(to[i], w.took(to[i], d[i].Frames, d[i].Taken, d[i].Why))
	}
}

// joinFor makes super-frames for a lane that takes such in pieces, which stay as
// they are until the batch has been delivered.
func (w *worker) joinFor(to *laneSlot, f []frame.Frame) []frame.Frame {
	whole, pieces := w.join.Coalesce(f, int(to.maxFrame), to.offloads)
	if pieces == 0 {
		return f
	}
	c := &w.couriers
	mine := c.first[c.used:]
	n := copy(mine, whole)
	c.used += n
	return mine[:n:n]
}

// sendForeign is send for lanes of which some run somebody else's code, and looks
// at the clock. After a dear call all of these are suspect, until they have been
// cheap by themselves.
func (w *worker) sendForeign(to []*laneSlot, d []frame.Delivery) {
	start := w.sw.clock()
	w.send(to, d)
	took := w.sw.clock() - start
	w.work += int(took / workTime)
	if !dear(took, d) {
		return
	}
	for _, l := range to {
		l.st.meter.suspect = true // of a lane that is not charged, it means nothing
	}
}
