package main

import (
	"testing"
)

// TestCycleGoesThroughAll: no line is left out, or a cache would hold the rest.
func TestCycleGoesThroughAll(t *testing.T) {
	for _, n := range []int{1, 2, 1000} {
		lines := cycle(n)
		seen := make([]bool, n)
		at := uint64(0)
		for range n {
			at = lines[at][0]
			if seen[at] {
				t.Fatalf("of %d lines one is met twice", n)
			}
			seen[at] = true
		}
		if chase(lines, 10*n) <= 0 {
			t.Errorf("reading %d lines takes no time", n)
		}
	}
}

// TestEverySizeIsTimed, and none of them takes nothing.
func TestEverySizeIsTimed(t *testing.T) {
	needProcessors(t)
	waits, err := chaseAll()
	if err != nil || len(waits) != len(chased()) {
		t.Fatalf("%v, %v", waits, err)
	}
	for i, ns := range waits {
		if ns <= 0 {
			t.Errorf("a read in %d MiB takes %v ns", chased()[i], ns)
		}
	}
}
