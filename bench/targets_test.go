package main

import (
	"math"
	"strings"
	"testing"
)

// TestTargetsNameCasesThatAreRun: each target asks for rows that make bench makes.
func TestTargetsNameCasesThatAreRun(t *testing.T) {
	all := results{Chunks: []chunk{{Number: 1}}}
	for _, c := range committedCases() {
		for _, name := range c.Contenders {
			s := sample{Seconds: 1, Delivered: 1e6, WorkerNs: 10, CPUNs: 10, P99Us: 10, P999Us: 10, More: map[string]float64{}}
			for _, f := range []string{figureGbits, figureAdd, figureDaemon, figureKernel, figureIdle, figureLost} {
				s.More[f] = 1
			}
			all.Cases = append(all.Cases, row{Case: c.name(), Contender: name, Chunk: 1, Samples: []sample{s, s}})
		}
	}
	for _, target := range targets() {
		if v := target.measured(&all); v.why != "" || math.IsNaN(v.value) {
			t.Errorf("%s: %v %s", target.what, v.value, v.why)
		}
	}
}

func TestJudgement(t *testing.T) {
	rate := target{least: 0.9, stretch: 1.1}
	time := target{least: 2, stretch: 1, atMost: true}
	for _, c := range []struct {
		t     target
		value float64
		want  string
	}{
		{rate, 0.89, "no"}, {rate, 0.9, "**yes**"}, {rate, 1.2, "**stretch**"},
		{time, 2.1, "no"}, {time, 2, "**yes**"}, {time, 0.5, "**stretch**"},
		{target{least: math.NaN()}, 7, "reported"},
	} {
		if got := c.t.judgement(verdict{value: c.value}); got != c.want {
			t.Errorf("%v of %v is %q, want %q", c.value, c.t.least, got, c.want)
		}
	}
	if got := rate.judgement(verdict{why: "no"}); got != "n/a" {
		t.Errorf("what was not measured is %q", got)
	}
}

// TestRatiosAreOfTheSameRepeatAndChunk: a ratio is the median of the repeats', and
// none is made of figures of different chunks.
func TestRatiosAreOfTheSameRepeatAndChunk(t *testing.T) {
	rates := func(v ...uint64) (s []sample) {
		for _, n := range v {
			s = append(s, sample{Seconds: 1, Delivered: n})
		}
		return s
	}
	r := &results{Cases: []row{
		{Case: "a", Chunk: 1, Contender: "x", Samples: rates(10, 20, 90)},
		{Case: "a", Chunk: 1, Contender: "y", Samples: rates(10, 10, 30)},
		{Case: "b", Chunk: 2, Contender: "x", Samples: rates(10)},
		{Case: "a", Chunk: 1, Contender: "z", NA: "too many"},
	}}
	if v := against("a", "x", "y", sample.mpps)(r); v.value != 2 || v.spread != 1 {
		t.Errorf("x / y is %+v, want 2 ± 1", v)
	}
	if v := across("b", "a", "x", sample.mpps)(r); !strings.Contains(v.why, "chunks") {
		t.Errorf("different chunks give %+v", v)
	}
	if v := figureOf("a", "z", sample.mpps)(r); !strings.Contains(v.why, "too many") {
		t.Errorf("what cannot be gives %+v", v)
	}
}
