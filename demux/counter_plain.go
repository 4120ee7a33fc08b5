//go:build amd64 && !race

package demux

import "sync/atomic"

// counter has one writer, a worker, and any number of readers.
type counter struct{ v uint64 }

// add is for the one writer only. It is a plain store: an atomic one would be a
// full barrier on this architecture, and have the worker wait for every store
// before it. A reader sees a word that was stored (the Go memory model), and
// stores of one processor in their order (the architecture's).
func (c *counter) add(n uint64) { c.v += n }
func (c *counter) load() uint64 { return atomic.LoadUint64(&c.v) }
