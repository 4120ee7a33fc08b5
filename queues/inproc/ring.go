package inproc

import (
	"sync/atomic"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// ring is a bounded queue of copied frames with one producer and one consumer.
// The indices only grow; a slot is the index modulo the number of slots.
type ring struct {
	// Of both, written by neither.
	mask  uint64
	size  int // bytes of a slot
	slots []slot
	bytes []byte

	_        [64]byte
	tail     atomic.Uint64 // the next slot to fill; written by the producer
	headSeen uint64        // the producer's last look at head

	_        [64]byte
	head     atomic.Uint64 // the next slot to empty; written by the consumer
	tailSeen uint64        // the consumer's last look at tail

	_    [64]byte
	gone atomic.Bool // one side has left; set once
}

type slot struct {
	length int
	meta   frame.Meta
}

func newRing(slots, size int) *ring {
	return &ring{
		mask:  uint64(slots - 1),
		size:  size,
		slots: make([]slot, slots),
		bytes: make([]byte, slots*size),
	}
}

// room is how many slots the producer may fill, looking at the consumer's
// index only where its last look does not show enough.
func (r *ring) room(want int) int {
	tail, slots := r.tail.Load(), uint64(len(r.slots))
	if slots-(tail-r.headSeen) < uint64(want) {
		r.headSeen = r.head.Load()
	}
	return int(slots - (tail - r.headSeen))
}

// filled is how many slots the consumer may empty.
func (r *ring) filled(want int) int {
	head := r.head.Load()
	if r.tailSeen-head < uint64(want) {
		r.tailSeen = r.tail.Load()
	}
	return int(r.tailSeen - head)
}

// put copies one frame into slot i behind tail. It is the consumer's only
// after publish.
func (r *ring) put(i int, f *frame.Frame, m frame.Meta) {
	at := (r.tail.Load() + uint64(i)) & r.mask
	r.slots[at] = slot{length: copy(r.cell(at), f.Data), meta: m}
}

func (r *ring) publish(n int) { r.tail.Store(r.tail.Load() + uint64(n)) }

// peek shows the frame in slot i behind head; it is lent until discard.
func (r *ring) peek(i int) frame.Frame {
	at := (r.head.Load() + uint64(i)) & r.mask
	s := &r.slots[at]
	return frame.Frame{Data: r.cell(at)[:s.length], Meta: s.meta}
}

func (r *ring) discard(n int) { r.head.Store(r.head.Load() + uint64(n)) }

func (r *ring) cell(at uint64) []byte {
	from := int(at) * r.size
	return r.bytes[from : from+r.size : from+r.size]
}

// push copies as many frames as fit, in order, and publishes them at once.
func (r *ring) push(f []frame.Frame, meta func(*frame.Meta) frame.Meta) (int, frame.Refusal) {
	if r.gone.Load() {
		return 0, frame.Gone
	}
	room, why := min(r.room(len(f)), len(f)), frame.Accepted
	n := 0
	for ; n < room; n++ {
		if len(f[n].Data) > r.size {
			why = frame.TooBig
			break
		}
		r.put(n, &f[n], meta(&f[n].Meta))
	}
	if n > 0 {
		r.publish(n)
	}
	if n == room && room < len(f) {
		why = frame.Full
	}
	return n, why
}
