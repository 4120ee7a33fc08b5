package memif

import (
	"runtime/debug"
	"unsafe"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// touch runs fn, which uses the regions' memory, and tells whether that was
// there: the client may have cut the file, and the access ends in SIGBUS then.
func touch(regions []*shm.Region, fn func()) (there bool) {
	defer func(before bool) {
		debug.SetPanicOnFault(before)
		if caught := recover(); caught != nil {
			if !faultIn(regions, caught) {
				panic(caught)
			}
			there = false
		}
	}(debug.SetPanicOnFault(true))
	fn()
	return true
}

// faultIn tells whether what was recovered is a fault of these regions' memory.
// Any other is a mistake of ours, and not to be hidden.
func faultIn(regions []*shm.Region, caught any) bool {
	fault, ok := caught.(interface{ Addr() uintptr })
	if !ok {
		return false
	}
	for _, r := range regions {
		start := uintptr(unsafe.Pointer(unsafe.SliceData(r.Data())))
		if at := fault.Addr(); at >= start && at-start < uintptr(len(r.Data())) {
			return true
		}
	}
	return false
}
