package xdp

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

func sizeOf[T any]() uint64 {
	var v T
	return uint64(unsafe.Sizeof(v))
}

var errOffsets = errors.New("the kernel's ring offsets lie outside of the ring")

// ringAt finds a ring's parts in its mapping. The slices and pointers are into
// b and die with it.
func ringAt[T any](b []byte, at unix.XDPRingOffset, entries uint32) (ringOf[T], error) {
	size := uint64(len(b))
	for _, offset := range []uint64{at.Producer, at.Consumer, at.Flags} {
		if offset%4 != 0 || offset > size-4 {
			return ringOf[T]{}, errOffsets
		}
	}
	if at.Desc%8 != 0 || at.Desc+uint64(entries)*sizeOf[T]() > size {
		return ringOf[T]{}, errOffsets
	}
	return ringOf[T]{
		ringMemory: ringMemory{wordAt(b, at.Producer), wordAt(b, at.Consumer), wordAt(b, at.Flags)},
		entries:    unsafe.Slice((*T)(unsafe.Pointer(&b[at.Desc])), entries),
	}, nil
}

func wordAt(b []byte, offset uint64) *uint32 { return (*uint32)(unsafe.Pointer(&b[offset])) }

// wordsOf is b, which a mapping begins with, as words.
func wordsOf(b []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/8)
}

// offsetIn is where b starts within the memory of outer; anything else than an
// offset into outer says that it does not.
func offsetIn(outer, b []byte) uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(unsafe.Pointer(unsafe.SliceData(outer))))
}

// replaceMapping lays private zero bytes over b, in one step: whoever reads or
// writes b meanwhile meets either memory, and the kernel's object behind the
// old mapping is let go.
func replaceMapping(b []byte) error {
	_, err := unix.MmapPtr(-1, 0, unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED)
	if err != nil {
		return fmt.Errorf("replace a mapping: %w", err)
	}
	return nil
}
