package memif

import (
	"sync/atomic"
	"time"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// gate lets one worker use what the control goroutine lends it, and lets the
// control goroutine take it back: after shut nobody is inside, and what was
// lent may be unmapped. Going in costs the worker one barrier, leaving nothing.
type gate[T any] struct {
	now    atomic.Pointer[T]
	inside uint32 // the worker's
}

// enter is what is lent, and nil if nothing is; only after the former comes
// leave. With the barrier between, either shut sees that somebody is inside, or
// enter sees that nothing is lent any more.
func (g *gate[T]) enter() *T {
	if g.now.Load() == nil {
		return nil
	}
	shm.Publish(&g.inside, 1)
	shm.Barrier()
	lent := g.now.Load()
	if lent == nil {
		g.leave()
	}
	return lent
}

func (g *gate[T]) leave() { shm.Publish(&g.inside, 0) }

// open lends p.
func (g *gate[T]) open(p *T) { g.now.Store(p) }

// shut takes back what is lent and returns when nobody is inside. Nobody
// stays there for longer than one burst takes.
func (g *gate[T]) shut() {
	g.now.Store(nil)
	for atomic.LoadUint32(&g.inside) != 0 {
		time.Sleep(20 * time.Microsecond)
	}
}
