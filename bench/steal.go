package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"time"
)

// stealClock tells how much of the processors' time the hypervisor gave to others.
type stealClock struct {
	at     time.Time
	stolen time.Duration // of all processors together, since boot
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

// parseSteal finds the eighth figure of the line of all processors, proc_stat(5).
func parseSteal(text []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return 0, fmt.Errorf("/proc/stat: no stolen time in its first line %q", line)
	}
	ticks, err := strconv.ParseUint(string(fields[8]), 10, 63)
	if err != nil {
		return 0, fmt.Errorf("/proc/stat: stolen time: %w", err)
	}
	return time.Duration(ticks) * (time.Second / userHz), nil
}

// disturbing is the stolen part of a window from which on its repeat does not count,
// as long as half of them do: whoever is measured then has bad luck.
const disturbing = 0.05

// eachOf is one figure of all repeats; NaN of those that were disturbed, if half were
// not.
func eachOf(samples []sample, of func(sample) float64) (v []float64) {
	disturbed := 0
	for _, s := range samples {
		if s.Stolen >= disturbing {
			disturbed++
		}
	}
	for _, s := range samples {
		if s.Stolen >= disturbing && 2*disturbed <= len(samples) {
			v = append(v, math.NaN())
		} else {
			v = append(v, of(s))
		}
	}
	return v
}

// since is the stolen part of the processors' time.
func (c stealClock) since(before stealClock) float64 {
	return float64(c.stolen-before.stolen) / float64(c.at.Sub(before.at)) / float64(runtime.NumCPU())
}
