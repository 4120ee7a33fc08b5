package memif

import (
	"testing"
	"unsafe"
)

// bytesOf is the same memory, aligned to words.
func bytesOf(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))
}

// TestLayout holds what Deliver counts on: one cache line for what an ordinary
// frame needs of its lane, and lanes that are aligned to it.
func TestLayout(t *testing.T) {
	if n := unsafe.Sizeof(outlet{}); n != 64 {
		t.Errorf("outlet has %d bytes, want 64", n)
	}
	lanes := make([]*Lane, 100)
	for i := range lanes {
		lanes[i] = newLane(1518)
		if uintptr(unsafe.Pointer(lanes[i]))%64 != 0 {
			t.Fatalf("a lane of %d bytes starts in the midst of a cache line", unsafe.Sizeof(Lane{}))
		}
	}
}
