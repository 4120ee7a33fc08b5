//go:build amd64 && !race

package shm

import "sync/atomic"

// Publish stores v behind all that this thread has stored before: whoever sees v
// with an atomic load sees that as well. Here a plain store does so; an atomic one
// would have the thread wait for all of them, one cache miss after the other.
func Publish(p *uint32, v uint32) { *p = v }

// Barrier makes what this thread has stored visible before it loads anything
// else.
func Barrier() {
	var own uint32
	atomic.AddUint32(&own, 1)
}
