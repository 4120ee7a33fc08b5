package state

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/lockfile"
)

func TestLifeOfAPort(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	changed := spec("a")
	changed.MTU = 1400
	facts := Facts{Slot: 7, Generation: 3, NetNSInode: 42, NetNSCookie: 4, MAC: api.MAC{2, 0, 0, 0, 0, 1}, LinkLocal: netip.MustParseAddr("fe80::7")}
	for _, step := range []struct {
		do   func() error
		want map[string]Phase
	}{
		{func() error { return s.Adding(entry("a", ""), entry("b", "")) }, map[string]Phase{"a": Adding, "b": Adding}},
		{func() error { return s.Ready("a", "b") }, map[string]Phase{"a": Ready, "b": Ready}},
		{func() error { return s.Set(changed) }, map[string]Phase{"a": Ready, "b": Ready}},
		{func() error { return s.SetFacts(Fact{"a", facts}) }, map[string]Phase{"a": Ready, "b": Ready}},
		{func() error { return s.Deleting("b") }, map[string]Phase{"a": Ready, "b": Deleting}},
		{func() error { return s.Deleted("b") }, map[string]Phase{"a": Ready}},
		{func() error { return s.Adding(entry("b", "")) }, map[string]Phase{"a": Ready, "b": Adding}},
	} {
		must(t, step.do())
		wantPhases(t, s, step.want)
		must(t, s.Close())
		s = open(t, dir)
		wantPhases(t, s, step.want)
	}
	got := s.Entries()
	if want := []Entry{{Spec: changed, Facts: facts, Phase: Ready}, entry("b", Adding)}; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestChangeUnderWay: from Set to Ready a port is known as it was, too, over
// restarts and further changes; what it was first counts.
// A Store that was opened for nothing leaves nothing; one that recorded a port
// leaves that.
func TestUnusedStateLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir)
	must(t, s.SaveAttach("changed"), s.RemoveAttach(), s.Close())
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the directory is left: %v", err)
	}
	s = open(t, dir)
	must(t, s.Adding(entry("a", Adding)), s.Ready("a"), s.Close())
	if s = open(t, dir); len(s.Entries()) != 1 {
		t.Fatalf("%v is remembered", s.Entries())
	}
	must(t, s.Deleting("a"), s.Deleted("a"), s.Close())
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("a directory that was there is gone: %v", err)
	}
}

func TestChangeUnderWay(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	first, second, third := spec("a"), spec("a"), spec("a")
	second.MTU, third.MTU = 1400, 1300
	was := func() *api.PortSpec { return s.Entries()[0].Was }
	must(t, s.Adding(entry("a", "")))
	must(t, s.Ready("a"))
	must(t, s.Set(second))
	must(t, s.Set(third))
	for range 3 {
		if w := was(); w == nil || !reflect.DeepEqual(*w, first) || s.Entries()[0].Spec.MTU != 1300 {
			t.Fatalf("under way: %+v, was %+v", s.Entries()[0], w)
		}
		must(t, s.Close())
		s = open(t, dir)
	}
	must(t, s.Ready("a"))
	for range 2 {
		if was() != nil || s.Entries()[0].Spec.MTU != 1300 {
			t.Fatalf("done: %+v", s.Entries()[0])
		}
		must(t, s.Close())
		s = open(t, dir)
	}
}

func TestEntriesAreCopies(t *testing.T) {
	s := open(t, t.TempDir())
	mine := entry("a", "")
	must(t, s.Adding(mine))
	mine.Spec.IPs[0] = netip.MustParsePrefix("10.9.9.9/24")
	s.Entries()[0].Spec.IPs[0] = netip.MustParsePrefix("10.8.8.8/24")
	if got := s.Entries()[0].Spec.IPs[0].String(); got != "10.0.0.5/24" {
		t.Errorf("somebody else's change came through: %s", got)
	}
}

// A wrong batch leaves neither a trace in memory nor one on disk.
func TestWrongBatchesChangeNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.Adding(entry("a", "")), s.Ready("a"))
	before := readJournal(t, dir)
	other := spec("c")
	for name, err := range map[string]error{
		"adding what is there":   s.Adding(entry("b", ""), entry("a", "")),
		"adding twice":           s.Adding(entry("b", ""), entry("b", "")),
		"adding without a name":  s.Adding(Entry{}),
		"ready of the unknown":   s.Ready("a", "b"),
		"deleting, then unknown": s.Deleting("a", "b"),
		"deleted, then unknown":  s.Deleted("a", "b"),
		"set of the unknown":     s.Set(spec("a"), other),
		"facts of the unknown":   s.SetFacts(Fact{Name: "b"}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	wantPhases(t, s, map[string]Phase{"a": Ready})
	if after := readJournal(t, dir); string(after) != string(before) {
		t.Errorf("the journal changed:\n%s", after)
	}
	must(t, s.Ready(), s.Adding()) // an empty batch is none
}

func TestOneDaemonOnly(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, err := Open(dir, "eth0")
	if _, ok := errors.AsType[*lockfile.HeldError](err); !ok || api.CodeOf(err) != api.CodeConflict {
		t.Fatalf("the second one got %v", err)
	}
	if other, err := Open(dir, "eth1"); err != nil {
		t.Errorf("another NIC: %v", err)
	} else {
		must(t, other.Close())
	}
	must(t, s.Close())
	must(t, open(t, dir).Close())
}

func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			name := fmt.Sprintf("p%d", i)
			if err := errors.Join(s.Adding(entry(name, "")), s.Ready(name)); err != nil {
				t.Error(err)
			}
			s.Entries()
		})
	}
	wg.Wait()
	must(t, s.Close())
	if n := len(open(t, dir).Entries()); n != 20 {
		t.Errorf("%d ports came back", n)
	}
}

// The journal of a daemon that lives long stays in proportion to its ports.
func TestCompactsWhileItRuns(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	batch := make([]api.PortSpec, 512)
	for i := range batch {
		batch[i] = spec("a")
	}
	must(t, s.Adding(entry("a", "")), s.Ready("a"))
	for i := range 64 {
		batch[len(batch)-1].MTU = 1000 + i
		must(t, s.Set(batch...))
	}
	if lines := strings.Count(string(readJournal(t, dir)), "\n"); lines > compactAbove+len(batch)+10 {
		t.Errorf("%d lines for one port", lines)
	}
	must(t, s.Deleting("a"))
	must(t, s.Close())
	s = open(t, dir)
	wantPhases(t, s, map[string]Phase{"a": Deleting})
	if got := s.Entries()[0].Spec.MTU; got != 1063 {
		t.Errorf("MTU %d came back", got)
	}
}

func TestThousandsInOneRequest(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	entries, names := make([]Entry, 10000), make([]string, 10000)
	for i := range entries {
		names[i] = fmt.Sprintf("port-%05d", i)
		entries[i] = entry(names[i], "")
	}
	must(t, s.Adding(entries...), s.Ready(names...), s.Close())
	s = open(t, dir)
	got := s.Entries()
	if len(got) != len(entries) || got[0].Spec.Name != names[0] || got[9999].Spec.Name != names[9999] || got[5000].Phase != Ready {
		t.Errorf("%d ports came back", len(got))
	}
	must(t, s.Deleting(names...), s.Deleted(names...))
	wantPhases(t, s, map[string]Phase{})
}

func TestAttachRecord(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	type changes struct{ LRO, Promiscuous bool }
	var got changes
	if found, err := s.LoadAttach(&got); found || err != nil {
		t.Fatalf("found %v, %v", found, err)
	}
	if Attached(dir, "eth0") {
		t.Error("attached before anything was recorded")
	}
	must(t, s.SaveAttach(changes{LRO: true}), s.SaveAttach(changes{true, true}), s.Close())
	if !Attached(dir, "eth0") || Attached(dir, "eth1") {
		t.Error("the record is not seen, or another NIC's is")
	}
	s = open(t, dir)
	if found, err := s.LoadAttach(&got); !found || err != nil || got != (changes{true, true}) {
		t.Fatalf("found %v, %v, %+v", found, err, got)
	}
	must(t, s.RemoveAttach(), s.RemoveAttach())
	if found, _ := s.LoadAttach(&got); found || Attached(dir, "eth0") {
		t.Error("the record is still there")
	}
	if err := s.SaveAttach(func() {}); err == nil {
		t.Error("a function was recorded")
	}
}

func TestDamagedAttachRecord(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	path := filepath.Join(dir, "eth0", attachName)
	must(t, os.WriteFile(path, []byte("{"), 0o600))
	var v any
	found, err := s.LoadAttach(&v)
	if !found || err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("found %v, %v", found, err)
	}
}

// What a crash in the middle of a rewriting leaves behind disturbs nobody.
func TestUnfinishedRewriting(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.Adding(entry("a", "")), s.SaveAttach(1), s.Close())
	for _, name := range []string{journalName, attachName} {
		must(t, os.WriteFile(filepath.Join(dir, "eth0", name+".new"), []byte("half"), 0o600))
	}
	s = open(t, dir)
	wantPhases(t, s, map[string]Phase{"a": Adding})
	var n int
	if found, err := s.LoadAttach(&n); !found || err != nil || n != 1 {
		t.Errorf("found %v, %v, %d", found, err, n)
	}
	must(t, s.SaveAttach(2))
}

func TestPrivateFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.Adding(entry("a", "")), s.SaveAttach(1))
	for name, want := range map[string]os.FileMode{"": 0o700, journalName: 0o600, attachName: 0o600, lockName: 0o600} {
		info, err := os.Stat(filepath.Join(s.Dir(), name))
		must(t, err)
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%q has mode %o, want %o", name, got, want)
		}
	}
}

func TestPeek(t *testing.T) {
	dir := t.TempDir()
	if entries, err := Peek(dir, "eth0"); len(entries) != 0 || err != nil {
		t.Fatalf("%v, %v", entries, err)
	}
	s := open(t, dir)
	must(t, s.Adding(entry("a", "")), s.Ready("a"))
	entries, err := Peek(dir, "eth0")
	if want := []Entry{entry("a", Ready)}; err != nil || !reflect.DeepEqual(entries, want) {
		t.Errorf("%+v, %v", entries, err)
	}
	writeJournal(t, dir, []byte("x\n"))
	if _, err := Peek(dir, "eth0"); err == nil {
		t.Error("a damaged journal is no error")
	}
}
