package memif

import (
	"sync/atomic"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

const (
	// minFrame is an Ethernet header.
	minFrame = 14
	// maxVisits bounds the descriptors after which Collect begins no other
	// frame, so that a client cannot hold the worker up with empty ones.
	maxVisits = 1024
)

// receiver is the worker's half of a ring from a client, for one connection.
// Slots from next up to head hold the client's frames.
type receiver struct {
	client   *session
	lane     *Lane
	ring     shm.Ring
	regions  shm.Regions
	maxFrame int

	next, head uint16 // next is ours alone, head our last look at the client's
	taken      int    // frames of this call, which stand even if it ends in a fault
	masked     bool   // what the ring's mask was last set to

	bell    doorbell    // which the worker sleeps on
	watched bool        // Queue.watchers was told of it; Server.mu
	look    atomic.Bool // the worker armed it: the server looks once more, later
}

func newReceiver(x *session, l *Lane, ring shm.Ring, fd int, regions shm.Regions) *receiver {
	r := &receiver{client: x, lane: l, ring: ring, regions: regions, maxFrame: l.maxFrame}
	r.bell.open(x, fd)
	return r
}

// collect copies frames out and gives their buffers back at once.
func (r *receiver) collect(f []frame.Frame, maxBytes int) {
	if r.client.broken() {
		return
	}
	if r.masked == r.lane.armed {
		r.mask(!r.lane.armed)
	}
	r.head = r.ring.Head()
	if _, ok := r.ring.Span(r.next, r.head); !ok {
		r.client.violate(headBeyondRing)
		return
	}
	r.fetch(min(r.head-r.next, uint16(len(f)-r.taken)))
	before := r.next
	for bytes := 0; r.next != r.head && r.taken < len(f) && bytes < maxBytes && r.next-before < maxVisits; {
		size, ok := r.take(f[r.taken].Data)
		if !ok {
			return // what is left is nobody's any more
		}
		if size == 0 {
			continue
		}
		f[r.taken].Data, f[r.taken].Meta = f[r.taken].Data[:size], frame.Meta{}
		r.taken++
		bytes += size
	}
	if r.next != before {
		r.ring.PublishTail(r.next) // the client never sleeps until then
	}
}

// fetch has the processor fetch the next buffers, side by side: the client has
// written them on another processor. Nothing of what their descriptors say is
// believed: take looks again.
func (r *receiver) fetch(slots uint16) {
	if slots < 2 {
		return
	}
	var ahead shm.Ahead
	for i := range slots {
		if piece, ok := r.regions.At(r.ring.Desc(r.next + i)); ok {
			ahead.Add(piece)
		}
	}
	ahead.Fetch()
}

// take copies the next frame into b and returns its size; 0 is a frame that
// was dropped and counted. Not ok is a client that lies.
func (r *receiver) take(b []byte) (size int, ok bool) {
	d := r.ring.Desc(r.next)
	piece, ok := r.regions.At(d)
	if !ok {
		r.client.violate(outsideOfRegion)
		return 0, false
	}
	if d.Flags&shm.FlagNext != 0 {
		return r.takeChain(b)
	}
	r.next++
	size = len(piece)
	if !r.fits(size, b) {
		return 0, true
	}
	return copy(b, piece), true
}

// takeChain is take for a frame in several pieces. A chain that ends behind
// what the client has published is dropped.
//
// Each slot's flags are cleared before it goes back: DPDK up to 22.11.11 never
// takes the flag off a packet's first slot.
func (r *receiver) takeChain(b []byte) (size int, ok bool) {
	total := uint64(0)
	for count := 0; ; count++ {
		if count == maxPieces {
			r.client.violate(endlessChain)
			return 0, false
		}
		d := r.ring.Desc(r.next)
		piece, ok := r.regions.At(d)
		if !ok {
			r.client.violate(outsideOfRegion)
			return 0, false
		}
		if total+uint64(len(piece)) <= uint64(len(b)) {
			copy(b[total:], piece)
		}
		total += uint64(len(piece))
		more := d.Flags&shm.FlagNext != 0
		d.Flags = 0
		r.ring.SetDesc(r.next, d)
		r.next++
		if !more {
			break
		}
		if r.next == r.head {
			r.lane.malformed.Add(1)
			return 0, true
		}
	}
	size = int(min(total, 1<<30))
	if !r.fits(size, b) {
		return 0, true
	}
	return size, true
}

// fits tells whether a frame of size bytes can be yielded in b, and counts it
// if it cannot.
func (r *receiver) fits(size int, b []byte) bool {
	switch {
	case size < minFrame:
		r.lane.malformed.Add(1)
	case size > len(b) || size > r.maxFrame:
		r.lane.oversize.Add(1)
	default:
		return true
	}
	return false
}

// mask tells the client whether to ring.
func (r *receiver) mask(on bool) {
	r.ring.SetMasked(on)
	r.masked = on
}

// arm asks the client to ring, or not to.
//
// The implementations in C look at the mask behind a store of the head that
// need not be visible by then, so a client may see the old mask while we see
// the old head. That the server looks once more, a millisecond later, mends it.
func (r *receiver) arm(on bool) {
	if r.client.broken() || r.masked != on {
		return
	}
	r.mask(!on)
	if on && !r.look.Swap(true) {
		r.client.call(false)
	}
}
