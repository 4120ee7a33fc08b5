package shm

import "fmt"

// Direction says who sends the frames of a ring.
type Direction uint8

// The two directions.
const (
	C2S Direction = iota // the client sends
	S2C                  // the server sends
)

// Layout is how a client places everything in one region, as DPDK's does: the
// rings toward the server, the rings from it, then a buffer for every slot.
type Layout struct {
	Rings      int   // in each direction
	Log2       uint8 // of the slots of a ring
	BufferSize int   // in bytes
	// Start is where the first ring stands, a multiple of 64 bytes, and Gap how
	// many bytes are left free behind each buffer. Where they are zero, the memory
	// of thousands of clients, all of whose regions start at a page, meets in a few
	// sets of every cache: see Spread.
	Start uint32
	Gap   int
}

// Spread is the layout of a client that leaves its neighbours room in the caches.
// Start is one of the 64 lines of a page, and large buffers are an odd number of
// cache lines apart.
func (l Layout) Spread(line uint32) Layout {
	l.Start = line % 64 * 64
	if stride := (l.BufferSize + 63) &^ 63; l.BufferSize >= 1024 {
		if stride%128 == 0 {
			stride += 64
		}
		l.Gap = stride - l.BufferSize
	}
	return l
}

// Stride is how far apart two buffers are, in bytes.
func (l Layout) Stride() int { return l.BufferSize + l.Gap }

// bufferAlign is a cache line: the first buffer does not share one with a ring.
const bufferAlign = 64

// addressable is how far the offset of a descriptor reaches.
const addressable = 1 << 32

// Check says whether there is such a layout.
func (l Layout) Check() error {
	switch {
	case l.Rings < 1 || l.Rings > 256:
		return fmt.Errorf("%d rings: 1 to 256 are possible", l.Rings)
	case l.Log2 < 1 || l.Log2 > MaxLog2:
		return fmt.Errorf("rings of 2^%d slots: 2^1 to 2^%d are possible", l.Log2, MaxLog2)
	case l.BufferSize < 1 || l.BufferSize > 65535:
		return fmt.Errorf("buffers of %d bytes: 1 to 65535 are possible", l.BufferSize)
	case l.Size() > addressable:
		return fmt.Errorf("%d rings of %d slots of %d bytes each way need %d MiB, a region has at most 4096",
			l.Rings, 1<<l.Log2, l.BufferSize, (l.Size()+1<<20-1)>>20)
	}
	return nil
}

// Size is how long the region is, in bytes.
func (l Layout) Size() uint64 {
	return l.buffers() + 2*uint64(l.Rings)*uint64(l.Stride())<<l.Log2
}

// Ring is where ring i of direction d starts.
func (l Layout) Ring(d Direction, i int) uint32 {
	return l.Start + uint32(l.ordinal(d, i)*RingBytes(l.Log2))
}

// Buffer is where the buffer of a slot of ring i of direction d starts. Of slot
// the part that is in the ring counts.
func (l Layout) Buffer(d Direction, i int, slot uint16) uint32 {
	slots := l.ordinal(d, i)<<l.Log2 + uint64(slot)&(1<<l.Log2-1)
	return uint32(l.buffers() + slots*uint64(l.Stride()))
}

func (l Layout) ordinal(d Direction, i int) uint64 { return uint64(int(d)*l.Rings + i) }

func (l Layout) buffers() uint64 {
	rings := uint64(l.Start) + 2*uint64(l.Rings)*RingBytes(l.Log2)
	return (rings + bufferAlign - 1) &^ (bufferAlign - 1)
}
