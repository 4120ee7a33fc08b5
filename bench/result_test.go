package main

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// exampleOutcomes: the limit at 1.0, 1.2 and 0.8 Mpps, another always at half
// of it, and one that cannot.
func exampleOutcomes() []outcome {
	limit := outcome{contender: nameBare}
	half := outcome{contender: "half"}
	for _, m := range []uint64{1_000_000, 1_200_000, 800_000} {
		limit.samples = append(limit.samples, sample{Seconds: 1, Sent: m, Delivered: m, WorkerNs: 20})
		half.samples = append(half.samples, sample{Seconds: 1, Sent: m, Delivered: m / 2, WorkerNs: 55, Bad: 1})
	}
	return []outcome{limit, half, {contender: "bridge", na: "1,024 ports are its limit"}}
}

func exampleRows() []row {
	c := testCase{Direction: wireIn, Size: "64B", Containers: 1000, Limit: nameBare}
	return rowsOf(&c, 1, exampleOutcomes())
}

func TestRatiosAreThoseOfEachRepeat(t *testing.T) {
	rows := exampleRows()
	half := rows[1]
	for what, c := range map[string]struct{ got, want float64 }{
		"mpps":         {*half.Mpps, 0.5},
		"ratio":        {*half.RatioToLimit, 0.5},
		"ratio spread": {*half.RatioSpread, 0},
		"spread":       {*half.Spread, 0.4},
		"worker":       {*half.WorkerNs, 55},
		"beyond":       {*half.BeyondNs, 35},
	} {
		if math.Abs(c.got-c.want) > 1e-9 {
			t.Errorf("%s is %v, want %v", what, c.got, c.want)
		}
	}
	if half.Bad != 3 {
		t.Errorf("bad is %d, want 3", half.Bad)
	}
	if *rows[0].RatioToLimit != 1 {
		t.Errorf("the limit is %v of itself", *rows[0].RatioToLimit)
	}
}

// TestJSONForm: the fields that readers of -o json rely on are there, and null
// where nothing was measured.
func TestJSONForm(t *testing.T) {
	text, err := json.Marshal(results{Cases: exampleRows()})
	if err != nil {
		t.Fatal(err)
	}
	var form struct {
		Host  map[string]any
		Cases []map[string]any
	}
	if err := json.Unmarshal(text, &form); err != nil {
		t.Fatal(err)
	}
	if len(form.Host) == 0 || len(form.Cases) != 3 {
		t.Fatalf("host %v, %d cases", form.Host, len(form.Cases))
	}
	for _, c := range form.Cases {
		for _, key := range []string{"contender", "direction", "size", "containers", "mpps", "cpu_ns_per_frame", "p50_us", "p99_us", "ratio_to_limit", "spread"} {
			if _, ok := c[key]; !ok {
				t.Errorf("%v: no %s", c["contender"], key)
			}
		}
	}
	bridge := form.Cases[2]
	if bridge["mpps"] != nil || bridge["na"] != "1,024 ports are its limit" {
		t.Errorf("what cannot be measured is %v", bridge)
	}
}

func TestTableSaysWhyThereIsNoFigure(t *testing.T) {
	var out bytes.Buffer
	r := results{Settings: fullSettings(), Cases: exampleRows()}
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"n/a: 1,024 ports are its limit", "wire-in/64B/1000", "half", "50%"} {
		if want == "50%" {
			want = "0.500"
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &out)
		}
	}
}

// TestMarkdownHasEveryRow: each contender's with as many cells as the head has.
func TestMarkdownHasEveryRow(t *testing.T) {
	r := results{Settings: fullSettings(), Cases: exampleRows(), Chunks: []chunk{{Number: 1, Anchors: exampleRows()}}}
	file := filepath.Join(t.TempDir(), "r.json")
	if err := r.save(file); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if code := run(context.Background(), []string{reportCommand, file}, &out, &errs); code != exitOK {
		t.Fatalf("code %d: %s", code, &errs)
	}
	for _, want := range []string{"## wire-in/64B/1000", "| half | 0.500 |", "| bridge | n/a: 1,024 ports are its limit |", "| 1 |  | - | 1.000 |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, &out)
		}
	}
	cells := 0
	for line := range strings.Lines(out.String()) {
		switch {
		case strings.HasPrefix(line, "| contender"):
			cells = strings.Count(line, "|")
		case strings.HasPrefix(line, "| bare"), strings.HasPrefix(line, "| half"), strings.HasPrefix(line, "| bridge"):
			if n := strings.Count(line, "|"); n != cells {
				t.Errorf("%d cells of %d in %q", n, cells, line)
			}
		}
	}
	if code := run(context.Background(), []string{reportCommand, file + "x"}, &out, &errs); code != exitFailed {
		t.Errorf("a report of no results ends with %d", code)
	}
	if code := run(context.Background(), []string{reportCommand}, &out, &errs); code != exitUsage {
		t.Errorf("a report of no file ends with %d", code)
	}
}

func TestResultsAreKeptAndContinued(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	r, err := loadResults(file)
	if err != nil || len(r.Chunks) != 0 {
		t.Fatalf("a file that is not there: %+v, %v", r, err)
	}
	h, s := host{CPU: "x", Kernel: "y"}, fullSettings()
	r.Host, r.Settings = h, s
	r.add(chunk{Number: 2}, exampleRows())
	if err := r.save(file); err != nil {
		t.Fatal(err)
	}
	again, err := loadResults(file)
	if err != nil || !again.has(2) || again.has(1) || len(again.Cases) != 3 || *again.Cases[1].BeyondNs != 35 {
		t.Fatalf("read back %+v, %v", again, err)
	}
	if err := again.continues(h, s); err != nil {
		t.Error(err)
	}
	if again.continues(host{CPU: "z"}, s) == nil || again.continues(h, settings{Repeats: 9}) == nil ||
		again.continues(h, settings{Repeats: s.Repeats, WindowMs: s.WindowMs, Run: "x"}) == nil {
		t.Error("another machine or other settings go on with these results")
	}
	for _, c := range []struct {
		chunk string
		want  []int
	}{{"", []int{1, 3}}, {"next", []int{1}}, {"2", nil}, {"3", []int{3}}} {
		todo, err := wanted(options{chunk: c.chunk}, &again, 3)
		if err != nil || len(todo) != len(c.want) || len(todo) > 0 && todo[0] != c.want[0] {
			t.Errorf("-chunk %q: %v, %v, want %v", c.chunk, todo, err, c.want)
		}
	}
	if _, err := wanted(options{chunk: "4"}, &again, 3); err == nil {
		t.Error("chunk 4 of 3 is accepted")
	}
}

func TestBrokenResultsAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadResults(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error is %v", err)
	}
}

func TestFailuresAreTold(t *testing.T) {
	r := results{Cases: exampleRows()}
	if r.failures() == nil {
		t.Error("three bad frames are no failure")
	}
	r.Cases[1].Bad = 0
	if err := r.failures(); err != nil {
		t.Error(err)
	}
	r.Cases[0].Failed = "x"
	if r.failures() == nil {
		t.Error("a failed contender is no failure")
	}
}
