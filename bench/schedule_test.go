package main

import (
	"testing"
	"time"
)

// TestScheduleKeepsTheRate: bursts that come late are made up for, and what is
// later than the limit is given up, once.
func TestScheduleKeepsTheRate(t *testing.T) {
	began := time.Now()
	at := func(d time.Duration) time.Time { return began.Add(d) }
	s := newSchedule(0.5, began)
	for _, step := range []struct {
		at   time.Duration
		want int
	}{
		{0, 0},
		{128 * time.Microsecond, 64},
		{129 * time.Microsecond, 0},
		{256 * time.Microsecond, 64},
		{1256 * time.Microsecond, 500},
		{11256 * time.Microsecond, 1000}, // ten milliseconds late: two of them are made up for
		{11384 * time.Microsecond, 64},
	} {
		if got := s.due(at(step.at)); got != step.want {
			t.Errorf("after %v %d frames are due, want %d", step.at, got, step.want)
		}
	}
	if got := s.next(at(11400*time.Microsecond), 128*time.Microsecond).Round(time.Microsecond); got != 112*time.Microsecond {
		t.Errorf("the next burst is %v away, want 112µs", got)
	}
}

// TestCallsTakeAboutAsLong: a call makes whole bursts, at least one, and not
// without bound.
func TestCallsTakeAboutAsLong(t *testing.T) {
	for _, c := range []struct {
		frames int
		took   time.Duration
		want   int
	}{
		{firstCall, callTime, firstCall},
		{firstCall, 2 * callTime, firstCall / 2},
		{firstCall, callTime * 4 / 5, firstCall * 5 / 4},
		{1000 * burst, 3 * callTime, 333 * burst},
		{burst, time.Second, burst},
		{mostCall, 0, mostCall},
	} {
		if got := nextCall(c.frames, c.took); got != c.want {
			t.Errorf("%d frames took %v: the next call makes %d, want %d", c.frames, c.took, got, c.want)
		}
	}
}
