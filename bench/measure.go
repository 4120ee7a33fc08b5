package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// sample is one window of one contender.
type sample struct {
	Seconds   float64 `json:"seconds"`
	Sent      uint64  `json:"sent"`
	Delivered uint64  `json:"delivered"`
	Bad       uint64  `json:"bad,omitempty"`
	// WorkerNs is the worker's time for each frame in busy breaths.
	WorkerNs float64 `json:"worker_ns,omitempty"`
	// BusyNs is what all processors together spent in the window, and CPUNs
	// what of it is beyond the generator and xdp-drop, for each delivered frame.
	BusyNs float64 `json:"busy_ns,omitempty"`
	CPUNs  float64 `json:"cpu_ns,omitempty"`
	// Stolen is the part of the processors' time that the hypervisor gave to others
	// meanwhile, in steps of a hundredth of a second, or while xdp-drop was measured, if
	// what that took is taken off: whichever is more.
	Stolen float64 `json:"stolen,omitempty"`
	// The times of round trips, in microseconds.
	P50Us  float64 `json:"p50_us,omitempty"`
	P99Us  float64 `json:"p99_us,omitempty"`
	P999Us float64 `json:"p999_us,omitempty"`
	// More are figures that only one kind of case has, by name with unit.
	More map[string]float64 `json:"more,omitempty"`
}

// The figures of a sample; NaN is one that was not measured.

func (s sample) mpps() float64     { return rate(s.Delivered, s.Seconds) }
func (s sample) sentMpps() float64 { return rate(s.Sent, s.Seconds) }
func (s sample) workerNs() float64 { return measured(s.WorkerNs) }
func (s sample) cpuNs() float64    { return measured(s.CPUNs) }
func (s sample) p50() float64      { return measured(s.P50Us) }
func (s sample) p99() float64      { return measured(s.P99Us) }
func (s sample) p999() float64     { return measured(s.P999Us) }

// more is the figure of that name.
func (s sample) more(name string) float64 {
	if v, ok := s.More[name]; ok {
		return v
	}
	return math.NaN()
}

func measured(v float64) float64 {
	if v == 0 {
		return math.NaN()
	}
	return v
}

func rate(n uint64, seconds float64) float64 {
	if n == 0 || seconds <= 0 {
		return math.NaN()
	}
	return float64(n) / seconds / 1e6
}

// String is for the eye, while the run goes on.
func (s sample) String() string {
	out := fmt.Sprintf("%d frames", s.Delivered)
	if known(s.mpps()) {
		out = fmt.Sprintf("%.3f Mpps", s.mpps())
	}
	if known(s.sentMpps()) {
		out += fmt.Sprintf(" of %.3f sent", s.sentMpps())
	}
	if s.WorkerNs > 0 {
		out += fmt.Sprintf(", worker %.1f ns", s.WorkerNs)
	}
	if s.CPUNs > 0 {
		out += fmt.Sprintf(", all processors %.0f ns", s.CPUNs)
	}
	if s.P99Us > 0 {
		out += fmt.Sprintf(", p50 %.1f µs, p99 %.1f µs", s.P50Us, s.P99Us)
	}
	for _, name := range slices.Sorted(maps.Keys(s.More)) {
		out += fmt.Sprintf(", %s %.4g", name, s.More[name])
	}
	if s.Bad > 0 {
		out += fmt.Sprintf(", %d BAD", s.Bad)
	}
	return out
}

// warmUp is how much of a window runs before anything is counted.
const warmUp = 0.25

// flowing measures one window of frames that flow, from the generator if the
// stage has one.
func flowing(ctx context.Context, s *stage, c *testCase, window time.Duration) (out sample, err error) {
	if s.start != nil {
		if err := s.start(); err != nil {
			return out, err
		}
	}
	if s.stop != nil {
		defer func() { err = errors.Join(err, s.stop()) }()
	}
	if s.gen != nil {
		ctx, cancel := context.WithCancel(ctx)
		generating := onCPU(generatorCPU, func() error { return s.gen.flood(ctx, s.load(c)) })
		defer func() {
			cancel()
			err = errors.Join(err, <-generating)
		}()
	}
	sleep(ctx, time.Duration(float64(window)*warmUp))
	if s.tell != nil {
		s.tell(nil, true)
	}
	before, err := s.mark()
	if err != nil {
		return out, err
	}
	sleep(ctx, window)
	after, err := s.mark()
	if err != nil {
		return out, err
	}
	out = after.since(before)
	if s.burner != nil {
		out.BusyNs = busyTime(before.spare, after.spare, out.Seconds)
	}
	if s.probes != nil {
		after.probes.into(&out, before.probes)
	}
	if s.tell != nil {
		s.tell(&out, false)
	}
	return out, nil
}

// load is in Mpps; 0 is as much as goes.
func (s *stage) load(c *testCase) float64 {
	if s.mpps > 0 {
		return s.mpps
	}
	return c.Mpps
}

// mark is what all counters stood at.
type mark struct {
	at time.Time
	arrivals
	sent   uint64
	worker reading
	spare  []uint64
	probes probeReading
}

func (s *stage) mark() (m mark, err error) {
	m.at = time.Now()
	if s.burner != nil {
		m.spare = s.burner.spare()
	}
	if m.arrivals, err = s.arrivals(); err != nil {
		return m, fmt.Errorf("counting what arrived: %w", err)
	}
	if s.probes != nil {
		if m.probes, err = s.probes.read(); err != nil {
			return m, fmt.Errorf("reading the probes: %w", err)
		}
	}
	if s.meter != nil {
		m.worker = s.meter.read()
	}
	if s.gen != nil {
		m.sent, err = s.gen.sent()
	}
	return m, err
}

// arrivals are those at the wire's end, if frames go there, with what was wrong
// at the containers on the way.
func (s *stage) arrivals() (a arrivals, err error) {
	if s.arrived != nil {
		if a, err = s.arrived(); err != nil || s.count == nil {
			return a, err
		}
		inside, err := s.count()
		a.bad += inside.bad
		return a, err
	}
	return s.count()
}

func (m mark) since(before mark) sample {
	return sample{
		Seconds:   m.at.Sub(before.at).Seconds(),
		Sent:      m.sent - before.sent,
		Delivered: m.frames - before.frames,
		Bad:       m.bad - before.bad,
		WorkerNs:  m.worker.perFrame(before.worker),
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
