package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

func TestCommandLineMistakesAreUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{"-o", "xml"}, {"-repeats", "0"}, {"-window", "1ms"}, {"-chunk", "next"}, {"more"}, {"-nonsense"},
	} {
		var out, errs bytes.Buffer
		if code := run(context.Background(), args, &out, &errs); code != exitUsage || errs.Len() == 0 || out.Len() > 0 {
			t.Errorf("%q: code %d, %q on the error output, %q on the other", args, code, &errs, &out)
		}
	}
}

func TestListNeedsNoRoot(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(context.Background(), []string{"-list"}, &out, &errs); code != exitOK {
		t.Fatalf("code %d: %s", code, &errs)
	}
	for _, c := range committedCases() {
		if !strings.Contains(out.String(), " "+c.name()+" ") {
			t.Errorf("%s is not listed", c.name())
		}
	}
}

func TestQuickHasShortWindows(t *testing.T) {
	o, err := parse([]string{"-quick"}, &bytes.Buffer{})
	if err != nil || o.settings().window() != 25*time.Millisecond || o.repeats != 42 {
		t.Errorf("window %v, %d repeats, %v", o.window, o.repeats, err)
	}
	o, err = parse([]string{"-quick", "-window", "70ms"}, &bytes.Buffer{})
	if err != nil || o.settings().window() != 70*time.Millisecond {
		t.Errorf("window %v, %d repeats, %v", o.window, o.repeats, err)
	}
}

func TestHostIsReadFromCPUInfo(t *testing.T) {
	model, hv := parseCPUInfo([]byte("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu hypervisor sse\n"))
	if model != "Some CPU @ 2 GHz" || !hv {
		t.Errorf("%q, %v", model, hv)
	}
	if _, hv := parseCPUInfo([]byte("flags : fpu\n")); hv {
		t.Error("a hypervisor where there is none")
	}
}
