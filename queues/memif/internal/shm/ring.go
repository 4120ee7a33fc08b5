package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
)

const (
	// Cookie stands in the first word of every ring. The client writes it.
	Cookie = 0x03E31F20
	// MaxLog2 is the binary logarithm of the most slots a ring may have.
	MaxLog2 = 14

	headerBytes = 128 // before the descriptors
	descBytes   = 16
	ringAlign   = 16

	maskInt = 1 // of the flags: the receiver of the ring's frames polls
)

// RingBytes is how much room a ring of 1<<log2 slots takes.
func RingBytes(log2 uint8) uint64 { return headerBytes + descBytes<<log2 }

// Ring is one ring, seen from either side. Its indices run over all of uint16
// and wrap; an index stands at slot index modulo Size.
//
// Whoever writes an index publishes what it wrote before, whoever reads one
// sees that. Each index, and the mask, has one writer. Neither side should read
// back what it wrote itself: the peer can change it.
type Ring struct {
	base origin
	mask uint16
}

// OpenRing looks at the ring of 1<<log2 slots that starts at offset of mem. It
// fails where the ring would not lie wholly in mem, at a multiple of 16. It
// reads nothing of it. The view is good as long as mem is.
func OpenRing(mem []byte, offset uint32, log2 uint8) (Ring, error) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return Ring{}, errors.New("memif rings are little-endian, this machine is not")
	}
	if log2 < 1 || log2 > MaxLog2 {
		return Ring{}, fmt.Errorf("a ring of 2^%d slots: 2^1 to 2^%d are possible", log2, MaxLog2)
	}
	if offset%ringAlign != 0 {
		return Ring{}, fmt.Errorf("a ring at offset %d: that is no multiple of %d", offset, ringAlign)
	}
	if end := uint64(offset) + RingBytes(log2); end > uint64(len(mem)) {
		return Ring{}, fmt.Errorf("a ring at offset %d ends at %d, its region has %d bytes", offset, end, len(mem))
	}
	return ringAt(mem[offset:], log2)
}

// Init makes the ring an empty one: cookie, no flags, both indices zero. It is
// the client's, before the server knows of the ring.
func (r *Ring) Init() {
	atomic.StoreUint32(r.cookie(), Cookie)
	atomic.StoreUint32(r.flagsHead(), 0)
	atomic.StoreUint32(r.tail(), 0)
}

// Cookie is what stands in place of the constant of that name.
func (r *Ring) Cookie() uint32 { return atomic.LoadUint32(r.cookie()) }

// Size is how many slots the ring has.
func (r *Ring) Size() uint16 { return r.mask + 1 }

// Head is the client's index. What the client wrote before it set it is seen.
func (r *Ring) Head() uint16 { return uint16(atomic.LoadUint32(r.flagsHead()) >> 16) }

// Tail is the server's index. What the server wrote before it set it is seen.
func (r *Ring) Tail() uint16 { return uint16(atomic.LoadUint32(r.tail())) }

// SetHead publishes the client's index. It leaves the flags as they are, also
// while the server changes them.
func (r *Ring) SetHead(head uint16) {
	for {
		old := atomic.LoadUint32(r.flagsHead())
		if atomic.CompareAndSwapUint32(r.flagsHead(), old, uint32(head)<<16|old&0xFFFF) {
			return
		}
	}
}

// SetTail publishes the server's index, and has done so before it returns.
func (r *Ring) SetTail(tail uint16) { atomic.StoreUint32(r.tail(), uint32(tail)) }

// PublishTail is SetTail for many rings in turn: the client sees the index soon,
// and whoever looks at Masked afterwards calls Barrier between the two.
func (r *Ring) PublishTail(tail uint16) { Publish(r.tail(), uint32(tail)) }

// Masked tells whether the receiver of the ring's frames wants no interrupts.
func (r *Ring) Masked() bool { return atomic.LoadUint32(r.flagsHead())&maskInt != 0 }

// SetMasked is the receiver's: true to poll, false to be interrupted. It leaves
// the head as it is, also while the client changes it, and takes one step
// whatever the client does. A receiver that unmasks looks at the ring once more
// before it sleeps: what it then does not see is announced.
func (r *Ring) SetMasked(on bool) {
	if on {
		atomic.OrUint32(r.flagsHead(), maskInt)
	} else {
		atomic.AndUint32(r.flagsHead(), ^uint32(maskInt))
	}
}

// Span is how many slots lie in [from, to), and whether a ring of this size can
// have that many: an index of the peer for which it cannot is a lie.
func (r *Ring) Span(from, to uint16) (n uint16, ok bool) {
	n = to - from
	return n, n <= r.mask+1
}
