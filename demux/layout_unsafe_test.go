package demux

import (
	"testing"
	"unsafe"
)

// TestLayout holds what deliver counts on: one cache line for what it needs of
// a port, and no line with two writers.
func TestLayout(t *testing.T) {
	if n := unsafe.Sizeof(laneSlot{}); n != 64 {
		t.Errorf("laneSlot has %d bytes, want 64", n)
	}
	if n := unsafe.Sizeof(sheet{}); n%64 != 0 {
		t.Errorf("sheet has %d bytes, want a multiple of 64", n)
	}
}
