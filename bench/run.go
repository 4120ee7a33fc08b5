package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// runner runs cases: contenders in turn, interleaved and repeated.
type runner struct {
	ctx      context.Context
	settings settings
	progress io.Writer
}

// outcome is what became of one contender in one case.
type outcome struct {
	contender string
	na        string // it cannot
	failed    string // it should, and did not
	samples   []sample
}

// window is how long is measured at a time where the case does not say otherwise.
func (s settings) window() time.Duration {
	return time.Duration(s.WindowMs * float64(time.Millisecond))
}

// run measures a case. All contenders are built before the first is measured,
// so that a repeat goes through them quickly; those that are not measured are
// idle and have no thread running.
func (r *runner) run(c *testCase) []outcome {
	fmt.Fprintf(r.progress, "%s: building %d contenders\n", c.name(), len(c.Contenders))
	outcomes, entrants := r.build(c)
	defer func() {
		for i := len(entrants) - 1; i >= 0; i-- {
			entrants[i].bed.close()
		}
	}()
	r.findLoad(c, entrants)
	first, last := c.rounds(r.settings)
	for repeat := first; repeat < last; repeat++ { // a round before 0 touches all memory once, and does not count
		for _, e := range entrants {
			if r.ctx.Err() != nil {
				return outcomes
			}
			r.repeat(c, e, repeat)
		}
	}
	for _, e := range entrants {
		e.outcome.judge()
	}
	return outcomes
}

// What takes longer than the run's windows is repeated less often, but fewRounds
// times if anything is.
const fewRounds = 5

// rounds are the numbers of the first and behind the last one.
func (c *testCase) rounds(s settings) (first, last int) {
	switch {
	case c.Rounds > 0:
		return 0, min(c.Rounds, s.Repeats)
	case c.isTCP(): // iperf3 knows whole seconds
		return -1, min(fewRounds, s.Repeats)
	}
	as := int(time.Duration(s.Repeats*max(1, c.Often)) * s.window() / c.window(s))
	return -1, max(as, min(fewRounds, s.Repeats))
}

// leastLatency is the shortest window for round trips: in the first milliseconds a
// hypervisor learns anew that halts of this machine are short, and until then each
// costs a hundred microseconds.
const leastLatency = 100 * time.Millisecond

// leastProbed is the same for probes, of which only a thousand have a tail.
const leastProbed = 400 * time.Millisecond

// window is how long is measured at a time in this case.
func (c *testCase) window(s settings) time.Duration {
	switch {
	case c.probed():
		return max(s.window(), leastProbed)
	case c.Direction == latency && !c.Awake:
		return max(s.window(), leastLatency)
	}
	return s.window()
}

// findLoad gives all the same load, half of what one of them takes.
func (r *runner) findLoad(c *testCase, entrants []*entrant) {
	at := slices.IndexFunc(entrants, func(e *entrant) bool { return e.outcome.contender == c.HalfOf && e.stage != nil })
	if at < 0 || r.ctx.Err() != nil {
		return
	}
	var rates []float64
	one := entrants[at]
	one.outcome.note(one.bed.do(func() {
		for range 4 {
			s, err := flowing(one.bed.ctx, one.stage, c, c.window(r.settings))
			one.bed.check(err)
			rates = append(rates, s.mpps())
		}
	}))
	var full float64
	if len(rates) > 1 {
		full = median(onlyKnown(rates[1:])) // the first one touches all memory
	}
	for _, e := range entrants {
		if !known(full) || full == 0 {
			e.outcome.note(fmt.Errorf("%s has no rate of which the load would be half", c.HalfOf))
		} else if e.stage != nil {
			e.stage.mpps = full / 2
		}
	}
	fmt.Fprintf(r.progress, "  the load is half of %s's %.3f Mpps\n", c.HalfOf, full)
}

// judge fails a contender to which nothing came in any repeat.
func (o *outcome) judge() {
	if o.na == "" && o.failed == "" && !slices.ContainsFunc(o.samples, func(s sample) bool { return s.Delivered > 0 || len(s.More) > 0 }) {
		o.failed = "of all frames that were sent none arrived"
	}
}

// entrant is a contender on its bed.
type entrant struct {
	bed     *bed
	stage   *stage
	outcome *outcome
}

func (r *runner) build(c *testCase) (outcomes []outcome, entrants []*entrant) {
	outcomes = make([]outcome, len(c.Contenders))
	for i, name := range c.Contenders {
		o := &outcomes[i]
		o.contender = name
		k, err := findContender(name)
		if err != nil {
			o.failed = err.Error()
			continue
		}
		if k.refuses != nil {
			o.na = k.refuses(c)
		}
		if o.na != "" || r.ctx.Err() != nil {
			continue
		}
		e := &entrant{bed: newBed(r.ctx, c.name()+" "+name), outcome: o}
		entrants = append(entrants, e)
		o.note(e.bed.do(func() { e.stage = k.open(e.bed, c) }))
	}
	if c.Blocking && c.Direction == wireIn || c.isTCP() || c.Awake {
		r.watch(entrants)
	}
	return outcomes, entrants
}

// watch gives the stages a burner, which goes with the last of them.
func (r *runner) watch(entrants []*entrant) {
	if len(entrants) == 0 {
		return
	}
	b := entrants[len(entrants)-1].bed
	var burner *burner
	err := b.do(func() { burner = startBurner(b) })
	for _, e := range entrants {
		if err != nil {
			e.outcome.note(err)
		} else if e.stage != nil {
			e.stage.burner = burner
		}
	}
}

// note puts an error where it belongs.
func (o *outcome) note(err error) {
	switch {
	case err == nil:
	case errors.Is(err, errRefused):
		o.na = err.Error()
	default:
		o.failed = err.Error()
	}
}

// repeat measures one window of one contender, unless it failed before. Garbage
// is collected before and not during a window.
func (r *runner) repeat(c *testCase, e *entrant, repeat int) {
	if e.outcome.na != "" || e.outcome.failed != "" {
		return
	}
	runtime.GC()
	percent := debug.SetGCPercent(-1)
	defer debug.SetGCPercent(percent)
	var s sample
	err := e.bed.do(func() {
		before, err := readSteal()
		e.bed.check(err)
		s, err = e.stage.window(e.bed.ctx, c, c.window(r.settings))
		e.bed.check(err)
		after, err := readSteal()
		e.bed.check(err)
		s.Stolen = after.since(before)
	})
	if err != nil {
		e.outcome.note(err)
		fmt.Fprintf(r.progress, "  %s\n", err)
		return
	}
	if repeat < 0 {
		return
	}
	e.outcome.samples = append(e.outcome.samples, s)
	_, last := c.rounds(r.settings)
	fmt.Fprintf(r.progress, "  %d/%d %-16s %s\n", repeat+1, last, e.outcome.contender, s)
}

// window measures one.
func (s *stage) window(ctx context.Context, c *testCase, window time.Duration) (sample, error) {
	switch {
	case s.measure != nil:
		return s.measure(ctx, window)
	case s.ping != nil:
		return echoing(ctx, s, c, window)
	}
	return flowing(ctx, s, c, window)
}

// headline is the figure that contenders are compared by.
func (c *testCase) headline() func(sample) float64 {
	switch {
	case c.probed():
		return sample.p99
	case c.Direction == latency: // of an idle machine the tail is its own
		return sample.p50
	case c.Direction == churn:
		return sample.mpps
	case c.Direction == density:
		return func(s sample) float64 { return s.more(figureAdd) }
	case c.isTCP():
		return func(s sample) float64 { return s.more(figureGbits) }
	case c.Blocking:
		return sample.cpuNs
	}
	return sample.mpps
}
