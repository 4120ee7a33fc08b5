// Plot draws the results of the benchmark as SVG:
//
//	go run . FILE DIRECTORY
//
// FILE is what bench -resume or -o json wrote. It is a module of its own, so that
// nothing else depends on a plotting library.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-analyze/charts"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: plot FILE DIRECTORY")
		os.Exit(2)
	}
	if err := plot(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

// row is what a plot needs of a contender in a case.
type row struct {
	Case       string
	Contender  string
	Direction  string
	Size       string
	Containers int
	Mpps       *float64
	P99        *float64 `json:"p99_us"`
	CPU        *float64 `json:"cpu_ns_per_frame"`
	Beyond     *float64 `json:"worker_ns_beyond_limit"`
	More       map[string]float64
}

// chart is one file: a figure of the rows of one kind of case over the number of
// containers, with a line for each contender.
type chart struct {
	file, title string
	suffix      string // of the case's name behind the number of containers
	direction   string
	value       func(row) *float64
}

func allCharts() []chart {
	return []chart{
		{"rate.svg", "64 B from the wire, delivered, Mpps", "", "wire-in", func(r row) *float64 { return r.Mpps }},
		{"worker.svg", "64 B from the wire: worker's ns a frame beyond the bare loop", "", "wire-in", func(r row) *float64 { return r.Beyond }},
		{"cpu.svg", "0.5 Mpps of 64 B, blocking: ns of all processors a frame", "/blocking/0.5Mpps", "wire-in", func(r row) *float64 { return r.CPU }},
		{"out.svg", "64 B to the wire, Mpps", "", "wire-out", func(r row) *float64 { return r.Mpps }},
		{"latency.svg", "idle round trip, p99, µs", "/blocking", "latency", func(r row) *float64 { return r.P99 }},
		{"loaded.svg", "round trip at half of the bridge's rate, p99, µs", "/blocking/half-bridge", "latency", func(r row) *float64 { return r.P99 }},
		{"local.svg", "64 B from container to container, Mpps", "", "local", func(r row) *float64 { return r.Mpps }},
		{"memory.svg", "64 B in memory on one processor, Zipf, Mpps", "/zipf", "memory", func(r row) *float64 { return r.Mpps }},
	}
}

// bars is one file: a figure of whole cases, with a bar for each contender.
type bars struct {
	file, title string
	figure      string // of those by name
	has         func(r row) bool
}

func allBars() []bars {
	tcp := func(prefix string) func(r row) bool {
		return func(r row) bool {
			return strings.HasPrefix(r.Direction, prefix) && strings.HasPrefix(r.Direction, "tcp-host") == (prefix == "tcp-host")
		}
	}
	density := func(r row) bool { return r.Direction == "density" }
	return []bars{
		{"tcp.svg", "TCP, Gbit/s", "Gbit/s", tcp("tcp-")},
		{"host.svg", "the host's own TCP, Gbit/s", "Gbit/s", tcp("tcp-host")},
		{"density.svg", "ports added, seconds", "add s", density},
	}
}

// draw makes the file; nil if there is nothing to draw.
func (c bars) draw(rows []row) ([]byte, error) {
	var cases, names []string
	at := map[[2]string]float64{}
	for _, r := range rows {
		v, ok := r.More[c.figure]
		if !ok || !c.has(r) {
			continue
		}
		label := strings.TrimSuffix(r.Case, "/blocking")
		at[[2]string{r.Contender, label}] = v
		if !slices.Contains(cases, label) {
			cases = append(cases, label)
		}
		if !slices.Contains(names, r.Contender) {
			names = append(names, r.Contender)
		}
	}
	if len(cases) == 0 {
		return nil, nil
	}
	values := make([][]float64, len(names))
	for i, name := range names {
		for _, label := range cases {
			v, ok := at[[2]string{name, label}]
			if !ok {
				v = charts.GetNullValue()
			}
			values[i] = append(values[i], v)
		}
	}
	opt := charts.NewBarChartOptionWithData(values)
	opt.Title.Text = c.title
	opt.Title.Offset = charts.OffsetLeft
	opt.Legend.SeriesNames = names
	opt.Legend.Offset = charts.OffsetStr{Top: "30"}
	opt.CategoryAxis.Labels = cases
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: 1100, Height: 480})
	if err := p.BarChart(opt); err != nil {
		return nil, err
	}
	return p.Bytes()
}

func plot(file, dir string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var results struct{ Cases []row }
	if err := json.Unmarshal(text, &results); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, c := range allCharts() {
		if err := write(dir, c.file, c.draw, results.Cases); err != nil {
			return err
		}
	}
	for _, c := range allBars() {
		if err := write(dir, c.file, c.draw, results.Cases); err != nil {
			return err
		}
	}
	return nil
}

func write(dir, file string, draw func([]row) ([]byte, error), rows []row) error {
	svg, err := draw(rows)
	if err == nil && svg != nil {
		err = os.WriteFile(filepath.Join(dir, file), svg, 0o644)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// has tells whether a row belongs to the chart and has a figure for it.
func (c chart) has(r row) bool {
	return r.Case == fmt.Sprintf("%s/64B/%d%s", c.direction, r.Containers, c.suffix) && c.value(r) != nil
}

// draw makes the file; nil if there is nothing to draw.
func (c chart) draw(rows []row) ([]byte, error) {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !c.has(r) })
	if len(rows) == 0 {
		return nil, nil
	}
	names, counts := axes(rows)
	values := make([][]float64, len(names))
	for i := range values {
		values[i] = slices.Repeat([]float64{charts.GetNullValue()}, len(counts))
	}
	for _, r := range rows {
		values[slices.Index(names, r.Contender)][slices.Index(counts, r.Containers)] = *c.value(r)
	}
	opt := charts.NewLineChartOptionWithData(values)
	opt.Title.Text = c.title
	opt.Title.Offset = charts.OffsetLeft
	opt.Legend.SeriesNames = names
	opt.Legend.Offset = charts.OffsetStr{Top: "30"}
	for _, n := range counts {
		opt.XAxis.Labels = append(opt.XAxis.Labels, strconv.Itoa(n))
	}
	opt.XAxis.Title = "containers"
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: 900, Height: 480})
	if err := p.LineChart(opt); err != nil {
		return nil, err
	}
	return p.Bytes()
}

// axes are the contenders in the order of the rows, and the numbers of
// containers from the least.
func axes(rows []row) (names []string, counts []int) {
	for _, r := range rows {
		if !slices.Contains(names, r.Contender) {
			names = append(names, r.Contender)
		}
		if !slices.Contains(counts, r.Containers) {
			counts = append(counts, r.Containers)
		}
	}
	slices.Sort(counts)
	return names, counts
}
