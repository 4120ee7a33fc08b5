package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

func TestAddShowsThePort(t *testing.T) {
	s := newShell(t)
	s.daemon(t, "eth0")
	out := s.ok(t, "add", "web1", "--ip", "10.0.0.5/24,2001:db8::5/64", "--ip", "10.0.0.6/24", "--gateway", "10.0.0.1,fe80::1", "--netns", "web1")
	if out != "port web1: ready: 10.0.0.5/24, 2001:db8::5/64, 10.0.0.6/24\n" {
		t.Error(out)
	}
	var list api.PortList
	strict(t, s.ok(t, "add", "vm7", "--ip", "10.0.0.7/24", "--prefix", "10.1.0.0/24", "--mac", "02:00:00:00:00:07", "--vlan", "20",
		"--netns", "4711", "--ifname", "eth1", "--mtu", "9000", "--depth", "64", "--kind", "tap", "--no-source-check", "-o", "json"), &list)
	p := list.Ports[0]
	want := api.PortSpec{Name: "vm7", Kind: "tap", IPs: p.IPs, Prefixes: p.Prefixes, MAC: api.MAC{2, 0, 0, 0, 0, 7}, VLAN: 20,
		NetNS: "4711", IfName: "eth1", MTU: 9000, Depth: 64, NoSourceCheck: true}
	if !reflect.DeepEqual(p.PortSpec, want) || fmt.Sprint(p.IPs, p.Prefixes) != "[10.0.0.7/24] [10.1.0.0/24]" {
		t.Errorf("%+v", p)
	}
	s.fails(t, ExitFailed, "port web1: the name is taken", "add", "web1", "--ip", "10.0.0.9/24", "--netns", "x")
}

// What add shows of a port of kind memif is enough to connect to it, and never
// the secret.
func TestAddMemif(t *testing.T) {
	s := newShell(t)
	s.daemon(t, "eth0")
	s.files["key"] = "s3cret\n"
	const printed = "port fast: ready: 10.0.0.5/24\nsocket: /run/eth0/fast/memif.sock\n"
	if out := s.ok(t, "add", "fast", "--kind", "memif", "--ip", "10.0.0.5/24", "--secret-file", "key"); out != printed {
		t.Error(out)
	}
	var list api.PortList
	out := s.ok(t, "add", "two", "--kind", "memif", "--ip", "10.0.0.6/24", "--rings", "2", "--ring-size", "512", "--buffer-size", "4096",
		"--secret-file", "key", "--uid", "7", "--gid", "8", "--allow-unsealed", "-o", "json")
	strict(t, out, &list)
	want := api.MemifSpec{Rings: 2, RingSize: 512, BufferSize: 4096, UID: 7, GID: 8, AllowUnsealed: true}
	if p := list.Ports[0]; p.MemifSpec != want || !p.Endpoint.SecretRequired || strings.Contains(out, "s3cret") {
		t.Error(out)
	}
	for want, args := range map[string][]string{
		"port a: secret: open nokey":                  {"--kind", "memif", "--secret-file", "nokey"},
		"port a: rings: only a port of kind memif":    {"--rings", "1", "--netns", "a"},
		"port a: ring size 1000: it is no power":      {"--kind", "memif", "--ring-size", "1000"},
		"port a: netns: a port of kind memif has no":  {"--kind", "memif", "--netns", "a"},
		"port a: uid -1: it is out of range":          {"--kind", "memif", "--uid", "-1"},
		"port a: depth: a port of kind memif has rin": {"--kind", "memif", "--depth", "64"},
	} {
		s.fails(t, ExitUsage, want, append([]string{"add", "a", "--ip", "10.0.0.9/24"}, args...)...)
	}
	s.fails(t, ExitUsage, "depth: a port of kind memif has rings", "set", "fast", "--depth", "64")
}

// A relative path means the caller's directory, which the daemon does not know.
func TestNetNSPathIsMadeWhole(t *testing.T) {
	s := newShell(t)
	s.daemon(t, "eth0")
	var list api.PortList
	strict(t, s.ok(t, "add", "a", "--ip", "10.0.0.5/24", "--netns", "./ns/a", "-o", "json"), &list)
	dir, err := os.Getwd()
	must(t, err)
	if got := list.Ports[0].NetNS; got != filepath.Join(dir, "ns/a") {
		t.Error(got)
	}
}

func TestSet(t *testing.T) {
	s := newShell(t)
	s.daemon(t, "eth0")
	s.ok(t, "add", "a", "--ip", "10.0.0.5/24", "--gateway", "10.0.0.1", "--netns", "a", "--mtu", "1400")
	for _, c := range []struct {
		args []string
		want string // name=…
	}{
		{[]string{"--ip", "10.0.0.6/24,10.0.0.7/24"}, "[10.0.0.6/24 10.0.0.7/24] [] [10.0.0.1] 1400 0 false"},
		{[]string{"--mtu", "9000", "--depth", "64"}, "[10.0.0.6/24 10.0.0.7/24] [] [10.0.0.1] 9000 64 false"},
		{[]string{"--gateway", ""}, "[10.0.0.6/24 10.0.0.7/24] [] [] 9000 64 false"},
		{[]string{"--ip", "", "--prefix", "10.1.0.0/24"}, "[] [10.1.0.0/24] [] 9000 64 false"},
		{[]string{"--mtu", "0", "--no-source-check"}, "[] [10.1.0.0/24] [] 0 64 true"},
		{[]string{"--no-source-check=false"}, "[] [10.1.0.0/24] [] 0 64 false"},
	} {
		var p api.Port
		strict(t, s.ok(t, append([]string{"set", "a", "-o", "json"}, c.args...)...), &p)
		if got := fmt.Sprint(p.IPs, p.Prefixes, p.Gateways, p.MTU, p.Depth, p.NoSourceCheck); got != c.want {
			t.Errorf("%q made %s, want %s", c.args, got, c.want)
		}
	}
	s.fails(t, ExitUsage, "port a: identity: it owns no address", "set", "a", "--prefix", "")
	s.fails(t, ExitFailed, "port b: there is no such port; see xdpdemux ls", "set", "b", "--mtu", "1400")
	if out := s.ok(t, "set", "a", "--mtu", "1500"); out != "port a: ready: all of 10.1.0.0/24\n" {
		t.Error(out)
	}
}

func TestDel(t *testing.T) {
	s := newShell(t)
	s.daemon(t, "eth0")
	for i, name := range []string{"a", "b", "c"} {
		s.ok(t, "add", name, "--ip", fmt.Sprintf("10.0.0.%d/24", i+1), "--netns", name)
	}
	s.fails(t, ExitFailed, "port x: there is no such port", "del", "a", "x")
	if out := s.ok(t, "del", "a", "b"); out != "port a: removed\nport b: removed\n" {
		t.Error(out)
	}
	var gone api.DeleteResult
	strict(t, s.ok(t, "del", "c", "-o", "json"), &gone)
	if !reflect.DeepEqual(gone.Deleted, []string{"c"}) {
		t.Errorf("%+v", gone)
	}
	if out := s.ok(t, "ls"); strings.Count(out, "\n") != 1 {
		t.Error(out)
	}
}

func TestApply(t *testing.T) {
	s := newShell(t)
	s.daemon(t, "eth0")
	port := func(name string, n int, more string) string {
		return fmt.Sprintf("[[port]]\nname = %q\nip = \"10.0.0.%d/24\"\nnetns = %q\n%s\n", name, n, name, more)
	}
	s.files["one"] = port("a", 1, "") + port("b", 2, "") + port("c", 3, "")
	s.files["two"] = port("a", 1, "") + port("b", 2, "mtu = 1400") + port("c", 3, "vlan = 7") + port("d", 4, "")
	s.stdin = `{"ports": []}`
	const none = "0 added, 0 changed, 0 replaced, 0 removed, %d unchanged\n"
	for _, c := range []struct {
		want string
		args []string
	}{
		{"+ a\n+ b\n+ c\nwould be done: 3 added, 0 changed, 0 replaced, 0 removed, 0 unchanged\n", []string{"-f", "one", "--dry-run"}},
		{"done: 3 added, 0 changed, 0 replaced, 0 removed, 0 unchanged\n", []string{"-f", "one"}},
		{"done: " + fmt.Sprintf(none, 3), []string{"-f", "one"}},
		{"! c\n~ b\n+ d\nwould be done: 1 added, 1 changed, 1 replaced, 0 removed, 1 unchanged\n", []string{"-f", "two", "--dry-run"}},
		{"done: 1 added, 1 changed, 1 replaced, 0 removed, 1 unchanged\n", []string{"-f", "two"}},
		{"done: " + fmt.Sprintf(none, 4), []string{"-f", "two"}},
		{"- d\n! c\n~ b\nwould be done: 0 added, 1 changed, 1 replaced, 1 removed, 1 unchanged\n", []string{"-f", "one", "--dry-run"}},
		{"done: 0 added, 0 changed, 0 replaced, 4 removed, 0 unchanged\n", []string{"-f", "-"}},
	} {
		if out := s.ok(t, append([]string{"apply"}, c.args...)...); out != c.want {
			t.Errorf("%q printed %q, want %q", c.args, out, c.want)
		}
	}
	var r api.ApplyResult
	strict(t, s.ok(t, "apply", "-f", "one", "-o", "json"), &r)
	if want := (api.ApplyResult{Added: []string{"a", "b", "c"}, Changed: []string{}, Replaced: []string{}, Removed: []string{},
		Unchanged: []string{}}); !reflect.DeepEqual(r, want) {
		t.Errorf("%+v", r)
	}
}

func TestApplyThousands(t *testing.T) {
	s := newShell(t)
	s.daemon(t, "eth0")
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "[[port]]\nname = \"p%d\"\nip = \"10.%d.%d.1/16\"\nnetns = \"n%d\"\n", i, i/256, i%256, i)
	}
	s.stdin = b.String()
	if out := s.ok(t, "apply", "-f", "-"); out != "done: 5000 added, 0 changed, 0 replaced, 0 removed, 0 unchanged\n" {
		t.Error(out)
	}
	if out := s.ok(t, "ls"); strings.Count(out, "\n") != 5001 {
		t.Errorf("%d lines", strings.Count(out, "\n"))
	}
}

func TestLs(t *testing.T) {
	s := newShell(t)
	s.daemon(t, "eth0").Clients = map[string]*api.MemifClient{"fast": {Name: "DPDK 22.11.11", PID: 4711, UID: 65534, Rings: 2, RingSize: 512, Regions: 1}}
	s.ok(t, "add", "fast", "--kind", "memif", "--ip", "10.0.0.20/24")
	s.ok(t, "add", "web1", "--ip", "10.0.0.5/24,2001:db8::5/64", "--netns", "web1")
	s.ok(t, "add", "a-longer-name", "--ip", "10.0.0.6/24,10.0.0.7/24,10.0.0.8/24,10.0.0.9/24,10.0.0.10/24", "--netns", "/proc/7/ns/net", "--ifname", "x")
	s.ok(t, "add", "vm7", "--ip", "10.0.0.17/24", "--prefix", "10.1.0.0/24", "--mac", "02:00:00:00:00:07", "--vlan", "20", "--ifname", "tap7")
	golden(t, "testdata/ls.golden", s.ok(t, "ls"), *update)
	var list api.PortList
	strict(t, s.ok(t, "ls", "-o", "json"), &list)
	if len(list.Ports) != 4 || list.Ports[0].Name != "a-longer-name" || list.Ports[2].VLAN != 20 || list.Ports[1].Client.PID != 4711 {
		t.Errorf("%+v", list)
	}
}

func TestPeer(t *testing.T) {
	for want, p := range map[string]api.Port{
		"-":                   {},
		"nobody":              {Endpoint: &api.Endpoint{}},
		"nobody (it hung up)": {Endpoint: &api.Endpoint{}, LastDisconnect: "it hung up"},
		"x, pid 1, uid 2, 1 ring of 64, 2 regions": {Endpoint: &api.Endpoint{}, LastDisconnect: "it hung up",
			Client: &api.MemifClient{Name: "x", PID: 1, UID: 2, Rings: 1, RingSize: 64, Regions: 2}},
	} {
		if got := peer(&p); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := socket(&api.Endpoint{SocketPath: "a", Abstract: true}); got != "@a" {
		t.Error(got)
	}
}

func TestStateOf(t *testing.T) {
	p := api.Port{State: api.StateNoNetNS, Error: "netns web1: it is gone"}
	if got := stateOf(&p); got != "no_netns (netns web1: it is gone)" {
		t.Error(got)
	}
}
