package main

import (
	"math"
	"testing"
)

func TestMedianAndSpread(t *testing.T) {
	for _, c := range []struct {
		values         []float64
		median, spread float64
	}{
		{[]float64{3, 3}, 3, 0},
		{[]float64{5, 1, 3}, 3, 4.0 / 3},
		{[]float64{4, 1, 2, 3}, 2.5, 1 / 2.5},
		{[]float64{4, 1, 2, 3, 9}, 3, 2.0 / 3},
		{[]float64{-4, -2, -3}, -3, 2.0 / 3},
	} {
		if got := median(c.values); got != c.median {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.median)
		}
		if got := spread(c.values); math.Abs(got-c.spread) > 1e-12 {
			t.Errorf("spread of %v is %v, want %v", c.values, got, c.spread)
		}
	}
	if !math.IsNaN(median(nil)) || !math.IsNaN(spread(nil)) || !math.IsNaN(spread([]float64{3})) {
		t.Error("nothing has a median, or one value a spread")
	}
}

func TestMedianLeavesItsArgumentAlone(t *testing.T) {
	v := []float64{3, 1, 2}
	median(v)
	if v[0] != 3 || v[1] != 1 || v[2] != 2 {
		t.Errorf("median sorted its argument: %v", v)
	}
}

func TestPercentile(t *testing.T) {
	v := make([]int, 1000)
	for i := range v {
		v[i] = i
	}
	for part, want := range map[float64]int{0: 0, 0.5: 500, 0.99: 990, 0.999: 999, 1: 999} {
		if got := percentile(v, part); got != want {
			t.Errorf("percentile %v is %v, want %v", part, got, want)
		}
	}
	if got := percentile([]int(nil), 0.5); got != 0 {
		t.Errorf("percentile of nothing is %v", got)
	}
}
