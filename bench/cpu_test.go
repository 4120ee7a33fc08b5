package main

import (
	"math"
	"testing"
	"time"
)

func TestBusyTimeIsWhatTheBurnerDidNotGet(t *testing.T) {
	for _, c := range []struct {
		after         []uint64
		seconds, want float64
	}{
		{[]uint64{1_000_000_010}, 1, 0},
		{[]uint64{250_000_010}, 1, 0.75e9},
		{[]uint64{10, 1_000_000_010}, 2, 3e9},
		{[]uint64{1_100_000_010}, 1, 0}, // the clocks were read at different times
	} {
		before := []uint64{10, 10}[:len(c.after)]
		if got := busyTime(before, c.after, c.seconds); math.Abs(got-c.want) > 1e-3 {
			t.Errorf("%v to %v in %v s: busy %v ns, want %v", before, c.after, c.seconds, got, c.want)
		}
	}
}

func TestOwnTimeLeavesOutWhatOthersHad(t *testing.T) {
	var own ownTime
	for _, now := range []time.Duration{40, 90, 130, 130 + interruption, 5000, 5060, time.Second, time.Second + 40} {
		own.look(now)
	}
	if want := 130*time.Nanosecond + 60 + 40; own.sum != want {
		t.Errorf("it had %v, want %v", own.sum, want)
	}
}

// TestBaselineIsTakenOffAtEqualTime: the baseline's window may be a little
// longer or shorter.
func TestBaselineIsTakenOffAtEqualTime(t *testing.T) {
	outcomes := []outcome{
		{contender: nameDrop, samples: []sample{{Seconds: 2, Delivered: 10, BusyNs: 2000, Stolen: 0.3}}},
		{contender: nameBare, samples: []sample{{Seconds: 1, Delivered: 10, BusyNs: 1500}, {Seconds: 1, Delivered: 10, BusyNs: 9}}},
	}
	takeBaseline(outcomes)
	if got := outcomes[1].samples[0].CPUNs; got != 50 {
		t.Errorf("%v ns a frame, want 50", got)
	}
	if got := outcomes[1].samples[0].Stolen; got != 0.3 {
		t.Errorf("%v was stolen of what a disturbed baseline was taken off of, want 0.3", got)
	}
	if outcomes[0].samples[0].CPUNs != 0 || outcomes[1].samples[1].CPUNs != 0 {
		t.Error("the baseline itself, or a repeat without one, has a figure")
	}
}
