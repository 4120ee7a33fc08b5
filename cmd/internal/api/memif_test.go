package api_test

import (
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// validMemif is a spec of kind memif that tests spoil.
func validMemif() api.PortSpec {
	return api.PortSpec{Name: "m", Kind: api.KindMemif, IPs: prefixes("10.0.0.6/24")}
}

func TestValidMemifSpecs(t *testing.T) {
	for name, change := range map[string]func(*api.PortSpec){
		"as it is":       func(*api.PortSpec) {},
		"most rings":     func(p *api.PortSpec) { p.Rings = 64 },
		"smallest ring":  func(p *api.PortSpec) { p.RingSize = 2 },
		"largest ring":   func(p *api.PortSpec) { p.RingSize = 16384 },
		"small buffers":  func(p *api.PortSpec) { p.BufferSize = 64 },
		"odd buffers":    func(p *api.PortSpec) { p.BufferSize = 1522 },
		"large buffers":  func(p *api.PortSpec) { p.BufferSize = 65536 },
		"longest secret": func(p *api.PortSpec) { p.Secret = strings.Repeat("s", 23) },
		"owner":          func(p *api.PortSpec) { p.UID, p.GID = 65534, 1<<32-2 },
		"abstract":       func(p *api.PortSpec) { p.Abstract, p.Secret = strings.Repeat("a", 100), "s" },
		"abstract there": func(p *api.PortSpec) { p.Abstract, p.NetNS, p.UID = "a", "web1", 7 },
		"unsealed":       func(p *api.PortSpec) { p.AllowUnsealed = true },
		"own MAC":        func(p *api.PortSpec) { p.MAC = api.MAC{2, 0, 0, 0, 0, 1} },
		"largest MTU":    func(p *api.PortSpec) { p.MTU = 9202 },
	} {
		t.Run(name, func(t *testing.T) {
			p := validMemif()
			change(&p)
			if err := p.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestInvalidMemifSpecs(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(*api.PortSpec)
	}{
		{"netns", "netns: a port of kind memif has no interface", func(p *api.PortSpec) { p.NetNS = "a" }},
		{"ifname", "ifname: a port of kind memif has no interface", func(p *api.PortSpec) { p.IfName = "eth0" }},
		{"depth", "depth: a port of kind memif has rings; give --ring-size", func(p *api.PortSpec) { p.Depth = 64 }},
		{"MTU", "MTU 9203: memif takes frames of 9,216", func(p *api.PortSpec) { p.MTU = 9203 }},
		{"rings", "rings 65: it is out of range", func(p *api.PortSpec) { p.Rings = 65 }},
		{"negative rings", "rings -1", func(p *api.PortSpec) { p.Rings = -1 }},
		{"ring size", "ring size 1000: it is no power of two", func(p *api.PortSpec) { p.RingSize = 1000 }},
		{"negative ring size", "ring size -1024", func(p *api.PortSpec) { p.RingSize = -1024 }},
		{"ring of one", "ring size 1: it is out of range", func(p *api.PortSpec) { p.RingSize = 1 }},
		{"ring too large", "ring size 32768: it is out of range", func(p *api.PortSpec) { p.RingSize = 32768 }},
		{"buffers too small", "buffer size 63", func(p *api.PortSpec) { p.BufferSize = 63 }},
		{"buffers too large", "buffer size 65537", func(p *api.PortSpec) { p.BufferSize = 65537 }},
		{"long secret", "24 bytes are more than the 23", func(p *api.PortSpec) { p.Secret = strings.Repeat("s", 24) }},
		{"zero in the secret", "zero byte", func(p *api.PortSpec) { p.Secret = "a\x00b" }},
		{"uid", "uid -1: it is out of range", func(p *api.PortSpec) { p.UID = -1 }},
		{"gid", "gid 4294967295: it is out of range", func(p *api.PortSpec) { p.GID = 1<<32 - 1 }},
		{"long abstract", "101 bytes are more than the 100", func(p *api.PortSpec) { p.Abstract = strings.Repeat("a", 101) }},
		{"zero in the abstract", "no printable character", func(p *api.PortSpec) { p.Abstract = "a\x00" }},
		{"at sign", "leave the @ out", func(p *api.PortSpec) { p.Abstract = "@a" }},
		{"rings of a tap", "rings: only a port of kind memif has it", func(p *api.PortSpec) { *p = valid(); p.Rings = 1 }},
		{"ring size of a tap", "ring size: only", func(p *api.PortSpec) { *p = valid(); p.RingSize = 64 }},
		{"buffer size of a tap", "buffer size: only", func(p *api.PortSpec) { *p = valid(); p.BufferSize = 64 }},
		{"secret of a tap", "secret: only", func(p *api.PortSpec) { *p = valid(); p.Secret = "s" }},
		{"uid of a tap", "uid: only", func(p *api.PortSpec) { *p = valid(); p.UID = 1 }},
		{"gid of a tap", "gid: only", func(p *api.PortSpec) { *p = valid(); p.GID = 1 }},
		{"abstract of a tap", "abstract: only", func(p *api.PortSpec) { *p = valid(); p.Abstract = "a" }},
		{"unsealed of a tap", "allow-unsealed: only", func(p *api.PortSpec) { *p = valid(); p.AllowUnsealed = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := validMemif()
			c.change(&p)
			err := p.Validate()
			if api.CodeOf(err) != api.CodeUsage || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error of code usage that says %q", err, c.want)
			}
		})
	}
}

// What of a memif port can be set leaves the client connected; all else makes
// the port anew.
func TestDiffOfMemif(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*api.PortSpec)
		replace bool
	}{
		"addresses":   {func(p *api.PortSpec) { p.IPs = prefixes("10.0.0.7/24") }, false},
		"MTU":         {func(p *api.PortSpec) { p.MTU = 1400 }, false},
		"rings":       {func(p *api.PortSpec) { p.Rings = 2 }, true},
		"ring size":   {func(p *api.PortSpec) { p.RingSize = 64 }, true},
		"buffer size": {func(p *api.PortSpec) { p.BufferSize = 256 }, true},
		"secret":      {func(p *api.PortSpec) { p.Secret = "s" }, true},
		"owner":       {func(p *api.PortSpec) { p.UID = 7 }, true},
		"abstract":    {func(p *api.PortSpec) { p.Abstract = "a" }, true},
		"unsealed":    {func(p *api.PortSpec) { p.AllowUnsealed = true }, true},
		"kind":        {func(p *api.PortSpec) { p.Kind, p.NetNS = api.KindTAP, "a" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			to := validMemif()
			c.change(&to)
			d := api.Diff([]api.PortSpec{validMemif().WithDefaults()}, []api.PortSpec{to})
			if len(d.Replace) != map[bool]int{true: 1}[c.replace] || len(d.Change) != map[bool]int{false: 1}[c.replace] {
				t.Errorf("%+v", d.Result())
			}
		})
	}
}
