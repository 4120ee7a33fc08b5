package main

import (
	"time"
)

// waiter is where a worker of the switch is when there is nothing to do. It
// either sleeps, as the daemon's does, or lets the consumer run and comes back;
// both look at the doorbells of the lanes as the daemon does.
type waiter struct {
	poll  *poller
	meter *meter
	block bool
}

// Wait is described at demux.Waiter.
func (w *waiter) Wait(ready []uint32, timeout time.Duration) int {
	if timeout == 0 {
		return w.look(ready, 0)
	}
	w.meter.pause()
	defer w.meter.resume()
	if w.block {
		return w.look(ready, timeout)
	}
	yield()
	return w.look(ready, 0)
}

func (w *waiter) look(ready []uint32, timeout time.Duration) int {
	tokens, _ := w.poll.wait(timeout) // an interrupted call is a wake-up like any other
	return copy(ready, tokens)
}

// Wake is described at demux.Waiter.
func (w *waiter) Wake() { w.poll.wake() }
