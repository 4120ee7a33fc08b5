package main

import (
	"slices"
	"testing"
	"time"
)

func TestStolenTime(t *testing.T) {
	const stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 743802 554236 936796 1826595 3051 0 436603 39412 0 0\ncpu1 1 2 3 4 5 6 7 8 9 10\ncpu10 1 2 3 4 5 6 7 99 9 10\nintr 1\n"
	got, err := parseSteal([]byte(stat))
	if err != nil || got != 394200*time.Millisecond {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3 4 5 6 7 8\ncpu0 1 2 3 4 5 6 7 8\n", "cpu 1\ncpu0 1 2 3 4 5 6 7 8\ncpu1 1 2 3 4 5 6 7\n",
		"cpu 1\ncpu0 1 2 3 4 5 6 7 x\ncpu1 1 2 3 4 5 6 7 8\n"} {
		if _, err := parseSteal([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestStolenTimeOfThisMachine(t *testing.T) {
	needProcessors(t)
	before, err := readSteal()
	if err != nil {
		t.Fatal(err)
	}
	after, err := readSteal()
	if err != nil || after.stolen < before.stolen || !after.at.After(before.at) {
		t.Errorf("%v, then %v (%v)", before, after, err)
	}
}

func TestStolenPart(t *testing.T) {
	before := stealClock{time.Now(), time.Second}
	after := stealClock{before.at.Add(100 * time.Millisecond), time.Second + 20*time.Millisecond}
	if got := after.since(before); got != 0.1 {
		t.Errorf("20 ms of two processors' 100 ms are %v", got)
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

// TestPairsAreWhole: a repeat counts for both contenders or for neither.
func TestPairsAreWhole(t *testing.T) {
	divide := func(a, b float64) float64 { return a / b }
	of := func(stolen, value float64) sample { return sample{P50Us: value, Stolen: stolen} }
	for _, c := range []struct {
		what string
		a, b []sample
		want []float64
	}{
		{"all count", []sample{of(0, 2), of(0, 8)}, []sample{of(0, 1), of(0, 2)}, []float64{2, 4}},
		{"one lacks a figure", []sample{of(0, 2), of(0, 0), of(0, 9), of(0, 8)}, []sample{of(0, 1), of(0, 1), of(0, 0)}, []float64{2}},
		{"each is disturbed once, of four", []sample{of(1, 2), of(0, 4), of(0, 6), of(0, 8)},
			[]sample{of(0, 1), of(1, 1), of(0, 1), of(0, 1)}, []float64{6, 8}},
		{"each is disturbed once, of three", []sample{of(1, 2), of(0, 4), of(0, 6)},
			[]sample{of(0, 1), of(1, 1), of(0, 1)}, []float64{2, 4, 6}},
		{"each is disturbed once, of two", []sample{of(1, 2), of(0, 4)}, []sample{of(0, 1), of(1, 1)}, []float64{2, 4}},
	} {
		if got := paired(c.a, c.b, sample.p50, divide); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}
