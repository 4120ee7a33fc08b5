package nictest

import (
	"os"
	"testing"
)

func TestOwnerPID(t *testing.T) {
	for name, want := range map[string]int{
		"xdt-123-0-host": 123, "xdt-7-11-wire": 7, "xdt-7-1-c1000": 7,
		"xdt-7-1-c": 0, "xdt-7-1-cx": 0, "xdt-7-1-h": 0, "xdt-7-x-host": 0, "xdt-7-host": 0, "xdt-7-1-host-2": 0,
		"xdt-123": 0, "xdt--1-host": 0, "xdt-0-0-host": 0, "xdt-abc-0-host": 0, "eth0": 0, "xdt-12x-0-host": 0,
		"other-7-0-host": 0, "": 0, "xdpdemux-demo-9-web": 9, "xdpdemux-demo-x-web": 0, "xdpdemux-demo-9": 0, "xdpdemux-other-9-web": 0,
	} {
		got, ok := ownerPID(name)
		if ok != (want != 0) || (ok && got != want) {
			t.Errorf("ownerPID(%q) = %d, %v; want %d", name, got, ok, want)
		}
	}
}

func TestDead(t *testing.T) {
	if dead(os.Getpid()) || dead(1) {
		t.Error("a living process is called dead")
	}
	if !dead(1 << 30) {
		t.Error("an impossible process is called alive")
	}
}

func TestLinkLocalUsable(t *testing.T) {
	const lo = "00000000000000000000000000000001 01 80 10 80       lo\n"
	const global = "fd090000000000000000000000000001 02 40 00 80     nic0\n"
	for name, c := range map[string]struct {
		table string
		want  bool
	}{
		"usable":        {lo + global + "fe80000000000000006e69fffe630001 02 40 20 80     nic0\n", true},
		"tentative":     {lo + "fe80000000000000006e69fffe630001 02 40 20 c0     nic0\n", false},
		"other's":       {"fe80000000000000006e69fffe630001 02 40 20 80     nic1\n", false},
		"none":          {lo + global, false},
		"empty":         {"", false},
		"broken":        {"fe80 02 40 20 zz nic0\n", false},
		"columns short": {"fe80 02 40\n", false},
	} {
		if got := linkLocalUsable(c.table, "nic0"); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestDebianPackage(t *testing.T) {
	for program, want := range map[string]string{
		"ping": "iputils-ping", "nft": "nftables", "ip": "iproute2", "iperf3": "iperf3", "nsenter": "util-linux",
	} {
		if got := debianPackage(program); got != want {
			t.Errorf("%s is in %s, want %s", program, got, want)
		}
	}
}

// recorder stands in for a test to see how it would end.
type recorder struct {
	testing.TB
	skipped, failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Skipf(string, ...any)  { r.skipped = true }
func (r *recorder) Fatalf(string, ...any) { r.failed = true }

func TestRequire(t *testing.T) {
	for _, c := range []struct {
		ci, program  string
		skips, fails bool
	}{
		{"", "sh", false, false},
		{"", "no-such-program", true, false},
		{"true", "no-such-program", false, true},
		{"true", "sh", false, false},
	} {
		t.Setenv("CI", c.ci)
		r := &recorder{TB: t}
		Require(r, c.program)
		if r.skipped != c.skips || r.failed != c.fails {
			t.Errorf("CI=%q, %s: skipped %v, failed %v", c.ci, c.program, r.skipped, r.failed)
		}
	}
}
