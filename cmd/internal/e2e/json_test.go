package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/api/apitest"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestJSON: what a real daemon and its commands print with -o json, and what the
// daemon answers on its socket, is what docs/api.schema.json describes, with ports
// and without, while the NIC is there and while it is not.
func TestJSON(t *testing.T) {
	nictest.Require(t, "curl")
	schema, err := apitest.ReadSchema("../../../docs/api.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, nictest.Config{Containers: 1})
	check := func(def, text string) {
		t.Helper()
		if err := schema.Check(def, []byte(text)); err != nil {
			t.Errorf("%v: %s", err, text)
		}
	}
	prints := func(def string, args ...string) {
		t.Helper()
		check(def, m.run(append(args, "-o", "json")...))
	}
	prints("Plan", "attach", m.NIC, "--dry-run")
	m.attach("-o", "json")
	looks := func() {
		t.Helper()
		prints("PortList", "ls")
		prints("Stats", "stats")
		check("Rates", strings.TrimSpace(m.run("top", "--count", "1", "--interval", "10ms", "-o", "json")))
		for path, def := range map[string]string{"/v1/status": "Status", "/v1/ports": "PortList", "/v1/stats": "Stats"} {
			check(def, m.curl(path))
		}
	}
	looks()
	prints("PortList", "add", "a", "--ip", a4+"/16,"+a6+"/64", "--netns", m.Containers[0].Path)
	prints("PortList", "add", "f", "--ip", b4+"/16", "--kind", "memif")
	prints("Port", "set", "a", "--mtu", "1400")
	ping(t, m.Wire, a4)
	looks()
	m.RemoveNIC(t)
	nictest.Eventually(t, "the NIC to be gone", func() bool { return strings.Contains(m.curl("/v1/status"), `"gone"`) })
	looks()
	prints("DeleteResult", "del", "f")
	prints("ApplyResult", "apply", "-f", m.portFile(1), "--dry-run")
	prints("ApplyResult", "apply", "-f", m.portFile(1))
	prints("DetachResult", "detach", m.NIC)
	if err := m.daemon.Wait(); err != nil {
		t.Error(err)
	}
	var events []string
	for line := range strings.Lines(m.daemon.Output()) {
		check("AttachEvent", line)
		var e api.AttachEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e.Event)
	}
	if len(events) < 3 || events[0] != api.EventChosen || events[1] != api.EventReady || events[2] != api.EventNotice {
		t.Errorf("events %v", events)
	}
}

// curl asks the daemon as docs/CLI.md shows.
func (m *machine) curl(path string, args ...string) string {
	m.t.Helper()
	socket := filepath.Join(m.runDir, m.NIC+".sock")
	out, err := m.Host.Command("curl", append([]string{"-sS", "--unix-socket", socket, "http://x" + path}, args...)...).Output()
	if err != nil {
		m.t.Fatalf("curl %s: %v", path, err)
	}
	return string(out)
}

// portFile is a file of n ports for apply, all in the first container.
func (m *machine) portFile(n int) string {
	m.t.Helper()
	var b strings.Builder
	if n == 0 {
		b.WriteString("port = []\n")
	}
	for i := range n {
		fmt.Fprintf(&b, "[[port]]\nname = \"p%d\"\nip = \"10.9.%d.%d/16\"\nnetns = %q\nifname = \"p%d\"\n", i, 100+i/250, 1+i%250, m.Containers[0].Path, i)
	}
	path := filepath.Join(m.t.TempDir(), "ports.toml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// TestApplyThousand: a file of a thousand ports makes them all at once; a second
// time it changes nothing, neither an interface nor the journal; a shorter one
// removes the rest.
func TestApplyThousand(t *testing.T) {
	m := newMachine(t, nictest.Config{Containers: 1})
	m.attach()
	all, some := m.portFile(1000), m.portFile(10)
	apply := func(file string) (r api.ApplyResult) {
		t.Helper()
		if err := json.Unmarshal([]byte(m.run("apply", "-f", file, "-o", "json")), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	counts := func(r api.ApplyResult) []int {
		return []int{len(r.Added), len(r.Changed), len(r.Replaced), len(r.Removed), len(r.Unchanged)}
	}
	is := func(what string, r api.ApplyResult, want ...int) {
		t.Helper()
		if got := counts(r); !slices.Equal(got, want) {
			t.Fatalf("%s: %v added, changed, replaced, removed, unchanged; want %v", what, got, want)
		}
	}
	is("first", apply(all), 1000, 0, 0, 0, 0)
	list, links, journal := m.run("ls"), m.links(), m.journal()
	if strings.Count(list, " ready") != 1000 || strings.Count(links, "\n") != 1001 {
		t.Errorf("%d ports are ready, of %d interfaces", strings.Count(list, " ready"), strings.Count(links, "\n"))
	}
	is("second", apply(all), 0, 0, 0, 0, 1000)
	if m.run("ls") != list || m.links() != links || m.journal() != journal {
		t.Error("the second time changed something")
	}
	is("fewer", apply(some), 0, 0, 0, 990, 10)
	is("none", apply(m.portFile(0)), 0, 0, 0, 10, 0)
	m.requirePorts()
	m.detach()
}

// links are the indexes and names of all interfaces of the first container.
func (m *machine) links() string {
	m.t.Helper()
	var b strings.Builder
	for line := range strings.Lines(m.Containers[0].Run(m.t, "ip", "-o", "link")) {
		b.WriteString(strings.Join(strings.Fields(line)[:2], " ") + "\n")
	}
	return b.String()
}

func (m *machine) journal() string {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.stateDir, m.NIC, "ports.journal"))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}
