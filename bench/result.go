package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
)

// results is a whole run as -o json prints it and -resume keeps it.
type results struct {
	Host     host     `json:"host"`
	Settings settings `json:"settings"`
	Chunks   []chunk  `json:"chunks"`
	Cases    []row    `json:"cases"`
}

// settings are what the figures depend on beside the host.
type settings struct {
	Repeats  int     `json:"repeats"`
	WindowMs float64 `json:"window_ms"`
	Quick    bool    `json:"quick"`
	// Run and Contenders are the patterns: they decide what the chunks are.
	Run        string `json:"run,omitempty"`
	Contenders string `json:"contenders,omitempty"`
}

// chunk is a part of the list that was run in one go. Its anchors are the same
// two contenders in every chunk: how far these differ tells how far the machine
// drifted.
type chunk struct {
	Number  int    `json:"chunk"`
	At      string `json:"at"`
	Anchors []row  `json:"anchors,omitempty"`
	// Stolen is the part of the processors' time that the hypervisor gave to others.
	Stolen float64 `json:"stolen"`
	// MemoryNs is how long a read waits that follows another, for each size of chased.
	MemoryNs []float64 `json:"memory_ns,omitempty"`
}

// row is one contender in one case. What was not measured is null.
type row struct {
	Case       string   `json:"case"`
	Chunk      int      `json:"chunk"`
	Contender  string   `json:"contender"`
	Direction  string   `json:"direction"`
	Size       string   `json:"size"`
	Containers int      `json:"containers"`
	Mpps       *float64 `json:"mpps"`
	CPUNs      *float64 `json:"cpu_ns_per_frame"`
	P50Us      *float64 `json:"p50_us"`
	P99Us      *float64 `json:"p99_us"`
	P999Us     *float64 `json:"p999_us"`
	// RatioToLimit is the median of the repeats' own ratios; RatioSpread is
	// theirs. Spread is that of the absolute figure.
	RatioToLimit *float64 `json:"ratio_to_limit"`
	RatioSpread  *float64 `json:"ratio_spread"`
	Spread       *float64 `json:"spread"`
	// WorkerNs is the worker's time for each frame in busy breaths, BeyondNs
	// what of it is beyond the limit's in the same repeat.
	WorkerNs *float64 `json:"worker_ns_per_frame"`
	BeyondNs *float64 `json:"worker_ns_beyond_limit"`
	// SentMpps is what the generator made: the offered load.
	SentMpps *float64 `json:"sent_mpps"`
	// More are figures that only one kind of case has, by name with unit.
	More map[string]float64 `json:"more,omitempty"`
	// Bad counts frames that came to a wrong container or not as they were sent.
	Bad     uint64   `json:"bad"`
	NA      string   `json:"na,omitempty"`     // why there can be no figure
	Failed  string   `json:"failed,omitempty"` // why there is none, but should be
	Samples []sample `json:"samples,omitempty"`
}

// figure is v for JSON, which knows no NaN: null, and no more digits than mean
// anything.
func figure(v float64) *float64 {
	if !known(v) {
		return nil
	}
	if v != 0 {
		scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
		v = math.Round(v*scale) / scale
	}
	return &v
}

// rowsOf sums a case up, one row for each contender in the case's order.
func rowsOf(c *testCase, number int, outcomes []outcome) (rows []row) {
	takeBaseline(outcomes)
	var limit *outcome
	for i := range outcomes {
		if outcomes[i].contender == c.Limit {
			limit = &outcomes[i]
		}
	}
	for i := range outcomes {
		rows = append(rows, rowOf(c, number, &outcomes[i], limit))
	}
	return rows
}

// takeBaseline fills in what each contender's delivered frames cost all
// processors beyond what the generator and a program that drops them cost, at
// the same load, in the same repeat.
func takeBaseline(outcomes []outcome) {
	at := slices.IndexFunc(outcomes, func(o outcome) bool { return o.contender == nameDrop })
	if at < 0 {
		return
	}
	for i := range outcomes {
		for n := range min(len(outcomes[i].samples), len(outcomes[at].samples)) {
			s, base := &outcomes[i].samples[n], &outcomes[at].samples[n]
			if i != at && s.BusyNs > 0 && s.Delivered > 0 {
				s.Stolen = max(s.Stolen, base.Stolen)
				s.CPUNs = (s.BusyNs - base.BusyNs*s.Seconds/base.Seconds) / float64(s.Delivered)
			}
		}
	}
}

// each is one figure of all repeats.
func (o *outcome) each(of func(sample) float64) []float64 { return eachOf(o.samples, of) }

func rowOf(c *testCase, number int, o, limit *outcome) row {
	r := row{Case: c.name(), Chunk: number, Contender: o.contender, Direction: c.Direction, Size: c.Size,
		Containers: c.Containers, NA: o.na, Failed: o.failed, Samples: o.samples}
	middle := func(of func(sample) float64) *float64 { return figure(median(onlyKnown(o.each(of)))) }
	r.Mpps, r.SentMpps = middle(sample.mpps), middle(sample.sentMpps)
	r.WorkerNs, r.CPUNs = middle(sample.workerNs), middle(sample.cpuNs)
	r.P50Us, r.P99Us, r.P999Us = middle(sample.p50), middle(sample.p99), middle(sample.p999)
	r.More = o.middles()
	head := c.headline()
	r.Spread = figure(spread(onlyKnown(o.each(head))))
	for _, s := range o.samples {
		r.Bad += s.Bad
	}
	if limit == nil {
		return r
	}
	ratios := paired(o.samples, limit.samples, head, func(a, b float64) float64 { return a / b })
	r.RatioToLimit, r.RatioSpread = figure(median(ratios)), figure(spread(ratios))
	r.BeyondNs = figure(median(paired(o.samples, limit.samples, sample.workerNs, func(a, b float64) float64 { return a - b })))
	return r
}

// middles are the medians of the figures by name.
func (o *outcome) middles() map[string]float64 {
	names := map[string]float64{}
	for _, s := range o.samples {
		for name := range s.More {
			v := figure(median(onlyKnown(o.each(func(s sample) float64 { return s.more(name) }))))
			if v != nil {
				names[name] = *v
			}
		}
	}
	return names
}

// loadResults reads what an earlier run left; nothing is an empty result.
func loadResults(file string) (r results, err error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s holds no results of this program: %w", file, err)
	}
	return r, nil
}

// save writes the results so that the file is the old or the new one, whole.
func (r *results) save(file string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// has tells whether a chunk was run already.
func (r *results) has(number int) bool {
	for _, c := range r.Chunks {
		if c.Number == number {
			return true
		}
	}
	return false
}

// add takes a chunk's results in.
func (r *results) add(c chunk, rows []row) {
	r.Chunks = append(r.Chunks, c)
	r.Cases = append(r.Cases, rows...)
}

// continues says why a run with h and s cannot go on with r; nil if it can.
func (r *results) continues(h host, s settings) error {
	switch {
	case len(r.Chunks) == 0:
		return nil
	case !r.Host.same(h):
		return errors.New("these results are of another machine, kernel or Go: choose another file for -resume")
	case r.Settings != s:
		return fmt.Errorf("these results were made with %+v: give the same flags, or another file for -resume", r.Settings)
	}
	return nil
}
