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

// ringAt finds the parts of a ring of 1<<log2 slots at the start of b, which
// is long enough.
func ringAt(b []byte, log2 uint8) (Ring, error) {
	base := unsafe.Pointer(unsafe.SliceData(b))
	if uintptr(base)%unsafe.Alignof(uint64(0)) != 0 {
		return Ring{}, errors.New("the region's memory is not aligned to words")
	}
	return Ring{
		cookie:    (*uint32)(unsafe.Pointer(&b[offCookie])),
		flagsHead: (*uint32)(unsafe.Pointer(&b[offFlags])),
		tail:      (*uint32)(unsafe.Pointer(&b[offTail])),
		desc:      unsafe.Slice((*uint64)(unsafe.Pointer(&b[offDesc])), 2<<log2),
		mask:      1<<log2 - 1,
	}, nil
}
