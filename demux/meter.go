package demux

import "github.com/xdpdemux/xdpdemux/demux/frame"

// What a port whose Deliver runs foreign code may cost a worker. A port moves
// to a slow lane when it used more than a fifth of the time of the last 10 ms
// and its frames are dear, each time: a busy port with cheap frames stays.
const (
	slowShare    = 5         // one fifth
	slowCredit   = 2_000_000 // ns: a fifth of 10 ms
	slowFrame    = 20_000    // ns: a TAP without a firewall costs 3 µs
	slowByte     = 2         // ns for each byte besides: copying a super-frame and serving its segments takes 1
	slowStrikes  = 32        // dear calls, less two for each cheap one
	chunkTime    = 200_000   // ns: about how long one call for one lane may take
	chunkUnknown = 8         // frames in one call while the cost is not known
)

// What has a lane looked at by itself that is delivered to together with others: one
// call's time does not tell whose it was.
const (
	jointFrame = slowFrame / 2 // ns: TAPs whose memory is cold cost 3-8 µs
	jointCalls = 32            // of so many batches one is looked at anyway
)

// meter charges a lane for the time of its Deliver.
type meter struct {
	cost    int64 // ns per frame, smoothed
	spent   int64 // ns used of slowCredit
	last    int64 // when it was charged
	strikes uint8
	suspect bool  // the last call was dear, at least by the clock on the wall
	joint   uint8 // batches since the lane was last looked at by itself
}

// alone tells, once for each batch, whether the lane's frames in it are to be delivered
// by themselves: the last call was dear, or the lane has not been looked at for a while,
// since one dear lane among many cheap ones does not show.
func (m *meter) alone() bool {
	if m.suspect {
		return true
	}
	m.joint = (m.joint + 1) % jointCalls
	return m.joint == 0
}

// chunk is how many frames to deliver before the clock is read again.
func (m *meter) chunk() int {
	if m.cost == 0 {
		return chunkUnknown
	}
	return int(max(1, min(batch, chunkTime/m.cost)))
}

// charge notes a call that ended now and cost own, and tells whether the port is
// over its budget.
//
// The first dear call makes a port suspect, no more: on a busy machine the
// worker may have lost its processor meanwhile. From then on own is the thread's
// own time, which is dearer to read and cannot be stolen.
func (m *meter) charge(now, own int64, n int, bytes uint64) bool {
	each := own / int64(n)
	m.cost = max(1, (3*m.cost+each)/4)
	m.spent = max(0, m.spent-(now-own-m.last)/slowShare) + own
	m.last = now
	if each <= slowFrame+slowByte*int64(bytes)/int64(n) {
		m.strikes -= min(m.strikes, 2)
		m.suspect = m.strikes > 0
		return false
	}
	if !m.suspect {
		m.suspect = true
		return false
	}
	m.strikes = min(m.strikes+1, slowStrikes)
	return m.strikes == slowStrikes && m.spent > slowCredit
}

// dear tells whether frames that were delivered together cost more than frames do.
func dear(took int64, d []frame.Delivery) bool {
	limit := int64(0)
	for i := range d {
		limit += jointFrame * int64(len(d[i].Frames))
	}
	if took <= limit { // nearly always
		return false
	}
	for i := range d {
		limit += slowByte * int64(bytesOf(d[i].Frames))
	}
	return took > limit
}

// deliverForeign delivers to a lane that runs somebody else's code, and
// charges the port.
func (w *worker) deliverForeign(to *laneSlot, f []frame.Frame) {
	m, over := &to.st.meter, false
	start := int64(0)
	for len(f) > 0 && !over && to.st.slow.Load() == nil {
		n := min(len(f), m.chunk())
		if start == 0 {
			start = w.sw.clock()
		}
		began := int64(0)
		if m.suspect {
			began = w.sw.threadTime()
		}
		suspect := m.suspect
		w.give(to, f[:n])
		now := w.sw.clock()
		own := now - start
		if suspect {
			own = w.sw.threadTime() - began
		}
		over = m.charge(now, own, n, bytesOf(f[:n]))
		w.work += int((now - start) / workTime)
		f, start = f[n:], now
	}
	if over {
		w.goSlow(to)
	}
	if len(f) > 0 {
		w.deliverSlow(to, f)
	}
}
