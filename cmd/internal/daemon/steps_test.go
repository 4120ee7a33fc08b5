package daemon

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// stepsRig is a NIC on which attach has something to switch off, and two
// containers.
func stepsRig(t *testing.T) *nictest.Rig {
	rig := nictest.New(t, nictest.Config{Containers: 2, NICGRO: true,
		HostAddrs: []string{"10.9.0.2/16", "fd09::2/64"}, WireAddrs: []string{"10.9.0.1/16", "fd09::1/64"}})
	rig.Host.Run(t, "ethtool", "-K", rig.NIC, "rxvlan", "on")
	return rig
}

// specs are two ports, one of each identity, with everything that leaves
// traces: addresses of both families, prefixes and gateways.
func specs(rig *nictest.Rig) []api.PortSpec {
	gateways := []netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("fd09::1")}
	list := []api.PortSpec{
		{Name: "a", NetNS: rig.Containers[0].Path, IPs: prefixes("10.9.1.1/16", "fd09::a/64"), Gateways: gateways},
		{Name: "m", NetNS: rig.Containers[1].Path, IPs: prefixes("10.9.1.3/32", "fd09::c/128"), Prefixes: prefixes("10.20.0.0/24"),
			Gateways: gateways, MAC: api.MAC{2, 0, 0, 0, 9, 3}},
	}
	for i := range list {
		list[i] = list[i].WithDefaults()
	}
	return list
}

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// picture is the state of every namespace that the daemon could touch.
type picture []map[string]string

func take(t *testing.T, rig *nictest.Rig) picture {
	t.Helper()
	p := picture{nictest.Snapshot(t, rig.Host)}
	for _, c := range rig.Containers {
		p = append(p, nictest.Snapshot(t, c))
	}
	return p
}

// diff is what differs, by namespace.
func diff(a, b picture) (lines []string) {
	for i := range a {
		for _, l := range nictest.Diff(a[i], b[i]) {
			lines = append(lines, fmt.Sprintf("ns %d: %s", i, l))
		}
	}
	return lines
}

// requireSame waits until everything is as in want: the kernel takes its time
// with some of it. alike leaves out what differs between two interfaces or
// programs that are otherwise the same.
func requireSame(t *testing.T, rig *nictest.Rig, what string, want picture, alike bool) {
	t.Helper()
	var lines []string
	for end := time.Now().Add(20 * time.Second); len(lines) == 0 || time.Now().Before(end); {
		is := take(t, rig)
		if lines = diff(want, is); alike {
			lines = diff(want.anonymous(), is.anonymous())
		}
		if len(lines) == 0 {
			return
		}
	}
	t.Fatalf("%s: not as it was:\n%s", what, strings.Join(lines, "\n"))
}

// anonymous is the picture without the numbers that every new interface,
// program and queueing discipline gets, and without what an interface tells of
// its past: a new TAP is UNKNOWN, one whose daemon went and came is UP.
func (p picture) anonymous() picture {
	number := regexp.MustCompile(`"handle":"[0-9a-f]+:",`)
	out := make(picture, len(p))
	for i := range p {
		out[i] = map[string]string{}
		for key, value := range p[i] {
			field := key[strings.LastIndex(key, " ")+1:]
			if field != "ifindex" && field != "xdp" && field != "operstate" {
				out[i][number.ReplaceAllString(key, "")] = value
			}
		}
	}
	return out
}

// remembered leaves both ports in the journal, detached.
func remembered(p *puppets) {
	pup := p.start()
	pup.must(order{Do: "attach"})
	pup.must(order{Do: "add", Specs: specs(p.rig)})
	pup.must(order{Do: "detach"})
	pup.leave()
}

// TestAttachFailsAtEachStep: whatever step of attach fails, the ports' included,
// the NIC, the host and the containers are as before, and no descriptor stays.
func TestAttachFailsAtEachStep(t *testing.T) {
	rig := stepsRig(t)
	p := newPuppets(t, rig)
	before := take(t, rig)
	remembered(p)
	requireSame(t, rig, "after detach", before, false)
	pup := p.start()
	pup.must(order{Do: "attach"})
	idle := pup.must(order{Do: "detach"}).Descriptors
	failures := 0
	for at := 1; ; at++ {
		o := order{Do: "attach", At: at}
		a := pup.try(o)
		if !a.failed(o) {
			pup.must(order{Do: "detach"})
			break
		}
		step := a.Steps[at-1]
		if a.Err == "" { // a port that cannot be restored does not keep the others away
			requireFailedPort(t, pup, step)
			pup.must(order{Do: "detach"})
		}
		failures++
		requireSame(t, rig, fmt.Sprintf("after failure at %q (%s)", step, a.Err), before, false)
		nictest.Eventually(t, "the descriptors to be closed after "+step, func() bool { return pup.must(order{Do: "count"}).Descriptors <= idle })
	}
	if failures < 28 {
		t.Errorf("only %d steps", failures)
	}
	requireSame(t, rig, "at the end", before, false)
}

func requireFailedPort(t *testing.T, pup *puppet, step string) {
	t.Helper()
	ports := pup.must(order{Do: "ports"}).Ports
	bad := slices.IndexFunc(ports, func(p api.Port) bool { return p.State == api.StateFailed && strings.Contains(p.Error, errStep.Error()) })
	// A failure of both ports together is tried again one by one.
	if len(ports) != 2 || (bad >= 0) != (step == "port: open") {
		t.Errorf("attach went on after %q: %+v", step, ports)
	}
}

// TestAttachFailsAfterCrash: after a crash, an attach that fails at any step
// leaves something that detach can clean up, or nothing.
func TestAttachFailsAfterCrash(t *testing.T) {
	rig := stepsRig(t)
	p := newPuppets(t, rig)
	before := take(t, rig)
	remembered(p)
	for at := 1; ; at++ {
		crashed := p.start()
		crashed.must(order{Do: "attach"})
		crashed.kill()
		pup := p.start()
		o := order{Do: "attach", At: at}
		a := pup.try(o)
		if a.Err == "" {
			pup.must(order{Do: "detach"})
		} else if c := pup.try(order{Do: "clean up"}); c.Err != "" && !strings.Contains(c.Err, "none left anything behind") {
			t.Errorf("cleaning up after a failure at %q: %s", a.Steps[at-1], c.Err)
		}
		pup.leave()
		if !a.failed(o) {
			break
		}
		requireSame(t, rig, fmt.Sprintf("after a crash, a failure at %q and a clean-up", a.Steps[at-1]), before, false)
	}
	requireSame(t, rig, "at the end", before, false)
}

// TestAttachKilledAtEachStep: a daemon that dies at any step of attach leaves
// what the next one takes over or clears, and what detach cleans up.
func TestAttachKilledAtEachStep(t *testing.T) {
	rig := stepsRig(t)
	p := newPuppets(t, rig)
	before := take(t, rig)
	remembered(p)
	whole := p.start()
	whole.must(order{Do: "attach"})
	attached := take(t, rig)
	whole.must(order{Do: "detach"})
	for at := 1; ; at++ {
		victim := p.start()
		died, _ := victim.kills(order{Do: "attach", At: at})
		if !died {
			victim.must(order{Do: "detach"})
			break
		}
		what := fmt.Sprintf("killed at step %d of attach, ", at)
		if at%2 == 0 { // every other time there is a clean-up in between
			if c := p.start().try(order{Do: "clean up"}); c.Err != "" && !strings.Contains(c.Err, "none left anything behind") {
				t.Errorf("%s: clean up: %s", what, c.Err)
			}
			requireSame(t, rig, what+"cleaned up", before, false)
		}
		heir := p.start()
		heir.must(order{Do: "attach"})
		requireReady(t, heir, what, "a", "m")
		requireSame(t, rig, what+"attached again", attached, true)
		heir.must(order{Do: "detach"})
		requireSame(t, rig, what+"attached again and detached", before, false)
	}
}

// requireReady requires that these ports exist, and no others, and all work.
func requireReady(t *testing.T, pup *puppet, what string, names ...string) {
	t.Helper()
	var have []string
	for _, p := range pup.must(order{Do: "ports"}).Ports {
		if have = append(have, p.Name); p.State != api.StateReady {
			t.Errorf("%s: port %s is %s: %s", what, p.Name, p.State, p.Error)
		}
	}
	if !slices.Equal(have, names) {
		t.Errorf("%s: ports %v, want %v", what, have, names)
	}
}

// change is an order of whose steps each one fails, or kills.
type change struct {
	order order
	ports [2][]string // before and after it
}

// portChanges are made on top of port m, in this order: each finds what the one
// before has left.
func portChanges(rig *nictest.Rig) []change {
	ips, none := prefixes("10.9.1.7/24", "fd09::77/64"), []netip.Addr{}
	other, mtu, noPrefix := []netip.Addr{netip.MustParseAddr("10.9.1.254")}, 1400, []netip.Prefix{}
	return []change{
		{order{Do: "add", Specs: specs(rig)[:1]}, [2][]string{{"m"}, {"a", "m"}}},
		{order{Do: "set", Name: "a", Patch: api.Patch{IPs: &ips, Gateways: &other, MTU: &mtu}}, [2][]string{{"a", "m"}, {"a", "m"}}},
		{order{Do: "set", Name: "m", Patch: api.Patch{Prefixes: &noPrefix, Gateways: &none}}, [2][]string{{"a", "m"}, {"a", "m"}}},
		{order{Do: "delete", Name: "a"}, [2][]string{{"a", "m"}, {"m"}}},
	}
}

// TestChangeFailsAtEachStep: an add or set that fails at any step leaves
// everything as before; a delete is carried out as far as it can be.
func TestChangeFailsAtEachStep(t *testing.T) {
	rig := stepsRig(t)
	p := newPuppets(t, rig)
	pup := p.start()
	pup.must(order{Do: "attach"})
	pup.must(order{Do: "add", Specs: specs(rig)[1:]})
	for _, c := range portChanges(rig) {
		before := take(t, rig)
		for at := 1; ; at++ {
			o := c.order
			o.At = at
			a := pup.try(o)
			if !a.failed(o) || o.Do == "delete" {
				requireReady(t, pup, o.Do, c.ports[1]...)
				break
			}
			what := fmt.Sprintf("%s %s that failed at %q", o.Do, o.Name, a.Steps[at-1])
			if !strings.Contains(a.Err, errStep.Error()) {
				t.Fatalf("%s says %q", what, a.Err)
			}
			requireReady(t, pup, what, c.ports[0]...)
			requireSame(t, rig, what, before, true)
		}
	}
	pup.must(order{Do: "detach"})
}

// TestChangeKilledAtEachStep: a daemon that dies at any step of add, set or
// delete has either not begun or is completed or undone by the next: what that
// says and what is there are the same, and nothing else is there.
func TestChangeKilledAtEachStep(t *testing.T) {
	rig := stepsRig(t)
	p := newPuppets(t, rig)
	before := take(t, rig)
	first := p.start()
	first.must(order{Do: "attach"})
	first.must(order{Do: "add", Specs: specs(rig)[1:]})
	first.leave() // a crash, too
	for _, c := range portChanges(rig) {
		killAtEachStep(t, p, c)
	}
	pup := p.start()
	pup.must(order{Do: "attach"})
	pup.must(order{Do: "detach"})
	requireSame(t, rig, "at the end", before, false)
}

// killAtEachStep kills the daemon at each step of one change and requires that
// after a fresh attach all is as before the change, or as after it. Then it
// makes the change.
func killAtEachStep(t *testing.T, p *puppets, c change) {
	states := references(t, p, c)
	for at := 1; ; at++ {
		o := c.order
		o.At = at
		victim := p.start()
		victim.must(order{Do: "attach"})
		if died, _ := victim.kills(o); !died {
			victim.leave()
			return
		}
		heir := p.start()
		heir.must(order{Do: "attach"})
		what := fmt.Sprintf("%s %s killed at step %d, attached again", o.Do, o.Name, at)
		after := isDone(heir, o)
		requireReady(t, heir, what, c.ports[after]...)
		requireSame(t, p.rig, what, states[after], true)
		undoChange(heir, p, c, after)
		heir.leave()
	}
}

// isDone says (1) that the change is made, as far as the daemon says, or (0)
// that it is not.
func isDone(pup *puppet, o order) int {
	ports := pup.must(order{Do: "ports"}).Ports
	at := slices.IndexFunc(ports, func(p api.Port) bool { return p.Name == o.Name || o.Do == "add" && p.Name == o.Specs[0].Name })
	switch {
	case at < 0:
		return map[string]int{"delete": 1}[o.Do]
	case o.Do == "set" && api.PatchBetween(ports[at].PortSpec, o.Patch.Apply(ports[at].PortSpec)).Empty():
		return 1
	}
	return map[string]int{"add": 1}[o.Do]
}

// references are pictures of before and after the change, which is undone again.
func references(t *testing.T, p *puppets, c change) (states [2]picture) {
	pup := p.start()
	pup.must(order{Do: "attach"})
	states[0] = take(t, p.rig)
	pup.must(c.order)
	states[1] = take(t, p.rig)
	undoChange(pup, p, c, 1)
	requireSame(t, p.rig, "undone "+c.order.Do, states[0], true)
	pup.leave()
	return states
}

// undoChange makes everything as before the change, if it is made.
func undoChange(pup *puppet, p *puppets, c change, made int) {
	if made == 0 {
		return
	}
	all := specs(p.rig)
	switch c.order.Do {
	case "add":
		pup.must(order{Do: "delete", Name: "a"})
	case "delete":
		pup.must(order{Do: "add", Specs: all[:1]})
		for _, other := range portChanges(p.rig) {
			if other.order.Do == "set" && other.order.Name == "a" {
				pup.must(other.order)
			}
		}
	case "set":
		was := all[slices.IndexFunc(all, func(s api.PortSpec) bool { return s.Name == c.order.Name })]
		pup.must(order{Do: "set", Name: c.order.Name, Patch: api.PatchBetween(c.order.Patch.Apply(was), was)})
	}
}
