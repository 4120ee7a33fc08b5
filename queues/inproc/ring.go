package inproc

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// ring is a bounded queue of copied frames with one producer and one consumer.
// The indices only grow. Frames stand in cells, each behind its head, and the
// producer begins again with the same cell whenever it finds the ring empty:
// a ring that never holds more than a few frames never touches the memory of more,
// which for thousands of rings is what caches hold and what they do not. It is another
// cell in each ring, or all those would meet in a few sets of a cache.
type ring struct {
	// Of both, written by neither.
	mask  uint64
	size  int // bytes of the largest frame
	begin uint64
	cells []byte

	_        [64]byte
	tail     atomic.Uint64 // the next frame to write; written by the producer
	first    uint64        // the index that stands in cell begin; see rewind
	headSeen uint64        // the producer's last look at head

	_        [64]byte
	head     atomic.Uint64 // the next frame to read; written by the consumer
	tailSeen uint64        // the consumer's last look at tail

	_    [64]byte
	gone atomic.Bool // one side has left; set once
}

// headLen is what stands in front of a frame in its cell.
const headLen = 24

func newRing(slots, size int) *ring {
	r := &ring{mask: uint64(slots - 1), size: size, begin: rand.Uint64()}
	r.cells = make([]byte, slots*r.stride())
	return r
}

// stride is from one cell to the next: whole cache lines.
func (r *ring) stride() int { return (headLen + r.size + 63) &^ 63 }

// room is how many frames the producer may write, looking at the consumer's
// index only where its last look does not show enough.
func (r *ring) room(want int) int {
	tail, slots := r.tail.Load(), r.mask+1
	if slots-(tail-r.headSeen) < uint64(want) {
		r.headSeen = r.head.Load()
	}
	return int(slots - (tail - r.headSeen))
}

// rewind begins with the same cell again, if nothing waits. The consumer looks at
// first only between the tail that it has seen and the head that it tells, and the
// producer writes it only when those are the same; so it need not be atomic, which
// would be a barrier for each of many rings.
func (r *ring) rewind() {
	if r.headSeen = r.head.Load(); r.headSeen == r.tail.Load() {
		r.first = r.headSeen
	}
}

// filled is how many frames the consumer may read.
func (r *ring) filled(want int) int {
	head := r.head.Load()
	if r.tailSeen-head < uint64(want) {
		r.tailSeen = r.tail.Load()
	}
	return int(r.tailSeen - head)
}

// put copies one frame, the i-th behind tail. It is the consumer's only after
// publish.
func (r *ring) put(i int, f *frame.Frame, m *frame.Meta) {
	cell := r.cell(r.tail.Load() + uint64(i))
	putHead(cell, copy(cell[headLen:], f.Data), m)
}

func (r *ring) publish(n int) { r.tail.Store(r.tail.Load() + uint64(n)) }

// peek shows the i-th frame behind head; it is lent until discard.
func (r *ring) peek(i int) (f frame.Frame) {
	cell := r.cell(r.head.Load() + uint64(i))
	length := getHead(cell, &f.Meta)
	f.Data = cell[headLen : headLen+length : headLen+r.size]
	return f
}

func (r *ring) discard(n int) { r.head.Store(r.head.Load() + uint64(n)) }

// cell is where the frame of that index stands, with its head.
func (r *ring) cell(index uint64) []byte {
	at := int((index-r.first+r.begin)&r.mask) * r.stride()
	return r.cells[at : at+headLen+r.size]
}

func putHead(cell []byte, length int, m *frame.Meta) {
	le := binary.LittleEndian
	le.PutUint64(cell, uint64(uint32(length))|uint64(m.VLAN)<<32|uint64(m.Flags)<<48|uint64(m.GSO)<<56)
	le.PutUint64(cell[8:], uint64(m.Hint)|uint64(m.Gen)<<32)
	le.PutUint64(cell[16:], uint64(m.GSOSize)|uint64(m.HdrLen)<<16|uint64(m.CsumStart)<<32|uint64(m.CsumOffset)<<48)
}

func getHead(cell []byte, m *frame.Meta) (length int) {
	le := binary.LittleEndian
	a, b, c := le.Uint64(cell), le.Uint64(cell[8:]), le.Uint64(cell[16:])
	*m = frame.Meta{
		VLAN: uint16(a >> 32), Flags: uint8(a >> 48), GSO: uint8(a >> 56),
		Hint: uint32(b), Gen: uint32(b >> 32),
		GSOSize: uint16(c), HdrLen: uint16(c >> 16), CsumStart: uint16(c >> 32), CsumOffset: uint16(c >> 48),
	}
	return int(uint32(a))
}

// push copies as many frames as fit, in order, and publishes them at once.
func (r *ring) push(f []frame.Frame, meta func(*frame.Meta) frame.Meta) (int, frame.Refusal) {
	if r.gone.Load() {
		return 0, frame.Gone
	}
	r.rewind()
	room, why := min(r.room(len(f)), len(f)), frame.Accepted
	n := 0
	for ; n < room; n++ {
		if len(f[n].Data) > r.size {
			why = frame.TooBig
			break
		}
		m := meta(&f[n].Meta)
		r.put(n, &f[n], &m)
	}
	if n > 0 {
		r.publish(n)
	}
	if n == room && room < len(f) {
		why = frame.Full
	}
	return n, why
}
