package main

import (
	"math"
	"slices"
)

// median of values; NaN of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	mid := len(v) / 2
	if len(v)%2 == 1 {
		return v[mid]
	}
	return (v[mid-1] + v[mid]) / 2
}

// spread is how wide the middle half of values is, as a part of their median: what
// a few disturbed repeats of many were like does not count. One value has none.
func spread(values []float64) float64 {
	if len(values) < 2 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	outside := len(v) / 4
	return (v[len(v)-1-outside] - v[outside]) / math.Abs(median(v))
}

// known tells a figure from one that was not measured: those are NaN.
func known(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func onlyKnown(values []float64) []float64 {
	return slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return !known(v) })
}

// percentile is the value below which that part of the sorted values lies.
func percentile[T any](sorted []T, part float64) (v T) {
	if len(sorted) == 0 {
		return v
	}
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}
