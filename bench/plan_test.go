package main

import (
	"io"
	"slices"
	"testing"
	"time"
)

func fullSettings() settings { return settings{Repeats: 5, WindowMs: 1000} }

func TestCommittedCasesAreValid(t *testing.T) {
	valid(t, committedCases())
	valid(t, quickCases())
}

func valid(t *testing.T, list []testCase) {
	t.Helper()
	if len(list) == 0 || len(list) > 80 {
		t.Errorf("the list has %d cases, not 1 to 80", len(list))
	}
	seen := map[string]bool{}
	for _, c := range list {
		if seen[c.name()] {
			t.Errorf("%s stands twice in the list", c.name())
		}
		seen[c.name()] = true
		if !slices.Contains(c.Contenders, c.Limit) {
			t.Errorf("%s: the limit %q is none of its contenders", c.name(), c.Limit)
		}
		for _, name := range c.Contenders {
			if _, err := findContender(name); err != nil {
				t.Errorf("%s: %v", c.name(), err)
			}
		}
	}
}

func TestChunksAreShortAndWhole(t *testing.T) {
	o, err := parse(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []settings{fullSettings(), o.settings()} {
		chunksAreShortAndWhole(t, s)
	}
}

func chunksAreShortAndWhole(t *testing.T, s settings) {
	t.Helper()
	list := committedCases()
	anchors := anchorCase()
	next := 0
	for n, cut := range chunks(list, s) {
		total := anchors.estimate(s)
		for _, c := range cut {
			if c.name() != list[next].name() {
				t.Fatalf("chunk %d has %s where %s is next", n+1, c.name(), list[next].name())
			}
			next++
			total += c.estimate(s)
		}
		if len(cut) > 1 && total > chunkLimit {
			t.Errorf("chunk %d takes %v, more than %v", n+1, total, chunkLimit)
		}
		if total > 9*time.Minute {
			t.Errorf("chunk %d takes %v: its one case %s is too long", n+1, total, cut[0].name())
		}
	}
	if next != len(list) {
		t.Errorf("the chunks have %d of %d cases", next, len(list))
	}
}

func TestQuickIsQuick(t *testing.T) {
	o, err := parse([]string{"-quick"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s := o.settings()
	cut := chunks(quickCases(), s)
	if len(cut) != 1 {
		t.Fatalf("the short list makes %d chunks", len(cut))
	}
	total := time.Duration(0)
	for _, c := range cut[0] {
		total += c.estimate(s)
	}
	if total > 50*time.Second {
		t.Errorf("the short list takes %v", total)
	}
}

// TestLongWindowsAreFewer: what needs longer windows than the run's has about as much
// time for them, and some of them anyway.
func TestLongWindowsAreFewer(t *testing.T) {
	quick, full, one := settings{Repeats: 65, WindowMs: 25}, settings{Repeats: 9, WindowMs: 200}, settings{Repeats: 1, WindowMs: 10}
	flow, trip, tcp, slow := testCase{Direction: wireIn}, testCase{Direction: latency}, testCase{Direction: tcpIn}, testCase{Direction: density, Rounds: 2}
	for _, c := range []struct {
		of          testCase
		s           settings
		first, last int
		window      time.Duration
	}{
		{flow, quick, -1, 65, 25 * time.Millisecond},
		{flow, full, -1, 9, 200 * time.Millisecond},
		{testCase{Direction: wireIn, Often: 2}, quick, -1, 130, 25 * time.Millisecond},
		{trip, quick, -1, 16, leastLatency},
		{testCase{Direction: latency, Awake: true}, quick, -1, 65, 25 * time.Millisecond},
		{trip, full, -1, 9, 200 * time.Millisecond},
		{testCase{Direction: victim}, full, -1, fewRounds, leastProbed},
		{trip, one, -1, 1, leastLatency},
		{trip, settings{Repeats: 8, WindowMs: 10}, -1, fewRounds, leastLatency},
		{tcp, quick, -1, fewRounds, 25 * time.Millisecond},
		{tcp, one, -1, 1, 10 * time.Millisecond},
		{slow, full, 0, 2, 200 * time.Millisecond},
	} {
		first, last := c.of.rounds(c.s)
		if window := c.of.window(c.s); first != c.first || last != c.last || window != c.window {
			t.Errorf("%s of %d times %v ms: rounds %d to %d of %v, want %d to %d of %v",
				c.of.Direction, c.s.Repeats, c.s.WindowMs, first, last, window, c.first, c.last, c.window)
		}
	}
}

func TestSelectMatchesWholeNames(t *testing.T) {
	list := committedCases()
	chosen, err := selectCases(list, "wire-in/64B/(1|100|1000)")
	if err != nil || len(chosen) != 3 {
		t.Errorf("chose %d cases (%v), want 3", len(chosen), err)
	}
	if _, err := selectCases(list, "wire-in"); err == nil {
		t.Error("a part of a name selects something")
	}
	if _, err := selectCases(list, "("); err == nil {
		t.Error("a broken pattern is accepted")
	}
}

func TestNamesTellCasesApart(t *testing.T) {
	base := testCase{Direction: wireIn, Size: "64B", Containers: 1000}
	variants := []testCase{base}
	for _, change := range []func(*testCase){
		func(c *testCase) { c.Zipf = true }, func(c *testCase) { c.Random = true },
		func(c *testCase) { c.Blocking = true }, func(c *testCase) { c.Awake = true }, func(c *testCase) { c.Mpps = 0.5 },
		func(c *testCase) { c.Size = "IMIX" }, func(c *testCase) { c.FarThread = true }, func(c *testCase) { c.Direction = wireOut },
	} {
		c := base
		change(&c)
		variants = append(variants, c)
	}
	names := map[string]bool{}
	for _, c := range variants {
		names[c.name()] = true
	}
	if len(names) != len(variants) {
		t.Errorf("%d cases have %d names: %v", len(variants), len(names), names)
	}
}

func TestSelectContendersKeepsTheLimits(t *testing.T) {
	list := []testCase{{Limit: nameBare, Contenders: []string{nameDrop, nameBare, "memif", "memifs", "tap"}}}
	chosen, err := selectContenders(list, "memif")
	if want := []string{nameDrop, nameBare, "memif"}; err != nil || !slices.Equal(chosen[0].Contenders, want) {
		t.Errorf("chose %v (%v), want %v", chosen[0].Contenders, err, want)
	}
	if _, err := selectContenders(list, "("); err == nil {
		t.Error("a broken pattern is accepted")
	}
}
