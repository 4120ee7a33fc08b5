package hostroute

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// open opens a table over the NIC of the rig, in its namespace.
func open(t *testing.T, rig *nictest.Rig) *Table {
	t.Helper()
	var table *Table
	if err := rig.Host.Do(func() (err error) {
		table, err = Open(rig.Host.Index(t, rig.NIC), [6]byte{2, 0, 0, 0, 0, 9})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Close)
	return table
}

var (
	dst4, dst6 = netip.MustParsePrefix("10.9.1.1/32"), netip.MustParsePrefix("fd09::a/128")
	noSource   = Source(nil)
)

// routed says whether the rig's kernel has a route to dst over the NIC that
// contains the words.
func routed(t *testing.T, rig *nictest.Rig, dst netip.Prefix, words string) bool {
	t.Helper()
	family := map[bool]string{true: "-4", false: "-6"}[dst.Addr().Is4()]
	out := rig.Host.Run(t, "ip", family, "route", "show", dst.String(), "dev", rig.NIC)
	return out != "" && strings.Contains(out, words)
}

// TestHostWithoutIPv6: where the host has switched IPv6 off, it needs no way to
// the IPv6 addresses of its containers, and gets one once it is on.
func TestHostWithoutIPv6(t *testing.T) {
	rig := nictest.New(t, nictest.Config{HostAddrs: []string{"10.9.0.2/16"}})
	rig.Host.SetSysctl(t, "net/ipv6/conf/nic0/disable_ipv6", "1")
	table := open(t, rig)
	if err := table.Set(noSource, dst4, dst6); err != nil {
		t.Fatal(err)
	}
	if !routed(t, rig, dst4, "") {
		t.Error("no IPv4 route")
	}
	rig.Host.SetSysctl(t, "net/ipv6/conf/nic0/disable_ipv6", "0")
	if err := table.Refresh(noSource); err != nil {
		t.Fatal(err)
	}
	if !routed(t, rig, dst6, "") {
		t.Error("no IPv6 route after IPv6 was switched on")
	}
	rig.Host.SetSysctl(t, "net/ipv6/conf/nic0/disable_ipv6", "1")
	if err := table.Refresh(noSource); err != nil {
		t.Errorf("IPv6 switched off: %v", err)
	}
	if err := table.Remove(dst4, dst6); err != nil {
		t.Error(err)
	}
	if routed(t, rig, dst4, "") {
		t.Error("the route is still there after Remove")
	}
}

// TestSourceThatIsNotReadyYet: the kernel refuses an IPv6 address as preferred
// source while it looks for duplicates of it; the route is made without.
func TestSourceThatIsNotReadyYet(t *testing.T) {
	rig := nictest.New(t, nictest.Config{})
	table := open(t, rig)
	absent := Source([]netip.Prefix{netip.MustParsePrefix("fd09::2/64")})
	if err := table.Set(absent, dst6); err != nil {
		t.Fatal(err)
	}
	if !routed(t, rig, dst6, "") {
		t.Error("no route")
	}
	rig.Host.Run(t, "ip", "address", "add", "fd09::2/64", "dev", rig.NIC, "nodad")
	if err := table.Refresh(absent); err != nil {
		t.Fatal(err)
	}
	if !routed(t, rig, dst6, "src fd09::2") {
		t.Error("the source is not preferred once it is there")
	}
}
