package identity

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// port is the identity of a port with these properties.
func port(vlan uint16, mac api.MAC, addrs, owned []netip.Prefix) Identity {
	return Of(api.PortSpec{VLAN: vlan, MAC: mac, IPs: addrs, Prefixes: owned})
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestLinkLocalIsUniqueAndStable(t *testing.T) {
	seen := map[netip.Addr]string{}
	for _, id := range []Identity{
		port(0, api.MAC{}, prefixes("10.0.0.5/24", "fd00::5/64"), nil),
		port(0, api.MAC{}, prefixes("fd00::6/64"), nil),
		port(5, api.MAC{}, prefixes("fd00::5/64"), nil),
		port(0, api.MAC{2, 0, 0, 0, 0, 1}, prefixes("fd00::7/64"), nil),
		port(0, api.MAC{}, prefixes("10.0.0.9/24"), prefixes("fd00:1::/64")),
	} {
		ll := id.LinkLocal
		if !ll.IsLinkLocalUnicast() || !slices.Contains(id.Owned(), netip.PrefixFrom(ll, 128)) {
			t.Errorf("%v: link-local %v, owned %v", id.Addrs, ll, id.Owned())
		}
		if other, twice := seen[ll]; twice {
			t.Errorf("%v and %v share %v", id.Addrs, other, ll)
		}
		seen[ll] = id.Owned()[0].String()
		if again := port(id.VLAN, id.MAC, id.Addrs, id.Prefixes); again.LinkLocal != ll {
			t.Errorf("%v: %v, then %v", id.Addrs, ll, again.LinkLocal)
		}
	}
	if ll := port(0, api.MAC{2, 0, 0, 0, 0, 1}, prefixes("fd00::7/64"), nil).LinkLocal; ll != netip.MustParseAddr("fe80::ff:fe00:1") {
		t.Errorf("a MAC identity has %v", ll)
	}
	if ll := port(0, api.MAC{}, prefixes("10.0.0.9/24"), nil).LinkLocal; ll.IsValid() {
		t.Errorf("a port without IPv6 has %v", ll)
	}
}

func TestAsker(t *testing.T) {
	id := port(0, api.MAC{}, prefixes("10.0.0.5/24", "fd00::5/64"), nil)
	for other, want := range map[string]netip.Addr{
		"10.0.0.1": netip.MustParseAddr("10.0.0.5"), "fd00::1": netip.MustParseAddr("fd00::5"), "fe80::1": id.LinkLocal,
	} {
		if got, ok := id.Asker(netip.MustParseAddr(other)); !ok || got != want {
			t.Errorf("toward %s: %v, %v", other, got, ok)
		}
	}
	if a, ok := port(0, api.MAC{}, prefixes("10.0.0.5/24"), nil).Asker(netip.MustParseAddr("fd00::1")); ok {
		t.Errorf("a port without IPv6 asks as %v", a)
	}
}

func TestClaimRefuses(t *testing.T) {
	mac := api.MAC{2, 0, 0, 0, 0, 1}
	for name, c := range map[string]struct {
		id   Identity
		says string
	}{
		"same address":       {port(0, api.MAC{}, prefixes("10.0.0.5/16"), nil), "port a"},
		"inside a prefix":    {port(0, api.MAC{}, prefixes("10.1.7.7/16"), nil), "port a"},
		"around a prefix":    {port(0, api.MAC{}, prefixes("10.9.9.9/16"), prefixes("10.1.0.0/16")), "port a"},
		"around an address":  {port(0, api.MAC{}, prefixes("10.9.9.9/16"), prefixes("10.0.0.4/30")), "port a"},
		"same MAC":           {port(0, mac, prefixes("10.0.0.6/24"), nil), "port a"},
		"host's address":     {port(0, api.MAC{}, prefixes("10.0.0.1/24"), nil), "the host"},
		"around the host":    {port(0, api.MAC{}, prefixes("10.9.9.9/16"), prefixes("192.0.2.0/24")), "the host"},
		"NIC's MAC":          {port(0, api.MAC{2, 0, 0, 0, 0, 0xee}, prefixes("10.0.0.6/24"), nil), "nic0"},
		"link-local of port": {port(0, api.MAC{}, prefixes("fe80::ff:fe00:1/64"), nil), "port a"},
	} {
		r := NewRegistry()
		r.SetHost([]HostAddr{{0, netip.MustParseAddr("10.0.0.1")}, {0, netip.MustParseAddr("192.0.2.1")}}, map[api.MAC]string{{2, 0, 0, 0, 0, 0xee}: "nic0"})
		if err := r.Claim("a", port(0, mac, prefixes("10.0.0.5/24", "fd00::5/64"), prefixes("10.1.7.0/24"))); err != nil {
			t.Fatal(err)
		}
		err := r.Claim("b", c.id)
		if api.CodeOf(err) != api.CodeConflict || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if r.Has("b") {
			t.Errorf("%s: half claimed", name)
		}
		free := port(9, api.MAC{}, c.id.Addrs, c.id.Prefixes)
		if err := r.Claim("b", free); err != nil {
			t.Errorf("%s: the same in another VLAN: %v", name, err)
		}
	}
}

func TestClaimAgainReplaces(t *testing.T) {
	r := NewRegistry()
	first, second := port(0, api.MAC{}, prefixes("10.0.0.5/24"), nil), port(0, api.MAC{}, prefixes("10.0.0.5/24", "10.0.0.6/24"), nil)
	third := port(0, api.MAC{}, prefixes("10.0.0.7/24"), nil)
	for _, id := range []Identity{first, second} {
		if err := r.Claim("a", id); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Claim("b", third); err != nil {
		t.Fatal(err)
	}
	if err := r.Claim("a", third); err == nil {
		t.Fatal("took b's address")
	}
	if name, _, ok := r.Owner(0, netip.MustParseAddr("10.0.0.6")); !ok || name != "a" {
		t.Errorf("a refused claim lost what was owned: %q", name)
	}
	r.Release("a")
	if _, _, ok := r.Owner(0, netip.MustParseAddr("10.0.0.5")); ok || r.Has("a") {
		t.Error("released, and still owned")
	}
}

// TestHostAddressesInVLANs: an address that the host has in a VLAN is taken in that
// VLAN and untagged, and in no other one.
func TestHostAddressesInVLANs(t *testing.T) {
	r := NewRegistry()
	r.SetHost([]HostAddr{{7, netip.MustParseAddr("10.7.0.2")}, {0, netip.MustParseAddr("169.254.3.4")}}, nil)
	for _, c := range []struct {
		vlan    uint16
		addr    string
		refused bool
	}{
		{7, "10.7.0.2/24", true}, {0, "10.7.0.2/24", true}, {8, "10.7.0.2/24", false}, {7, "10.7.0.3/24", false},
		{0, "169.254.3.4/16", true}, {7, "169.254.3.4/16", false},
	} {
		err := r.Claim("p", port(c.vlan, api.MAC{}, prefixes(c.addr), nil))
		if (err != nil) != c.refused || c.refused && !strings.Contains(err.Error(), "the host") {
			t.Errorf("%s in VLAN %d: %v", c.addr, c.vlan, err)
		}
		r.Release("p")
	}
}

// TestClashes: a port whose address the host gets later keeps it, and is found.
func TestClashes(t *testing.T) {
	r := NewRegistry()
	for name, id := range map[string]Identity{
		"a": port(0, api.MAC{}, prefixes("10.0.0.5/24"), nil), "v": port(7, api.MAC{}, prefixes("10.0.0.5/24"), nil),
		"p": port(0, api.MAC{}, prefixes("10.0.0.9/24"), prefixes("10.1.0.0/24")),
	} {
		if err := r.Claim(name, id); err != nil {
			t.Fatal(err)
		}
	}
	addr := netip.MustParseAddr
	for _, c := range []struct {
		host []HostAddr
		want map[string]netip.Addr
	}{
		{[]HostAddr{{0, addr("10.0.0.1")}}, map[string]netip.Addr{}},
		{[]HostAddr{{0, addr("10.0.0.5")}}, map[string]netip.Addr{"a": addr("10.0.0.5")}},
		{[]HostAddr{{7, addr("10.0.0.5")}}, map[string]netip.Addr{"a": addr("10.0.0.5"), "v": addr("10.0.0.5")}},
		{[]HostAddr{{0, addr("10.1.0.9")}, {0, addr("10.1.0.8")}}, map[string]netip.Addr{"p": addr("10.1.0.8")}},
	} {
		r.SetHost(c.host, nil)
		if got := r.Clashes(); !maps.Equal(got, c.want) {
			t.Errorf("host %v: %v, want %v", c.host, got, c.want)
		}
	}
}
