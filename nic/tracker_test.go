package nic

import (
	"net/netip"
	"slices"
	"testing"
)

var (
	macA = [6]byte{2, 0, 0, 0, 0, 1}
	macB = [6]byte{2, 0, 0, 0, 0, 2}
)

// theNIC is what the tests follow; change makes another link of it.
func theNIC(change ...func(*linkMsg)) linkMsg {
	l := linkMsg{index: 5, mtu: 1500, name: "nic0", kind: "device", mac: macA, ethernet: true, up: true, carrier: true}
	for _, c := range change {
		c(&l)
	}
	return l
}

func hostAddr(index int, s string) HostAddr {
	return HostAddr{Index: index, Prefix: netip.MustParsePrefix(s)}
}

// follow starts a tracker at theNIC and a host port that is ignored.
func follow(addrs ...HostAddr) *tracker {
	t := newTracker([]string{"xdmx0"})
	t.start(dump{
		links: []linkMsg{{index: 1, name: "lo"}, theNIC(), {index: 6, name: "xdmx0", kind: "tun", ethernet: true}},
		addrs: addrs,
	}, 5)
	return t
}

func kinds(events []Event) []EventKind {
	var list []EventKind
	for _, e := range events {
		list = append(list, e.Kind)
	}
	return list
}

func expect(t *testing.T, got []Event, want ...EventKind) {
	t.Helper()
	if !slices.Equal(kinds(got), want) {
		t.Errorf("got %v, want %v", kinds(got), want)
	}
}

func TestTrackerLinkChanges(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*linkMsg)
		want   []EventKind
	}{
		"nothing":       {func(*linkMsg) {}, nil},
		"set down":      {func(l *linkMsg) { l.up, l.carrier = false, false }, []EventKind{CarrierOff, Down}},
		"down, carrier": {func(l *linkMsg) { l.up = false }, []EventKind{CarrierOff, Down}},
		"unplugged":     {func(l *linkMsg) { l.carrier = false }, []EventKind{CarrierOff}},
		"renamed":       {func(l *linkMsg) { l.name = "new0" }, []EventKind{Renamed}},
		"MAC":           {func(l *linkMsg) { l.mac = macB }, []EventKind{MACChanged}},
		"MTU":           {func(l *linkMsg) { l.mtu = 9000 }, []EventKind{MTUChanged}},
		"master":        {func(l *linkMsg) { l.master = 9 }, []EventKind{MasterChanged}},
		"at once":       {func(l *linkMsg) { l.up, l.mac, l.name = false, macB, "x" }, []EventKind{CarrierOff, Down, Renamed, MACChanged}},
		"another link":  {func(l *linkMsg) { l.index, l.mtu = 9, 100 }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			tr := follow()
			before := tr.nic
			events := tr.link(theNIC(c.change))
			expect(t, events, c.want...)
			for _, e := range events {
				if e.Before != before || e.Link != tr.nic {
					t.Errorf("%v is from %+v to %+v", e.Kind, e.Before, e.Link)
				}
			}
			if len(c.want) == 0 {
				return
			}
			back := tr.link(theNIC())
			if len(back) != len(events) {
				t.Errorf("the way back: %v", kinds(back))
			}
		})
	}
}

func TestTrackerUp(t *testing.T) {
	tr := follow()
	tr.link(theNIC(func(l *linkMsg) { l.up, l.carrier = false, false }))
	if tr.nic.Running() {
		t.Error("running while down")
	}
	expect(t, tr.link(theNIC(func(l *linkMsg) { l.carrier = false })), Up)
	expect(t, tr.link(theNIC()), CarrierOn)
	if !tr.nic.Running() {
		t.Error("not running while up with carrier")
	}
}

func TestTrackerReturns(t *testing.T) {
	for name, c := range map[string]struct {
		link linkMsg
		want bool
	}{
		"same name, new index":      {theNIC(func(l *linkMsg) { l.index = 12 }), true},
		"same index":                {theNIC(), true},
		"same name, other MAC":      {theNIC(func(l *linkMsg) { l.index, l.mac = 12, macB }), true},
		"other name, same MAC":      {theNIC(func(l *linkMsg) { l.index, l.name = 12, "eth7" }), true},
		"permanent MAC":             {theNIC(func(l *linkMsg) { l.index, l.name, l.mac, l.permanent = 12, "eth7", macB, macA }), true},
		"other name, other MAC":     {theNIC(func(l *linkMsg) { l.index, l.name, l.mac = 12, "eth7", macB }), false},
		"a VLAN with our MAC":       {theNIC(func(l *linkMsg) { l.index, l.name, l.kind = 12, "nic0.5", "vlan" }), false},
		"a TAP with our MAC":        {theNIC(func(l *linkMsg) { l.index, l.name, l.kind = 12, "c1", "tun" }), false},
		"our name, not Ethernet":    {theNIC(func(l *linkMsg) { l.index, l.ethernet = 12, false }), false},
		"another without any MAC":   {theNIC(func(l *linkMsg) { l.index, l.name, l.mac = 12, "eth7", [6]byte{} }), false},
		"our name, of another kind": {theNIC(func(l *linkMsg) { l.index, l.kind, l.mac = 12, "veth", macB }), true},
	} {
		t.Run(name, func(t *testing.T) {
			tr := follow()
			tr.link(theNIC(func(l *linkMsg) { l.permanent = macA }))
			expect(t, tr.unlink(5), Removed)
			if tr.nic.Present || tr.nic.Running() || tr.nic.Name != "nic0" {
				t.Errorf("after removal: %+v", tr.nic)
			}
			expect(t, tr.unlink(5))
			events := tr.link(c.link)
			if !c.want {
				expect(t, events)
				return
			}
			expect(t, events, Returned)
			if e := events[0]; e.Before.Present || !e.Link.Present || e.Link.Index != c.link.index {
				t.Errorf("returned from %+v to %+v", e.Before, e.Link)
			}
			expect(t, tr.link(c.link))
		})
	}
}

// A TAP that served as NIC cannot be told from a container's by its MAC.
func TestTrackerTapReturnsByNameOnly(t *testing.T) {
	tr := newTracker(nil)
	tap := theNIC(func(l *linkMsg) { l.kind = "tun" })
	tr.start(dump{links: []linkMsg{tap}}, 5)
	tr.unlink(5)
	tap.index, tap.name = 9, "c1"
	expect(t, tr.link(tap))
	tap.name = "nic0"
	expect(t, tr.link(tap), Returned)
}

func TestTrackerAddresses(t *testing.T) {
	tr := follow(hostAddr(5, "10.0.0.1/16"), hostAddr(1, "127.0.0.1/8"), hostAddr(1, "::1/128"), hostAddr(6, "10.9.9.9/32"))
	if got := tr.state().Addrs; len(got) != 1 || got[0].Prefix.String() != "10.0.0.1/16" || got[0].Iface != "nic0" {
		t.Errorf("starts with %v", got)
	}
	expect(t, tr.addr(hostAddr(5, "10.0.0.1/16"))) // told again
	events := tr.addr(hostAddr(5, "fd00::1/64"))
	expect(t, events, AddrAdded)
	if events[0].Addr.Iface != "nic0" || events[0].Addr.Prefix.String() != "fd00::1/64" {
		t.Errorf("added %+v", events[0].Addr)
	}
	expect(t, tr.addr(hostAddr(1, "10.0.0.1/16")), AddrAdded) // the same on another interface
	expect(t, tr.addr(hostAddr(6, "10.0.0.2/16")))            // on the host port
	expect(t, tr.addr(hostAddr(1, "127.0.0.2/8")))            // loopback
	expect(t, tr.unaddr(hostAddr(6, "10.0.0.2/16")))
	expect(t, tr.unaddr(hostAddr(5, "10.0.0.1/16")), AddrRemoved)
	expect(t, tr.unaddr(hostAddr(5, "10.0.0.1/16")))
	expect(t, tr.unlink(5), AddrRemoved, Removed) // the v6 one
	if got := tr.state().Addrs; len(got) != 1 || got[0].Index != 1 {
		t.Errorf("left: %v", got)
	}
}

func TestTrackerResync(t *testing.T) {
	lo, port := linkMsg{index: 1, name: "lo"}, linkMsg{index: 6, name: "xdmx0", ethernet: true}
	for name, c := range map[string]struct {
		now  dump
		want []EventKind
	}{
		"nothing new": {dump{[]linkMsg{lo, theNIC(), port}, []HostAddr{hostAddr(5, "10.0.0.1/16")}}, []EventKind{Resynced}},
		"changed":     {dump{[]linkMsg{lo, theNIC(func(l *linkMsg) { l.mtu = 9000 }), port}, []HostAddr{hostAddr(5, "10.0.0.1/16")}}, []EventKind{MTUChanged, Resynced}},
		"readdressed": {dump{[]linkMsg{lo, theNIC(), port}, []HostAddr{hostAddr(5, "10.0.0.2/16")}}, []EventKind{AddrRemoved, AddrAdded, Resynced}},
		"removed":     {dump{[]linkMsg{lo, port}, nil}, []EventKind{AddrRemoved, Removed, Resynced}},
		"replaced": {dump{[]linkMsg{lo, port, theNIC(func(l *linkMsg) { l.index = 8 })}, []HostAddr{hostAddr(8, "10.0.0.1/16")}},
			[]EventKind{AddrRemoved, Removed, Returned, AddrAdded, Resynced}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := follow(hostAddr(5, "10.0.0.1/16"))
			expect(t, tr.resync(c.now), c.want...)
			expect(t, tr.resync(c.now), Resynced) // once is enough
		})
	}
}

func TestEventKindNames(t *testing.T) {
	seen := map[string]bool{}
	for k := Up; k <= Failed; k++ {
		if seen[k.String()] || k.String() == "" {
			t.Errorf("kind %d is called %q", k, k)
		}
		seen[k.String()] = true
	}
	if got := EventKind(200).String(); got != "event 200" {
		t.Errorf("an unknown kind is called %q", got)
	}
}
