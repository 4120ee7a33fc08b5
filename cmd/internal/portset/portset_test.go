package portset

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

func spec(name, ip string, change ...func(*api.PortSpec)) api.PortSpec {
	p := api.PortSpec{Name: name, NetNS: name, IPs: []netip.Prefix{netip.MustParsePrefix(ip)}}
	for _, c := range change {
		c(&p)
	}
	return p
}

func mac(n byte) func(*api.PortSpec) {
	return func(p *api.PortSpec) { p.MAC = api.MAC{2, 0, 0, 0, 0, n} }
}

func vlan(n uint16) func(*api.PortSpec) { return func(p *api.PortSpec) { p.VLAN = n } }

func prefix(s string) func(*api.PortSpec) {
	return func(p *api.PortSpec) { p.Prefixes = []netip.Prefix{netip.MustParsePrefix(s)} }
}

func netns(name string) func(*api.PortSpec) { return func(p *api.PortSpec) { p.NetNS = name } }

func TestConflicts(t *testing.T) {
	a := spec("a", "10.0.0.1/24", mac(1), prefix("10.1.0.0/16"))
	for name, c := range map[string]struct {
		b    api.PortSpec
		want string // "" for none
	}{
		"another port":              {spec("b", "10.0.0.2/24"), ""},
		"same name":                 {spec("a", "10.0.0.2/24", netns("b")), "port a: the name is there twice"},
		"same address":              {spec("b", "10.0.0.1/16"), "port a"},
		"same address, other VLAN":  {spec("b", "10.0.0.1/16", vlan(7)), ""},
		"same MAC":                  {spec("b", "10.0.0.2/24", mac(1)), "port a"},
		"same MAC, other VLAN":      {spec("b", "10.0.0.2/24", mac(1), vlan(7)), ""},
		"inside the other's prefix": {spec("b", "10.1.2.3/32"), "port a"},
		"prefix inside":             {spec("b", "10.0.0.2/24", prefix("10.1.2.0/24")), "port a"},
		"prefix around":             {spec("b", "10.2.0.2/24", prefix("10.0.0.0/24")), "port a"},
		"same interface":            {spec("b", "10.0.0.2/24", netns("a")), "interface eth0 belongs to port a in the same netns"},
		"invalid":                   {spec("b", "224.0.0.1/24"), "multicast"},
	} {
		t.Run(name, func(t *testing.T) {
			specs, err := Check([]api.PortSpec{a, c.b})
			if c.want == "" {
				if err != nil || len(specs) != 2 || specs[1].Kind != api.KindTAP {
					t.Fatalf("%v, %+v", err, specs)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "port ") {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if code := api.CodeOf(err); code != api.CodeConflict && name != "invalid" {
				t.Errorf("code %s", code)
			}
		})
	}
}

// What was refused claims nothing.
func TestRefusedClaimsNothing(t *testing.T) {
	s := New()
	if err := s.Add(spec("a", "10.0.0.1/24")); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(spec("b", "10.0.0.2/24", netns("a"))); err == nil {
		t.Fatal("the interface's name was given twice")
	}
	if err := s.Add(spec("b", "10.0.0.2/24")); err != nil {
		t.Error(err)
	}
	if len(s.Specs()) != 2 {
		t.Errorf("%+v", s.Specs())
	}
}

func TestThousands(t *testing.T) {
	specs := make([]api.PortSpec, 10000)
	for i := range specs {
		specs[i] = spec(fmt.Sprintf("p%d", i), fmt.Sprintf("10.%d.%d.1/24", i/256, i%256), prefix(fmt.Sprintf("172.%d.%d.0/24", 16+i/256, i%256)))
	}
	if got, err := Check(specs); err != nil || len(got) != len(specs) {
		t.Errorf("%d, %v", len(got), err)
	}
	specs[9999].Prefixes[0] = netip.MustParsePrefix("172.16.0.0/12")
	if _, err := Check(specs); api.CodeOf(err) != api.CodeConflict {
		t.Error(err)
	}
}
