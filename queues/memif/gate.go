package memif

import (
	"sync/atomic"
	"time"
)

// gate lets one worker use what the control goroutine lends it, and lets the
// control goroutine take it back: after shut nobody is inside, and what was
// lent may be unmapped. Going in costs the worker one atomic exchange.
type gate[T any] struct {
	now    atomic.Pointer[T]
	inside atomic.Bool
}

// enter is what is lent, and nil if nothing is; only after the former comes
// leave. With sequentially consistent atomics either shut sees that somebody
// is inside, or enter sees that nothing is lent any more.
func (g *gate[T]) enter() *T {
	if g.now.Load() == nil {
		return nil
	}
	g.inside.Store(true)
	lent := g.now.Load()
	if lent == nil {
		g.inside.Store(false)
	}
	return lent
}

func (g *gate[T]) leave() { g.inside.Store(false) }

// open lends p.
func (g *gate[T]) open(p *T) { g.now.Store(p) }

// shut takes back what is lent and returns when nobody is inside. Nobody
// stays there for longer than one burst takes.
func (g *gate[T]) shut() {
	g.now.Store(nil)
	for g.inside.Load() {
		time.Sleep(20 * time.Microsecond)
	}
}
