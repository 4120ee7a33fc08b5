package shm

import (
	"errors"
	"unsafe"
)

// Where the parts of a ring stand in it.
const (
	offCookie = 0
	offFlags  = 4 // flags, and the head behind them
	offTail   = 64
	offDesc   = headerBytes
)

// origin is where a ring starts.
type origin unsafe.Pointer

// ringAt is the ring of 1<<log2 slots at the start of b, which is long enough.
func ringAt(b []byte, log2 uint8) (Ring, error) {
	base := unsafe.Pointer(unsafe.SliceData(b))
	if uintptr(base)%unsafe.Alignof(uint64(0)) != 0 {
		return Ring{}, errors.New("the region's memory is not aligned to words")
	}
	return Ring{base: origin(base), mask: 1<<log2 - 1}, nil
}

// The client's cookie, written once.
func (r *Ring) cookie() *uint32 { return r.word(offCookie) }

// flagsHead is flags in its lower half and the head in its upper one. The head
// is the client's, the flags are those of the side that receives the frames of
// this ring.
func (r *Ring) flagsHead() *uint32 { return r.word(offFlags) }

// tail is the server's, in its lower half; the upper one is padding.
func (r *Ring) tail() *uint32 { return r.word(offTail) }

func (r *Ring) word(at uintptr) *uint32 { return (*uint32)(unsafe.Add(unsafe.Pointer(r.base), at)) }

// desc is the two words of the descriptor of index i. The mask keeps it within
// the ring.
func (r *Ring) desc(i uint16) *[2]uint64 {
	return (*[2]uint64)(unsafe.Add(unsafe.Pointer(r.base), offDesc+descBytes*uintptr(i&r.mask)))
}
