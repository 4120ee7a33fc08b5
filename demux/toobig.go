package demux

import (
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/demux/internal/packet"
)

// ICMP errors of one worker to one port, or to the wire: errorRate a second,
// and errorBurst at once (RFC 1812, section 4.3.2.8; RFC 4443, section 2.4 f).
// A port has its own, so that no other keeps it from learning a path MTU.
const (
	errorRate  = 100
	errorBurst = 100
)

const errorEach = int64(time.Second) / errorRate

// bucket limits a rate; the zero one is full.
type bucket struct {
	spent int64 // and not accrued again
	last  int64 // when some last accrued
}

// left tells whether there is one to spend.
func (b *bucket) left(now int64) bool {
	if n := (now - b.last) / errorEach; n > 0 {
		b.spent, b.last = max(0, b.spent-n), now
	}
	return b.spent < errorBurst
}

// tick has the buckets know the time. It is called during chores, so that a
// frame needs no clock, and reads the clock itself only until all buckets must
// be full again.
func (r *replies) tick(clock func() int64) {
	if !r.spending {
		return
	}
	r.now = clock()
	if r.spent {
		r.spent, r.full = false, r.now+errorBurst*errorEach
	}
	r.spending = r.now < r.full
}

// tooBig drops a frame that is longer than limit bytes and tells its sender
// the path MTU, where the protocol knows how and the rate allows. The frame is
// the one in w.head; its destination MAC may have been rewritten since.
func (w *worker) tooBig(f *frame.Frame, limit uint32) {
	w.drop(TooBig)
	r := &w.replies
	if r.ne == maxErrors || !w.errors.left(r.now) {
		return
	}
	from, mtu := w.head.Dst, int(limit)-ethHeader
	var h packet.Header
	if !packet.Parse(f.Data, &h) {
		return
	}
	var data []byte
	switch h.Kind {
	case packet.KindIPv4:
		data = packet.BuildFragNeeded(r.errorBuffer(), f.Data, &h, from, mtu)
	case packet.KindIPv6:
		data = packet.BuildPacketTooBig(r.errorBuffer(), f.Data, &h, from, mtu)
	}
	if data == nil {
		return
	}
	r.errors[r.ne] = frame.Frame{Data: data, Meta: frame.Meta{VLAN: f.VLAN}}
	r.ne++
	w.errors.spent++
	r.spent, r.spending = true, true
}
