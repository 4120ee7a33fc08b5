package shm

// prefetch has the processor fetch n cache lines for writing. It does not wait for
// them, and an address without memory does no harm.
//
//go:noescape
func prefetch(at **byte, n int)
