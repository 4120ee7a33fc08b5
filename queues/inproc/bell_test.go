package inproc

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
)

// What came between the first look and the arming did not ring: await looks
// again before it sleeps.
func TestAwaitLooksAgain(t *testing.T) {
	b := bell{wake: make(chan struct{}, 1), fd: -1}
	var gone atomic.Bool
	looks := 0
	try := func() bool {
		looks++
		return looks == 2
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // sleeping would be an error
	if err := b.await(ctx, &gone, try); err != nil || looks != 2 {
		t.Errorf("await after %d looks: %v", looks, err)
	}
	if b.armed.Load() {
		t.Error("the bell is armed though nobody sleeps")
	}
}

// What came before the other side left is still seen.
func TestAwaitAfterTheEnd(t *testing.T) {
	b := bell{wake: make(chan struct{}, 1), fd: -1}
	var gone atomic.Bool
	looks := 0
	try := func() bool {
		if looks++; looks == 1 {
			gone.Store(true) // with the last frame
		}
		return looks == 2
	}
	if err := b.await(t.Context(), &gone, try); err != nil {
		t.Errorf("await: %v", err)
	}
	if err := b.await(t.Context(), &gone, func() bool { return false }); !errors.Is(err, ErrClosed) {
		t.Errorf("await when nothing is left: %v", err)
	}
}
