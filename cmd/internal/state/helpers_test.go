package state

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

func spec(name string) api.PortSpec {
	return api.PortSpec{Name: name, Kind: api.KindTAP, NetNS: name, IPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.5/24")}}
}

func entry(name string, phase Phase) Entry {
	return Entry{Spec: spec(name), Phase: phase, Facts: Facts{Slot: 2, Generation: 1}}
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// phases is what most tests want to know.
func phases(entries []Entry) map[string]Phase {
	m := map[string]Phase{}
	for _, e := range entries {
		m[e.Spec.Name] = e.Phase
	}
	return m
}

func wantPhases(t *testing.T, s *Store, want map[string]Phase) {
	t.Helper()
	if got := phases(s.Entries()); !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func journal(dir string) string { return filepath.Join(dir, "eth0", journalName) }

func readJournal(t *testing.T, dir string) []byte {
	t.Helper()
	data, err := os.ReadFile(journal(dir))
	must(t, err)
	return data
}

func writeJournal(t *testing.T, dir string, data []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(journal(dir)), 0o700), os.WriteFile(journal(dir), data, 0o600))
}
