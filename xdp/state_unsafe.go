package xdp

import "unsafe"

// stateAt lays the state over the first page of b, which lies on a page
// boundary and outlives what is returned.
func stateAt(b []byte) *state {
	_ = b[pageSize-1]
	return (*state)(unsafe.Pointer(unsafe.SliceData(b)))
}

// The state fits into its page.
const _ = uint(pageSize - unsafe.Sizeof(state{}))
