//go:build !amd64 || race

package shm

import "sync/atomic"

// Publish stores v behind all that this thread has stored before: whoever sees v
// with an atomic load sees that as well.
func Publish(p *uint32, v uint32) { atomic.StoreUint32(p, v) }

// Barrier makes what this thread has stored visible before it loads anything
// else, which Go's atomic operations do by themselves.
func Barrier() {}
