package main

import (
	"math"
	"testing"
)

func TestBusyTimeIsWhatTheBurnerDidNotGet(t *testing.T) {
	for _, c := range []struct {
		turns               uint64
		rate, seconds, want float64
	}{
		{1000, 1000, 1, 0},
		{250, 1000, 1, 0.75},
		{0, 1000, 2, 2},
		{1100, 1000, 1, 0}, // faster than when it was calibrated
	} {
		if got := busyTime(c.turns, c.rate, c.seconds); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%d turns at %v in %v s: busy %v s, want %v", c.turns, c.rate, c.seconds, got, c.want)
		}
	}
}

// TestBaselineIsTakenOffAtEqualTime: the baseline's window may be a little
// longer or shorter.
func TestBaselineIsTakenOffAtEqualTime(t *testing.T) {
	outcomes := []outcome{
		{contender: nameDrop, samples: []sample{{Seconds: 2, Delivered: 10, BusyNs: 2000}}},
		{contender: nameBare, samples: []sample{{Seconds: 1, Delivered: 10, BusyNs: 1500}, {Seconds: 1, Delivered: 10, BusyNs: 9}}},
	}
	takeBaseline(outcomes)
	if got := outcomes[1].samples[0].CPUNs; got != 50 {
		t.Errorf("%v ns a frame, want 50", got)
	}
	if outcomes[0].samples[0].CPUNs != 0 || outcomes[1].samples[1].CPUNs != 0 {
		t.Error("the baseline itself, or a repeat without one, has a figure")
	}
}
