package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// reportCommand is the first argument of the program as the writer of RESULTS.md.
const reportCommand = "report"

// notesFile stands beside the results: what a person has to say of them, in
// Markdown from a heading of the second order on.
const notesFile = "notes.md"

// report prints the results in a file of -resume or -o json as Markdown.
func report(file string, w io.Writer) error {
	r, err := loadResults(file)
	if err != nil {
		return err
	}
	if len(r.Cases) == 0 {
		return fmt.Errorf("%s has no results: make some with -resume %s", file, file)
	}
	return r.markdown(w, file)
}

func (r *results) markdown(w io.Writer, file string) error {
	p := &printer{w: w}
	p.line("# Results\n")
	p.line("Made by `bench report` from `%s`; not to be edited by hand.\n", file)
	r.conditions(p)
	r.speed(p)
	if notes, err := os.ReadFile(filepath.Join(filepath.Dir(file), notesFile)); err == nil {
		p.line("\n%s", strings.TrimSpace(string(notes)))
	}
	for _, rows := range r.byCase() {
		p.table(rows)
	}
	r.drift(p)
	return p.err
}

// conditions says where and how the figures were made, and how to repeat them.
func (r *results) conditions(p *printer) {
	h := r.Host
	p.line("%s, %d processors, last cache %s, Linux %s, %s, load %s at the start.\n", h.CPU, h.CPUs, h.L3, h.Kernel, h.Go, h.Load)
	for _, fact := range h.Rig {
		p.line("* %s", fact)
	}
	p.line("* %d interleaved repeats of %v (more, or fewer and longer, where a case needs it); every figure is their median; ± is the width of their middle half / median, of what the case is about and of its ratio to the limit", r.Settings.Repeats, r.Settings.window())
	p.line("* repeats in which the hypervisor gave %.0f%% or more of the processors' time to others do not count, unless most are so", disturbing*100)
	p.line("* ratios are taken within a repeat, apart from drift between them, and then their median")
	p.line("* `bad` counts frames that came to a wrong container or changed; worker ns are those of busy breaths")
	p.line("\nTo repeat it: `make bench`, as often as it is interrupted, and then `make bench-report`; one case: `bin/bench -run 'wire-in/64B/1'`. The contenders:\n")
	used := map[string]bool{}
	for _, row := range r.Cases {
		used[row.Contender] = true
	}
	for _, k := range contenders() {
		if used[k.name] {
			p.line("* **%s**: %s", k.name, k.about)
		}
	}
}

// drift shows the anchors of every chunk.
func (r *results) drift(p *printer) {
	p.line("\n## Drift of the machine\n")
	p.line("The same contenders at the beginning of every chunk. Figures of different chunks are not compared.\n")
	p.line("A read of memory that waits for the one before is timed in %s MiB: what takes as long as the largest is not in a cache.\n", chasedSizes())
	p.line("| chunk | at | %s Mpps | %s Mpps | time that the hypervisor took | ns a read, %s MiB |", nameDrop, nameBare, chasedSizes())
	p.line("|--:|---|--:|--:|--:|--:|")
	for _, c := range r.Chunks {
		p.line("| %d | %s | %s | %s | %.1f%% | %s |", c.Number, c.At, c.anchor(nameDrop), c.anchor(nameBare), c.Stolen*100, c.memory())
	}
}

// memory is what reads took, in the order of chased.
func (c *chunk) memory() string {
	if c.MemoryNs == nil { // a file of an older program
		return nothing
	}
	return strings.Trim(fmt.Sprintf("%.0f", c.MemoryNs), "[]")
}

func (c *chunk) anchor(name string) string {
	i := slices.IndexFunc(c.Anchors, func(r row) bool { return r.Contender == name })
	if i < 0 {
		return "-"
	}
	return cell("%.3f", c.Anchors[i].Mpps)
}

// table writes a case.
func (p *printer) table(rows []row) {
	columns := columnsOf(rows)
	p.line("\n## %s\n", rows[0].Case)
	p.line("| contender | %s |", strings.Join(names(columns), " | "))
	p.line("|---%s|", strings.Repeat("|--:", len(columns)))
	for i := range rows {
		r := &rows[i]
		if why := r.why(); why != "" {
			p.line("| %s | %s %s", r.Contender, strings.ReplaceAll(why, "|", "/"), strings.Repeat("|", max(1, len(columns))))
			continue
		}
		p.line("| %s | %s |", r.Contender, strings.Join(cells(columns, r), " | "))
	}
}

// printer keeps the first error of many lines.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
