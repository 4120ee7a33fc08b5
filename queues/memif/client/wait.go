package client

import "time"

// nap is a place to sleep that costs no allocation. One goroutine sleeps at a
// time, for there is one timer; others wait for their turn.
type nap struct {
	turn  chan struct{}
	timer *time.Timer
}

func newNap() nap {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return nap{turn: make(chan struct{}, 1), timer: t}
}

// sleep returns after d, or earlier when one of the channels says so.
func (s *nap) sleep(done, ended, bell <-chan struct{}, d time.Duration) {
	select {
	case s.turn <- struct{}{}:
	case <-done:
		return
	case <-ended:
		return
	}
	s.timer.Reset(d)
	select {
	case <-bell:
	case <-s.timer.C:
	case <-done:
	case <-ended:
	}
	s.timer.Stop()
	<-s.turn
}
