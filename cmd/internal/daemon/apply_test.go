package daemon

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// plain are ports with one address each, 10.9.1.X, in the containers of the rig.
func plain(rig *nictest.Rig, last ...string) []api.PortSpec {
	specs := make([]api.PortSpec, len(last))
	for i, l := range last {
		specs[i] = api.PortSpec{Name: string(rune('a' + i)), NetNS: rig.Containers[i].Path, IPs: prefixes("10.9.1." + l + "/16")}.WithDefaults()
	}
	return specs
}

// requireOwners requires that ports a, b, … work and have these addresses.
func requireOwners(t *testing.T, pup *puppet, last ...string) {
	t.Helper()
	ports := pup.must(order{Do: "ports"}).Ports
	if len(ports) != len(last) {
		t.Fatalf("%d ports, want %d", len(ports), len(last))
	}
	for i, p := range ports {
		if want := netip.MustParsePrefix("10.9.1." + last[i] + "/16"); p.State != api.StateReady || !slices.Equal(p.IPs, []netip.Prefix{want}) {
			t.Errorf("port %s is %s with %v, want %v", p.Name, p.State, p.IPs, want)
		}
	}
}

// TestApplyMovesAddresses: an address may go from one port to another in one
// file, in whatever order, and in a ring.
func TestApplyMovesAddresses(t *testing.T) {
	rig := nictest.New(t, nictest.Config{Containers: 4, HostAddrs: []string{"10.9.0.2/16"}})
	pup := newPuppets(t, rig).start()
	pup.must(order{Do: "attach"})
	pup.must(order{Do: "apply", Specs: plain(rig, "1", "2", "3")})
	for _, c := range []struct {
		name              string
		addrs             []string
		changed, replaced int
	}{
		{"a chain, the giver last", []string{"2", "3", "4"}, 3, 0},
		{"a chain, the giver first", []string{"1", "2", "3"}, 3, 0},
		{"a swap", []string{"2", "1", "3"}, 0, 2},
		{"a ring of three", []string{"1", "3", "2"}, 0, 3},
		{"a new port gets what an old one gives up", []string{"1", "5", "2", "3"}, 1, 0},
	} {
		got := pup.must(order{Do: "apply", Specs: plain(rig, c.addrs...)}).Result
		if len(got.Changed) != c.changed || len(got.Replaced) != c.replaced {
			t.Errorf("%s: changed %v, replaced %v", c.name, got.Changed, got.Replaced)
		}
		requireOwners(t, pup, c.addrs...)
	}
	hosts := api.PortSpec{Name: "z", NetNS: rig.Containers[3].Path, IPs: prefixes("10.9.0.2/16")}.WithDefaults()
	bad := pup.try(order{Do: "apply", Specs: append(plain(rig, "7", "1"), hosts)})
	if !strings.Contains(bad.Err, "belongs to the host") {
		t.Errorf("a file that asks for the host's address says %q", bad.Err)
	}
	requireOwners(t, pup, "1", "5", "2", "3")
	pup.must(order{Do: "delete", Name: "a b a"})
	pup.must(order{Do: "add", Specs: plain(rig, "1", "5")})
	pup.must(order{Do: "detach"})
}

// failedPort leaves port m in a state in which it could not be restored.
func failedPort(p *puppets) *puppet {
	remembered(p)
	pup := p.start()
	steps := pup.must(order{Do: "attach"}).Steps
	pup.must(order{Do: "detach"})
	at := 0
	for i, step := range steps {
		if step == "port: open" {
			at = i + 1
		}
	}
	pup.must(order{Do: "attach", At: at})
	return pup
}

// TestPortThatDoesNotWork: it keeps its name against an add, and apply tries to
// make it again.
func TestPortThatDoesNotWork(t *testing.T) {
	rig := stepsRig(t)
	pup := failedPort(newPuppets(t, rig))
	if a := pup.try(order{Do: "add", Specs: specs(rig)[1:]}); !strings.Contains(a.Err, "there is a port of that name") {
		t.Errorf("adding it again says %q", a.Err)
	}
	ports := pup.must(order{Do: "ports"}).Ports
	if len(ports) != 2 || ports[1].State != api.StateFailed {
		t.Fatalf("after an add of the same name: %+v", ports)
	}
	got := pup.must(order{Do: "apply", Specs: specs(rig)}).Result
	if !slices.Equal(got.Unchanged, []string{"a"}) || !slices.Equal(got.Replaced, []string{"m"}) {
		t.Errorf("apply: %+v", got)
	}
	requireReady(t, pup, "after apply", "a", "m")
	pup.must(order{Do: "detach"})
}
