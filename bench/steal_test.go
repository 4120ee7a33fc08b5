package main

import (
	"slices"
	"testing"
	"time"
)

func TestStolenTime(t *testing.T) {
	got, err := parseSteal([]byte("cpu  1711833 1004952 2046719 3676471 15509 0 536762 86098 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"))
	if err != nil || got != 860980*time.Millisecond {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3 4 5 6 7\n", "cpu 1 2 3 4 5 6 7 x 9\n", "intr 1 2 3 4 5 6 7 8 9\n"} {
		if _, err := parseSteal([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestStolenTimeOfThisMachine(t *testing.T) {
	before, err := readSteal()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
	after, err := readSteal()
	if part := after.since(before); err != nil || part < 0 || part > 20 { // a tick in a millisecond
		t.Errorf("%v was stolen (%v)", part, err)
	}
}

// TestDisturbedRepeatsDoNotCount unless most are.
func TestDisturbedRepeatsDoNotCount(t *testing.T) {
	samples := []sample{{P50Us: 1}, {P50Us: 2, Stolen: 0.2}, {P50Us: 3, Stolen: 0.01}, {P50Us: 4, Stolen: disturbing}}
	if got := onlyKnown(eachOf(samples, sample.p50)); !slices.Equal(got, []float64{1, 3}) {
		t.Errorf("%v count", got)
	}
	samples[0].Stolen = 0.1
	if got := eachOf(samples, sample.p50); !slices.Equal(got, []float64{1, 2, 3, 4}) {
		t.Errorf("of repeats that are mostly disturbed %v count", got)
	}
}
