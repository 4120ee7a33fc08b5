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
	fmt.Fprintf(w, "%d interleaved repeats of %v (more, or fewer and longer, where a case needs it); medians; ± is the width of their middle half / median\n", r.Settings.Repeats, r.Settings.window())
	fmt.Fprintf(w, "repeats in which the hypervisor gave %.0f%% of the processors' time or more to others do not count, unless most are so\n", disturbing*100)
	for _, c := range r.Chunks {
		fmt.Fprintf(w, "chunk %d: the hypervisor gave %.1f%% of the processors' time to others; a read of memory takes %s ns in %s MiB\n", c.Number, c.Stolen*100, c.memory(), chasedSizes())
	}
	for _, rows := range r.byCase() {
		fmt.Fprintln(w)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		columns := columnsOf(rows)
		fmt.Fprintf(t, "%s\t%s\t\n", rows[0].Case, strings.Join(names(columns), "\t"))
		for i := range rows {
			if rows[i].why() == "" {
				fmt.Fprintf(t, "%s\t%s\t\n", rows[i].Contender, strings.Join(cells(columns, &rows[i]), "\t"))
			}
		}
		if err := t.Flush(); err != nil {
			return err
		}
		for i := range rows { // a reason is too long for a column
			if why := rows[i].why(); why != "" {
				fmt.Fprintf(w, "  %s %s\n", rows[i].Contender, why)
			}
		}
	}
	return nil
}

// byCase are the rows of one case after the other.
func (r *results) byCase() (list [][]row) {
	for i := range r.Cases {
		if i == 0 || r.Cases[i].Case != r.Cases[i-1].Case {
			list = append(list, nil)
		}
		last := len(list) - 1
		list[last] = append(list[last], r.Cases[i])
	}
	return list
}

// column is one figure of each row.
type column struct {
	name string
	cell func(r *row) string
}

// nothing stands where there is no figure.
const nothing = "-"

// columnsOf are those in which some row has a figure.
func columnsOf(rows []row) []column {
	number := func(format string, of func(r *row) *float64) func(r *row) string {
		return func(r *row) string { return cell(format, of(r)) }
	}
	list := []column{
		{"Mpps", number("%.3f", func(r *row) *float64 { return r.Mpps })},
		{"worker ns", number("%.0f", func(r *row) *float64 { return r.WorkerNs })},
		{"beyond limit", number("%+.0f", func(r *row) *float64 { return r.BeyondNs })},
		{"CPU ns", number("%.0f", func(r *row) *float64 { return r.CPUNs })},
		{"p50 µs", number("%.1f", func(r *row) *float64 { return r.P50Us })},
		{"p99 µs", number("%.1f", func(r *row) *float64 { return r.P99Us })},
		{"p99.9 µs", number("%.1f", func(r *row) *float64 { return r.P999Us })},
	}
	more := map[string]bool{}
	for i := range rows {
		for name := range rows[i].More {
			more[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(more)) {
		list = append(list, column{name, func(r *row) string {
			if v, ok := r.More[name]; ok {
				return fmt.Sprintf("%.4g", v)
			}
			return nothing
		}})
	}
	list = append(list,
		column{"±", func(r *row) string { return percent(r.Spread) }},
		column{"of limit", number("%.3f", func(r *row) *float64 { return r.RatioToLimit })},
		column{"±", func(r *row) string { return percent(r.RatioSpread) }},
		column{"bad", func(r *row) string { return r.badCell() }})
	return slices.DeleteFunc(list, func(c column) bool {
		return !slices.ContainsFunc(rows, func(r row) bool { return r.why() == "" && c.cell(&r) != nothing })
	})
}

// badCell is nothing where no frames are counted.
func (r *row) badCell() string {
	if r.Mpps == nil && r.P50Us == nil {
		return nothing
	}
	return fmt.Sprint(r.Bad)
}

func names(columns []column) (list []string) {
	for _, c := range columns {
		list = append(list, c.name)
	}
	return list
}

func cells(columns []column, r *row) (list []string) {
	for _, c := range columns {
		list = append(list, c.cell(r))
	}
	return list
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
		return nothing
	}
	return fmt.Sprintf(format, *v)
}

func percent(v *float64) string {
	if v == nil {
		return nothing
	}
	return fmt.Sprintf("%.0f%%", *v*100)
}
