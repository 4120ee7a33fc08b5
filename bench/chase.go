package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// chased are the sizes, in MiB, of the memory whose reads are timed in each chunk of
// the list: how much of a last cache that others use too is there for this machine
// differs from hour to hour, and with it whatever goes through many containers' memory.
func chased() []int { return []int{1, 4, 16, 64} }

// chasedSizes is how they are printed.
func chasedSizes() string { return strings.Trim(fmt.Sprint(chased()), "[]") }

// chaseSteps is how many reads are timed.
const chaseSteps = 500_000

// cacheLine is 64 bytes, of which the first word says which is next.
type cacheLine [8]uint64

// chaseAll is what reads of memory of all sizes take, on the worker's processor.
func chaseAll() (waits []float64, err error) {
	err = pinned(workerCPU, func() error {
		for _, mib := range chased() {
			waits = append(waits, float64(chase(cycle(mib<<20/64), chaseSteps))/chaseSteps)
		}
		return nil
	})
	return waits, err
}

// cycle is so many lines, each of which names another, all of them in one round.
func cycle(n int) []cacheLine {
	order := rand.New(rand.NewPCG(1, 2)).Perm(n)
	lines := make([]cacheLine, n)
	for i, at := range order {
		lines[at][0] = uint64(order[(i+1)%n])
	}
	return lines
}

// chase reads so many lines after each other, where none is known before the last one
// was read, when all have been read once.
func chase(lines []cacheLine, steps int) time.Duration {
	at := uint64(0)
	for range lines {
		at = lines[at][0]
	}
	began := time.Now()
	for range steps {
		at = lines[at][0]
	}
	took := time.Since(began)
	if at >= uint64(len(lines)) { // whoever asks for the result has it worked out
		return 0
	}
	return took
}
