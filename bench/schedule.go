package main

import "time"

// One system call of a flood makes so many frames that it takes about callTime: a
// window ends in time, and the call itself, some 30 µs, does not count.
const (
	firstCall = 4 << 10
	mostCall  = 64 << 10
	callTime  = 5 * time.Millisecond
)

// nextCall is how many frames the next call makes, when this one took that long.
func nextCall(frames int, took time.Duration) int {
	next := float64(frames) * float64(callTime) / float64(max(took, 1))
	return int(min(max(next, burst), mostCall)) / burst * burst
}

// schedule says how many frames a fixed load has fallen due.
type schedule struct {
	mpps  float64
	began time.Time
	gone  float64 // frames that were sent or given up
}

// mostLate is how much of the past is made up for.
const mostLate = 2 * time.Millisecond

func newSchedule(mpps float64, now time.Time) *schedule { return &schedule{mpps: mpps, began: now} }

// due is how many frames are to be sent now; they count as sent.
func (s *schedule) due(now time.Time) int {
	due := now.Sub(s.began).Seconds()*s.mpps*1e6 - s.gone
	if limit := mostLate.Seconds() * s.mpps * 1e6; due > limit {
		s.gone += due - limit
		due = limit
	}
	n := int(due)
	s.gone += float64(n)
	return n
}

// next is how long it is until a pause's worth of frames will be due.
func (s *schedule) next(now time.Time, pause time.Duration) time.Duration {
	return s.began.Add(time.Duration(s.gone/s.mpps*1e3) + pause).Sub(now)
}
