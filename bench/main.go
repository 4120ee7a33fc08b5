// Bench measures what a switch for many containers costs, beside what else there
// is: frames per second, processor time, latency and memory, at 1 to 10,000
// containers on one NIC. It builds its own NIC, a veth pair in namespaces of
// its own, and touches nothing else.
//
//	go run ./bench -list
//	go run ./bench -quick
//	go run ./bench -run 'wire-in/64B/(1|100|1000)' -contenders 'inproc|memif'
//	go run ./bench -resume FILE [-chunk next]
//	go run ./bench report FILE
//
// It needs root, two processors that have nothing else to do, and for some of
// the contenders programs of other projects; what is missing is said in place of
// the figures.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	if helper, ok := asHelper(os.Args); ok {
		os.Exit(helper())
	}
	runtime.GOMAXPROCS(threads)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// threads may run Go code at once, on however many processors: workers and
// readers never give theirs back to the Go scheduler.
const threads = 16

// asHelper tells whether the program was started by itself, as its own consumer
// or burner.
func asHelper(args []string) (helper func() int, ok bool) {
	if len(args) != 2 {
		return nil, false
	}
	var work func() error
	switch args[1] {
	case drainCommand:
		work = func() error { return drain(os.Stdin, os.Stdout) }
	case burnCommand:
		work = func() error { return burn(os.Stdin) }
	default:
		return nil, false
	}
	return func() int {
		signal.Ignore(os.Interrupt) // the terminal's Ctrl-C is for the program, whose end is ours
		if err := work(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitFailed
		}
		return exitOK
	}, true
}

// options are the command line.
type options struct {
	quick, list bool
	run         string
	contenders  string
	repeats     int
	window      time.Duration
	output      string
	resume      string
	chunk       string
}

// errUsage marks what is wrong with the command line.
var errUsage = errors.New("see -help")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	var err error
	isReport := len(args) > 0 && args[0] == reportCommand
	if !isReport {
		o, err = parse(args, stderr)
	}
	switch {
	case isReport && len(args) != 2:
		err = fmt.Errorf("report needs one file of results: %w", errUsage)
	case isReport:
		err = report(args[1], stdout)
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err == nil && o.list:
		err = listCases(o, stdout)
	case err == nil:
		err = bench(ctx, o, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	}
	return exitFailed
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&o.quick, "quick", false, "the short list, with short windows: under a minute")
	f.BoolVar(&o.list, "list", false, "print the cases and end")
	f.StringVar(&o.run, "run", "", "only the cases whose whole name matches this `regexp`")
	f.StringVar(&o.contenders, "contenders", "", "only those whose whole name matches this `regexp`, and the limits")
	f.IntVar(&o.repeats, "repeats", 0, "how often each contender is measured in each case, less often where that takes long (default 9, or 42 with -quick)")
	f.DurationVar(&o.window, "window", 0, "how long each time, unless the case needs longer (default 200ms, or 25ms with -quick)")
	f.StringVar(&o.output, "o", "text", "`form` of the output: text or json")
	f.StringVar(&o.resume, "resume", "", "keep the results in this `file`, and leave out the chunks that it has")
	f.StringVar(&o.chunk, "chunk", "", "only this `chunk` of the list: a number, or next for the first that the file lacks")
	if err := f.Parse(args); err != nil {
		return o, errors.Join(errUsage, err)
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	o.setDefaults(given)
	return o, o.check(f.Args())
}

// setDefaults fills in what was not given. Many short windows: on a busy machine
// a median of many says more than a long look.
func (o *options) setDefaults(given map[string]bool) {
	repeats, window := 9, 200*time.Millisecond
	if o.quick {
		repeats, window = 42, 25*time.Millisecond
	}
	if !given["repeats"] {
		o.repeats = repeats
	}
	if !given["window"] {
		o.window = window
	}
}

func (o *options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is no flag: %w", rest[0], errUsage)
	case o.output != "text" && o.output != "json":
		return fmt.Errorf("-o %s: the forms are text and json: %w", o.output, errUsage)
	case o.repeats < 1:
		return fmt.Errorf("-repeats %d: at least 1 is needed: %w", o.repeats, errUsage)
	case o.window < 10*time.Millisecond:
		return fmt.Errorf("-window %v: at least 10ms is needed: %w", o.window, errUsage)
	case o.chunk == "next" && o.resume == "":
		return fmt.Errorf("-chunk next needs the file of -resume: %w", errUsage)
	}
	return nil
}

func (o *options) settings() settings {
	return settings{Repeats: o.repeats, WindowMs: float64(o.window) / float64(time.Millisecond), Quick: o.quick, Run: o.run, Contenders: o.contenders}
}

func (o *options) cases() []testCase {
	if o.quick {
		return quickCases()
	}
	return committedCases()
}

// selected are the cases of this run.
func (o *options) selected() ([]testCase, error) {
	list, err := selectCases(o.cases(), o.run)
	if err != nil {
		return nil, err
	}
	return selectContenders(list, o.contenders)
}

func listCases(o options, w io.Writer) error {
	list, err := o.selected()
	if err != nil {
		return err
	}
	total := time.Duration(0)
	for n, cut := range chunks(list, o.settings()) {
		for _, c := range cut {
			e := c.estimate(o.settings())
			total += e
			fmt.Fprintf(w, "chunk %d  %4.0f s  %-36s %v, limit %s\n", n+1, e.Seconds(), c.name(), c.Contenders, c.Limit)
		}
	}
	fmt.Fprintf(w, "%d cases, about %.0f minutes\n", len(list), total.Minutes())
	for _, k := range contenders() {
		fmt.Fprintf(w, "%-16s %s\n", k.name, k.about)
	}
	return nil
}

// bench runs what the options select and prints what came of it.
func bench(ctx context.Context, o options, stdout, stderr io.Writer) error {
	if err := able(); err != nil {
		return err
	}
	list, err := o.selected()
	if err != nil {
		return err
	}
	all := results{}
	if o.resume != "" {
		if all, err = loadResults(o.resume); err != nil {
			return err
		}
	}
	h := readHost()
	if err := all.continues(h, o.settings()); err != nil {
		return err
	}
	all.Host, all.Settings = h, o.settings()
	cut := chunks(list, o.settings())
	todo, err := wanted(o, &all, len(cut))
	if err != nil {
		return err
	}
	for _, n := range todo {
		if err := runChunk(ctx, o, &all, n, cut[n-1], stderr); err != nil {
			return err
		}
	}
	if o.output == "json" {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", " ")
		err = enc.Encode(all)
	} else {
		err = all.print(stdout)
	}
	return errors.Join(err, all.failures())
}

// able says in a line what this machine lacks.
func able() error {
	if os.Geteuid() != 0 {
		return errors.New("needs root to make network namespaces and load programs into the kernel: run it with sudo")
	}
	if n := runtime.NumCPU(); n < leastCPUs {
		return fmt.Errorf("needs %d processors, one for the generator and one for what is measured; there is %d", leastCPUs, n)
	}
	return nil
}

// wanted are the numbers of the chunks to run, from 1.
func wanted(o options, have *results, n int) (todo []int, err error) {
	for i := 1; i <= n; i++ {
		if !have.has(i) {
			todo = append(todo, i)
		}
	}
	switch o.chunk {
	case "":
		return todo, nil
	case "next":
		return todo[:min(1, len(todo))], nil
	}
	i, err := strconv.Atoi(o.chunk)
	if err != nil || i < 1 || i > n {
		return nil, fmt.Errorf("-chunk %s: the chunks are 1 to %d, or next: %w", o.chunk, n, errUsage)
	}
	if have.has(i) {
		return nil, nil
	}
	return []int{i}, nil
}

// runChunk measures a chunk and keeps it, all of it or, interrupted, none.
func runChunk(ctx context.Context, o options, all *results, n int, list []testCase, stderr io.Writer) error {
	r := &runner{ctx: ctx, settings: o.settings(), progress: stderr}
	c := chunk{Number: n, At: time.Now().UTC().Format(time.RFC3339)}
	var err error
	if c.MemoryNs, err = chaseAll(); err != nil {
		return err
	}
	before, err := readSteal()
	if err != nil {
		return err
	}
	if !o.quick { // which has no time for it, and no chunks to compare
		anchors := anchorCase()
		c.Anchors = rowsOf(&anchors, n, r.run(&anchors))
	}
	var rows []row
	for i := range list {
		rows = append(rows, rowsOf(&list[i], n, r.run(&list[i]))...)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("interrupted; chunk %d is not kept", n)
	}
	after, err := readSteal()
	if err != nil {
		return err
	}
	c.Stolen = after.since(before)
	all.add(c, rows)
	if o.resume == "" {
		return nil
	}
	return all.save(o.resume)
}

// failures is an error if a contender that should have a figure has none, or if
// a frame came where it should not have come.
func (r *results) failures() error {
	n, bad := 0, uint64(0)
	for _, row := range r.Cases {
		if row.Failed != "" {
			n++
		}
		bad += row.Bad
	}
	if n > 0 || bad > 0 {
		return fmt.Errorf("%d contenders failed, %d frames were not what or where they should be", n, bad)
	}
	return nil
}
