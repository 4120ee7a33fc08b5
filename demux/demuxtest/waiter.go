package demuxtest

import (
	"sync"
	"time"
)

// Waiter is a worker's place to sleep, without a kernel. All methods may be
// called from any goroutine, Wait from one at a time.
type Waiter struct {
	wake chan struct{}

	mu     sync.Mutex
	rang   []uint32
	sleeps int
}

// NewWaiter makes a waiter with nothing to say.
func NewWaiter() *Waiter { return &Waiter{wake: make(chan struct{}, 1)} }

// Ring is a doorbell: the token comes out of Wait once.
func (w *Waiter) Ring(token uint32) {
	w.mu.Lock()
	w.rang = append(w.rang, token)
	w.mu.Unlock()
	w.Wake()
}

// Wake ends the current or the next Wait; see demux.Waiter.
func (w *Waiter) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Sleeps is how often Wait was asked to sleep.
func (w *Waiter) Sleeps() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sleeps
}

// Wait returns the tokens that rang; see demux.Waiter.
func (w *Waiter) Wait(ready []uint32, timeout time.Duration) int {
	if timeout == 0 {
		return w.take(ready)
	}
	w.mu.Lock()
	w.sleeps++
	w.mu.Unlock()
	if timeout < 0 {
		<-w.wake
		return w.take(ready)
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-w.wake:
	case <-t.C:
	}
	return w.take(ready)
}

func (w *Waiter) take(ready []uint32) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := copy(ready, w.rang)
	w.rang = w.rang[n:]
	if len(w.rang) > 0 {
		w.Wake()
	}
	return n
}
