package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"
)

// stealClock tells how much of the processors' time the hypervisor gave to others.
type stealClock struct {
	at     time.Time
	stolen time.Duration // of our two processors together, since boot
}

// userHz is the unit of /proc/stat, which is the same on all machines that Linux
// shows to programs.
const userHz = 100

func readSteal() (stealClock, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return stealClock{}, err
	}
	stolen, err := parseSteal(text)
	return stealClock{time.Now(), stolen}, err
}

// parseSteal adds up the eighth figures of the lines of our two processors, proc_stat(5).
func parseSteal(text []byte) (sum time.Duration, err error) {
	for _, cpu := range []int{generatorCPU, workerCPU} {
		stolen, err := stealOf(text, cpu)
		if err != nil {
			return 0, err
		}
		sum += stolen
	}
	return sum, nil
}

func stealOf(text []byte, cpu int) (time.Duration, error) {
	name := fmt.Sprintf("\ncpu%d ", cpu)
	_, after, found := bytes.Cut(text, []byte(name))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	fields := bytes.Fields(line)
	if !found || len(fields) < 8 {
		return 0, fmt.Errorf("/proc/stat: no stolen time of processor %d", cpu)
	}
	ticks, err := strconv.ParseUint(string(fields[7]), 10, 63)
	if err != nil {
		return 0, fmt.Errorf("/proc/stat: stolen time: %w", err)
	}
	return time.Duration(ticks) * (time.Second / userHz), nil
}

// since is the stolen part of our processors' time.
func (c stealClock) since(before stealClock) float64 {
	return float64(c.stolen-before.stolen) / float64(c.at.Sub(before.at)) / 2
}

// disturbing is the stolen part of a window from which on its repeat does not count,
// as long as half of them do: whoever is measured then has bad luck. In a short window
// it is less than the step of the clock, and then most that are disturbed are found.
const disturbing = 0.05

// eachOf is one figure of all repeats; NaN of those that were disturbed, if half were
// not.
func eachOf(samples []sample, of func(sample) float64) (v []float64) {
	skip := disturbed(samples, samples)
	for n, s := range samples {
		if skip[n] {
			v = append(v, math.NaN())
		} else {
			v = append(v, of(s))
		}
	}
	return v
}

// paired does op with what two contenders had in the same repeat, apart from drift
// between the repeats. One that either lacks is left out, and one in which either was
// disturbed, if half of them were not.
func paired(a, b []sample, of func(sample) float64, op func(a, b float64) float64) (out []float64) {
	skip := disturbed(a, b)
	for n := range skip {
		if x, y := of(a[n]), of(b[n]); !skip[n] && known(x) && known(y) {
			out = append(out, op(x, y))
		}
	}
	return out
}

// disturbed are the repeats of two contenders that do not count.
func disturbed(a, b []sample) []bool {
	skip, n := make([]bool, min(len(a), len(b))), 0
	for i := range skip {
		if skip[i] = max(a[i].Stolen, b[i].Stolen) >= disturbing; skip[i] {
			n++
		}
	}
	if 2*n > len(skip) {
		clear(skip)
	}
	return skip
}
