package main

import "time"

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
