package state

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/lockfile"
)

// story is a journal as a daemon writes it, and what it says after each line.
func story(t *testing.T) (data []byte, after []map[string]Phase) {
	t.Helper()
	changed := spec("a")
	changed.MTU = 9000
	records := []record{
		{Op: opHeader, Version: version},
		adding(entry("a", "")), adding(entry("b", "")),
		{Op: opReady, Name: "a"}, {Op: opReady, Name: "b"},
		set(changed),
		{Op: opDeleting, Name: "b"}, {Op: opDeleted, Name: "b"},
		adding(entry("b", "")), {Op: opReady, Name: "b", Facts: &Facts{Slot: 9, Generation: 2}},
		{Op: opDeleting, Name: "a"},
	}
	table := newTable()
	for _, r := range records {
		must(t, table.apply(r))
		after = append(after, phases(table.list()))
	}
	data, err := encode(records)
	must(t, err)
	return data, after
}

// A crash may cut the journal anywhere. What counts then is every line that is
// whole.
func TestCutAtEveryByte(t *testing.T) {
	data, after := story(t)
	for cut := range len(data) + 1 {
		table, err := read("j", data[:cut])
		if err != nil {
			t.Fatalf("cut at byte %d: %v", cut, err)
		}
		if got := phases(table.list()); !reflect.DeepEqual(got, wholeLines(data[:cut], after)) {
			t.Fatalf("cut at byte %d: got %v", cut, got)
		}
	}
}

func wholeLines(data []byte, after []map[string]Phase) map[string]Phase {
	n := bytes.Count(data, []byte("\n"))
	if n == 0 {
		return map[string]Phase{}
	}
	return after[n-1]
}

// A store that was opened on a cut journal goes on from there. Around the end
// of each line, where something could go wrong, and in its middle.
func TestGoesOnAfterACut(t *testing.T) {
	data, after := story(t)
	dir, start := t.TempDir(), 0
	for end, c := range data {
		if c != '\n' {
			continue
		}
		for _, cut := range []int{start + 1, (start + end) / 2, end, end + 1} {
			goOn(t, dir, data[:cut], wholeLines(data[:cut], after))
		}
		start = end + 1
	}
}

func goOn(t *testing.T, dir string, data []byte, want map[string]Phase) {
	t.Helper()
	writeJournal(t, dir, data)
	s, err := Open(dir, "eth0")
	must(t, err)
	wantPhases(t, s, want)
	must(t, s.Adding(entry("later", "")), s.Close())
	entries, err := Peek(dir, "eth0")
	must(t, err)
	if got := phases(entries); got["later"] != Adding || len(got) != len(want)+1 {
		t.Fatalf("after %d bytes, and one more port: %v", len(data), got)
	}
}

func TestCorruptLinesAreNamed(t *testing.T) {
	data, _ := story(t)
	lines := bytes.SplitAfter(data, []byte("\n"))
	for name, c := range map[string]struct {
		spoil func([][]byte)
		line  int
		want  string
	}{
		"garbage":            {func(l [][]byte) { l[3] = []byte("\x00\x00\x00\n") }, 4, "no record"},
		"half a line":        {func(l [][]byte) { l[4] = append(l[4][:10:10], '\n') }, 5, "no record"},
		"empty line":         {func(l [][]byte) { l[2] = []byte("\n") }, 3, "no record"},
		"two in a line":      {func(l [][]byte) { l[2] = append(bytes.TrimSpace(l[2]), l[2]...) }, 3, "something stands behind"},
		"unknown field":      {func(l [][]byte) { l[2] = []byte(`{"op":"ready","nome":"a"}` + "\n") }, 3, `unknown field "nome"`},
		"unknown operation":  {func(l [][]byte) { l[2] = []byte(`{"op":"melt","name":"a"}` + "\n") }, 3, `unknown operation "melt"`},
		"missing line":       {func(l [][]byte) { l[1] = nil }, 3, `no such port`},
		"line twice":         {func(l [][]byte) { l[1] = append(l[1], l[1]...) }, 3, "a second time"},
		"adding nobody":      {func(l [][]byte) { l[1] = []byte(`{"op":"adding"}` + "\n") }, 2, "without a name"},
		"set of another":     {func(l [][]byte) { l[5] = []byte(`{"op":"set","name":"a","spec":{"name":"b"}}` + "\n") }, 6, "another port's"},
		"no header":          {func(l [][]byte) { l[0] = nil }, 1, "header"},
		"second header":      {func(l [][]byte) { l[3] = l[0] }, 4, "header"},
		"format of tomorrow": {func(l [][]byte) { l[0] = []byte(`{"op":"journal","version":2}` + "\n") }, 1, "format 2"},
		"last line garbage":  {func(l [][]byte) { l[10] = []byte("xyz\n") }, 11, "no record"},
	} {
		t.Run(name, func(t *testing.T) {
			spoiled := make([][]byte, len(lines))
			for i := range lines {
				spoiled[i] = bytes.Clone(lines[i])
			}
			c.spoil(spoiled)
			dir := t.TempDir()
			whole := bytes.Join(spoiled, nil)
			writeJournal(t, dir, whole)
			_, err := Open(dir, "eth0")
			corrupt, ok := errors.AsType[*CorruptError](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if corrupt.Line != c.line || corrupt.Path != journal(dir) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want line %d and %q", err, c.line, c.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has several lines", err)
			}
			if !bytes.Equal(readJournal(t, dir), whole) {
				t.Error("the damaged journal was changed")
			}
			lock, err := lockfile.Acquire(dir + "/eth0/" + lockName)
			must(t, err)
			must(t, lock.Release())
		})
	}
}

// A write that fails half way leaves half a record. It must not stand in front
// of the next one.
func TestFailedWrite(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.Adding(entry("a", "")))
	breakWrites(t, s)
	if err := s.Ready("a"); err == nil || !strings.Contains(err.Error(), journal(dir)) {
		t.Fatalf("a full disk: %v", err)
	}
	wantPhases(t, s, map[string]Phase{"a": Adding})
	half(t, dir)
	must(t, s.Ready("a")) // the disk has room again
	wantPhases(t, s, map[string]Phase{"a": Ready})
	must(t, s.Close())
	wantPhases(t, open(t, dir), map[string]Phase{"a": Ready})
}

// breakWrites makes the store's next write fail.
func breakWrites(t *testing.T, s *Store) {
	t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must(t, err)
	must(t, s.file.Close())
	s.file = full
}

// half appends what a write that failed may have left.
func half(t *testing.T, dir string) {
	t.Helper()
	f, err := os.OpenFile(journal(dir), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = f.WriteString(`{"op":"rea`)
	must(t, err, f.Close())
}

// Where even the rewriting fails, the store says so and loses nothing.
func TestDiskStaysFull(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.Adding(entry("a", "")))
	breakWrites(t, s)
	must(t, os.Mkdir(journal(dir)+".new", 0o700)) // no rewriting, either
	for range 2 {
		if err := s.Ready("a"); err == nil {
			t.Fatal("a port was recorded on a disk that takes nothing")
		}
	}
	wantPhases(t, s, map[string]Phase{"a": Adding})
	must(t, os.Remove(journal(dir)+".new"), s.Ready("a"), s.Close())
	wantPhases(t, open(t, dir), map[string]Phase{"a": Ready})
}

// To save space is a favour: where it fails, what was recorded stays recorded.
func TestFailedCompactionIsNoFailure(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.Adding(entry("a", "")), os.Mkdir(journal(dir)+".new", 0o700))
	s.compactAt = 0
	must(t, s.Ready("a"), s.Deleting("a"), s.Close(), os.Remove(journal(dir)+".new"))
	wantPhases(t, open(t, dir), map[string]Phase{"a": Deleting})
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"op":"journal","version":1}` + "\n" + `{"op":"adding","spec":{"name":"a","ips":["10.0.0.5/24"]},"facts":{"slot":3}}` + "\n" + `{"op":"ready","name":"a"}` + "\n"))
	f.Add([]byte(`{"op":"journal","version":1}` + "\n" + `{"op":"deleted","name":"a"}` + "\n"))
	f.Add([]byte("\n\n"))
	f.Add([]byte(`{"op":"journal","version":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := read("j", data)
		if err != nil {
			if _, ok := errors.AsType[*CorruptError](err); !ok {
				t.Fatalf("not a CorruptError: %v", err)
			}
			return
		}
		short, err := encode(table.records())
		if err != nil {
			t.Fatal(err)
		}
		again, err := read("j", short)
		if err != nil {
			t.Fatalf("what was read is written as %s, which is not read: %v", short, err)
		}
		if !reflect.DeepEqual(phases(table.list()), phases(again.list())) {
			t.Fatalf("%s says something else than %s", short, data)
		}
	})
}
