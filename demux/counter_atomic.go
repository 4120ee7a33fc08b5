//go:build !amd64 || race

package demux

import "sync/atomic"

// counter has one writer, a worker, and any number of readers.
type counter struct{ v atomic.Uint64 }

// add is for the one writer only: it is no atomic addition.
func (c *counter) add(n uint64) { c.v.Store(c.v.Load() + n) }
func (c *counter) load() uint64 { return c.v.Load() }
