package api_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func addrs(list ...string) []netip.Addr {
	var all []netip.Addr
	for _, s := range list {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

// valid is a spec that tests spoil.
func valid() api.PortSpec {
	return api.PortSpec{Name: "web1", IPs: prefixes("10.0.0.5/24", "2001:db8::5/64"), NetNS: "web1"}
}

func TestValidSpecs(t *testing.T) {
	for name, change := range map[string]func(*api.PortSpec){
		"as it is":              func(*api.PortSpec) {},
		"kind":                  func(p *api.PortSpec) { p.Kind = api.KindTAP },
		"host bits":             func(p *api.PortSpec) { p.IPs = prefixes("10.0.0.255/16") },
		"both ends of a /31":    func(p *api.PortSpec) { p.IPs = prefixes("10.0.0.0/31", "10.0.1.1/31", "2001:db8::/127") },
		"single addresses":      func(p *api.PortSpec) { p.IPs = prefixes("10.0.0.0/32", "2001:db8::/128") },
		"IPv4 link-local":       func(p *api.PortSpec) { p.IPs = prefixes("169.254.1.1/16") },
		"a routed prefix":       func(p *api.PortSpec) { p.IPs, p.Prefixes = nil, prefixes("10.1.0.0/24") },
		"an address in its own": func(p *api.PortSpec) { p.IPs, p.Prefixes = prefixes("10.1.0.1/24"), prefixes("10.1.0.0/24") },
		"a single-address one":  func(p *api.PortSpec) { p.Prefixes = prefixes("10.9.9.9/32") },
		"unicast MAC":           func(p *api.PortSpec) { p.MAC = api.MAC{2, 0, 0, 0, 0, 1} },
		"lowest VLAN":           func(p *api.PortSpec) { p.VLAN = 1 },
		"highest VLAN":          func(p *api.PortSpec) { p.VLAN = 4094 },
		"own netns":             func(p *api.PortSpec) { p.NetNS, p.IfName = "", "tap7" },
		"netns path":            func(p *api.PortSpec) { p.NetNS = "/proc/1/ns/net" },
		"15 bytes":              func(p *api.PortSpec) { p.IfName = strings.Repeat("a", 15) },
		"smallest MTU":          func(p *api.PortSpec) { p.MTU, p.IPs = 68, prefixes("10.0.0.5/24") },
		"smallest MTU of IPv6":  func(p *api.PortSpec) { p.MTU = 1280 },
		"largest MTU":           func(p *api.PortSpec) { p.MTU = 65521 },
		"depth":                 func(p *api.PortSpec) { p.Depth = 65536 },
		"gateways":              func(p *api.PortSpec) { p.Gateways = addrs("10.0.0.1", "fe80::1") },
		"gateway off-link":      func(p *api.PortSpec) { p.Gateways = addrs("192.0.2.1") },
		"name":                  func(p *api.PortSpec) { p.Name = "9a._:@+-" + strings.Repeat("x", 120) },
	} {
		t.Run(name, func(t *testing.T) {
			p := valid()
			change(&p)
			if err := p.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestInvalidSpecs(t *testing.T) {
	ip := func(s string) func(*api.PortSpec) {
		return func(p *api.PortSpec) { p.IPs = prefixes(s) }
	}
	prefix := func(s ...string) func(*api.PortSpec) {
		return func(p *api.PortSpec) { p.Prefixes = prefixes(s...) }
	}
	gateway := func(s ...string) func(*api.PortSpec) {
		return func(p *api.PortSpec) { p.Gateways = addrs(s...) }
	}
	for _, c := range []struct {
		name, want string
		change     func(*api.PortSpec)
	}{
		{"no name", "name is missing", func(p *api.PortSpec) { p.Name = "" }},
		{"name with slash", `may not hold "/"`, func(p *api.PortSpec) { p.Name = "a/b" }},
		{"name with umlaut", "may not hold", func(p *api.PortSpec) { p.Name = "aä" }},
		{"name with dot first", "neither letter nor digit", func(p *api.PortSpec) { p.Name = ".a" }},
		{"long name", "129 bytes are too long", func(p *api.PortSpec) { p.Name = strings.Repeat("a", 129) }},
		{"kind", `kind "veth": there is no such kind`, func(p *api.PortSpec) { p.Kind = "veth" }},
		{"multicast MAC", "it is a multicast address", func(p *api.PortSpec) { p.MAC = api.MAC{1, 0, 0x5e, 0, 0, 1} }},
		{"broadcast MAC", "it is a multicast address", func(p *api.PortSpec) { p.MAC = api.MAC{255, 255, 255, 255, 255, 255} }},
		{"VLAN", "VLAN 4095: it is out of range", func(p *api.PortSpec) { p.VLAN = 4095 }},
		{"relative netns", "relative path", func(p *api.PortSpec) { p.NetNS = "./a" }},
		{"netns with zero", "no path", func(p *api.PortSpec) { p.NetNS = "a\x00" }},
		{"netns not UTF-8", "no path", func(p *api.PortSpec) { p.NetNS = "a\xff" }},
		{"no place", "neither netns nor ifname", func(p *api.PortSpec) { p.NetNS = "" }},
		{"ifname too long", "16 bytes are too long", func(p *api.PortSpec) { p.IfName = strings.Repeat("a", 16) }},
		{"ifname with space", `may not hold " "`, func(p *api.PortSpec) { p.IfName = "a b" }},
		{"ifname with format", `may not hold "%"`, func(p *api.PortSpec) { p.IfName = "eth%d" }},
		{"ifname with colon", `may not hold ":"`, func(p *api.PortSpec) { p.IfName = "eth0:1" }},
		{"ifname dots", "names a directory", func(p *api.PortSpec) { p.IfName = ".." }},
		{"MTU too small", "MTU 67", func(p *api.PortSpec) { p.MTU = 67 }},
		{"MTU negative", "MTU -1", func(p *api.PortSpec) { p.MTU = -1 }},
		{"MTU too large", "MTU 65522", func(p *api.PortSpec) { p.MTU = 65522 }},
		{"MTU and IPv6", "too small for IPv6", func(p *api.PortSpec) { p.MTU = 1279 }},
		{"depth negative", "depth -1", func(p *api.PortSpec) { p.Depth = -1 }},
		{"depth too large", "depth 65537", func(p *api.PortSpec) { p.Depth = 65537 }},
		{"no address", "it owns no address", func(p *api.PortSpec) { p.IPs = nil }},
		{"zero address", "missing or no CIDR", func(p *api.PortSpec) { p.IPs = []netip.Prefix{{}} }},
		{"too many", "more than 1024", func(p *api.PortSpec) { p.IPs = make([]netip.Prefix, 1025) }},
		{"twice", "10.0.0.5: it is there twice", func(p *api.PortSpec) { p.IPs = prefixes("10.0.0.5/24", "10.0.0.5/32") }},
		{"multicast", "multicast", ip("224.0.0.1/24")},
		{"multicast v6", "multicast", ip("ff02::1/64")},
		{"unspecified", "unspecified", ip("0.0.0.0/24")},
		{"unspecified v6", "unspecified", ip("::/64")},
		{"this network", "RFC 791", ip("0.1.2.3/8")},
		{"loopback", "loopback", ip("127.0.0.2/8")},
		{"loopback v6", "loopback", ip("::1/128")},
		{"limited broadcast", "broadcast", ip("255.255.255.255/32")},
		{"directed broadcast", "broadcast address of its network", ip("10.0.0.255/24")},
		{"network address", "give --prefix", ip("10.0.0.0/24")},
		{"network address v6", "give --prefix", ip("2001:db8::/64")},
		{"mapped", "IPv4 address in IPv6", ip("::ffff:10.0.0.5/128")},
		{"link-local v6", "given by the daemon", ip("fe80::5/64")},
		{"prefix with host bits", "host bits set; give 10.1.0.0/24", prefix("10.1.0.7/24")},
		{"prefix zero", "missing", func(p *api.PortSpec) { p.Prefixes = []netip.Prefix{{}} }},
		{"prefix of everything", "it holds", prefix("0.0.0.0/0")},
		{"prefix of multicast", "multicast", prefix("224.0.0.0/8")},
		{"prefix of link-local", "link-local", prefix("fe80::/64")},
		{"prefix of loopback", "loopback", prefix("127.1.0.0/16")},
		{"prefixes overlap", "overlaps", prefix("10.1.0.0/16", "10.1.2.0/24")},
		{"prefix is an address", "among the addresses", prefix("10.0.0.5/32")},
		{"gateway multicast", "multicast", gateway("224.0.0.1")},
		{"gateway zone", "zone", gateway("fe80::1%eth0")},
		{"gateway zero", "missing", func(p *api.PortSpec) { p.Gateways = []netip.Addr{{}} }},
		{"gateway itself", "port's own address", gateway("10.0.0.5")},
		{"two of a family", "another one of its family", gateway("10.0.0.1", "10.0.0.2")},
		{"gateway of no family", "no address of its family", func(p *api.PortSpec) {
			p.IPs, p.Gateways = prefixes("10.0.0.5/24"), addrs("2001:db8::1")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := valid()
			c.change(&p)
			err := p.Validate()
			if api.CodeOf(err) != api.CodeUsage {
				t.Fatalf("got %v, want an error of code usage", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q does not say %q", err, c.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has several lines", err)
			}
			if p.Name == "web1" && !strings.HasPrefix(err.Error(), "port web1: ") {
				t.Errorf("%q does not name the port", err)
			}
		})
	}
}

func TestParseAddresses(t *testing.T) {
	for _, c := range []struct {
		parse func(string) error
		text  string
		ok    bool
	}{
		{ip, "10.0.0.5/24", true}, {ip, "10.0.0.5", false}, {ip, "10.0.0.300/24", false}, {ip, "10.0.0.5/33", false},
		{ip, "", false}, {ip, "fe80::1%eth0/64", false}, {ip, "10.0.0.0/24", false},
		{prefix, "10.1.0.0/24", true}, {prefix, "10.1.0.1/24", false}, {prefix, "x", false},
		{gateway, "10.0.0.1", true}, {gateway, "fe80::1", true}, {gateway, "10.0.0.1/24", false}, {gateway, "0.0.0.0", false},
	} {
		if err := c.parse(c.text); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}

func ip(s string) error      { _, err := api.ParseIP(s); return err }
func prefix(s string) error  { _, err := api.ParsePrefix(s); return err }
func gateway(s string) error { _, err := api.ParseGateway(s); return err }

func FuzzParseIP(f *testing.F) {
	for _, s := range []string{"10.0.0.5/24", "2001:db8::5/64", "::ffff:1.2.3.4/128", "10.0.0.0/31", "255.255.255.255/32", "0.0.0.0/0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := api.ParseIP(s)
		if err != nil {
			if api.CodeOf(err) != api.CodeUsage {
				t.Fatalf("%q: code %s", s, api.CodeOf(err))
			}
			return
		}
		a := p.Addr()
		if a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() || a.Is4In6() || a.Zone() != "" {
			t.Fatalf("%q was accepted", s)
		}
		spec := api.PortSpec{Name: "a", NetNS: "b", IPs: []netip.Prefix{p}}
		if err := spec.Validate(); err != nil {
			t.Fatalf("%q was accepted, and then not: %v", s, err)
		}
		if owned := spec.Owned(); len(owned) != 1 || !owned[0].IsSingleIP() || owned[0].Addr() != a {
			t.Fatalf("%q owns %v", s, owned)
		}
	})
}

func FuzzValidateName(f *testing.F) {
	f.Add("web1")
	f.Add("a/b")
	f.Fuzz(func(t *testing.T, s string) {
		if api.ValidateName(s) == nil && (len(s) > api.MaxName || s == "" || strings.ContainsAny(s, "/ \n\x00\\\"'*?$")) {
			t.Fatalf("%q was accepted", s)
		}
		if api.ValidateIfName(s) == nil && (len(s) > api.MaxIfName || s == "" || strings.ContainsAny(s, "/: \n\x00")) {
			t.Fatalf("%q was accepted as an interface", s)
		}
	})
}

func ExamplePortSpec_Owned() {
	p := api.PortSpec{IPs: prefixes("10.0.0.5/24"), Prefixes: prefixes("10.1.0.0/24")}
	fmt.Println(p.Owned())
	// Output: [10.0.0.5/32 10.1.0.0/24]
}
