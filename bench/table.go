package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// print writes the results as a person reads them.
func (r *results) print(w io.Writer) error {
	h := r.Host
	fmt.Fprintf(w, "%s, %d processors, last cache %s, Linux %s, %s\n", h.CPU, h.CPUs, h.L3, h.Kernel, h.Go)
	for _, fact := range h.Rig {
		fmt.Fprintf(w, "  %s\n", fact)
	}
	fmt.Fprintf(w, "%d interleaved repeats of %v; medians; ± is (largest - smallest) / median\n\n", r.Settings.Repeats, r.Settings.window())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	last := ""
	for i := range r.Cases {
		row := &r.Cases[i]
		if row.Case != last {
			last = row.Case
			fmt.Fprintf(t, "%s\tMpps\t±\tof limit\t±\tworker ns\tbeyond\tCPU ns\tp50 µs\tp99 µs\tp99.9 µs\tbad\tmore\t\n", last)
		}
		row.print(t)
	}
	return t.Flush()
}

func (r *row) print(w io.Writer) {
	if why := r.why(); why != "" {
		fmt.Fprintf(w, "%s\t%s\t\n", r.Contender, why)
		return
	}
	fmt.Fprintf(w, "%s\t%s\t\n", r.Contender, strings.Join(r.cells(), "\t"))
}

// cells are the figures in the order of the columns.
func (r *row) cells() []string {
	return []string{cell("%.3f", r.Mpps), percent(r.Spread), cell("%.3f", r.RatioToLimit), percent(r.RatioSpread),
		cell("%.0f", r.WorkerNs), cell("%+.0f", r.BeyondNs), cell("%.0f", r.CPUNs),
		cell("%.1f", r.P50Us), cell("%.1f", r.P99Us), cell("%.1f", r.P999Us), fmt.Sprint(r.Bad), moreCell(r.More)}
}

// moreCell are the figures that only one kind of case has.
func moreCell(more map[string]float64) string {
	var cells []string
	for _, name := range slices.Sorted(maps.Keys(more)) {
		cells = append(cells, fmt.Sprintf("%s %.4g", name, more[name]))
	}
	return strings.Join(cells, ", ")
}

// why says why there is no figure.
func (r *row) why() string {
	switch {
	case r.NA != "":
		return "n/a: " + oneLine(r.NA)
	case r.Failed != "":
		return "FAILED: " + oneLine(r.Failed)
	}
	return ""
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func cell(format string, v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf(format, *v)
}

func percent(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", *v*100)
}
