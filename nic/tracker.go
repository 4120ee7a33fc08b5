package nic

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// linkMsg is what the tracker needs of one link.
type linkMsg struct {
	index, master, mtu int
	name, kind         string
	mac, permanent     [6]byte
	ethernet           bool
	up, carrier        bool
}

// dump is all links and addresses of a namespace.
type dump struct {
	links []linkMsg
	addrs []HostAddr
}

// addrKey tells addresses apart: the same may be on several interfaces.
type addrKey struct {
	index  int
	prefix netip.Prefix
}

// tracker turns what the kernel tells into events. It knows no socket.
type tracker struct {
	ignore map[string]bool
	nic    LinkState
	// kind and permanent recognise the NIC when it returns, beside nic.Name and
	// nic.MAC.
	kind      string
	permanent [6]byte
	names     map[int]string // of all links
	addrs     map[addrKey]HostAddr
}

func newTracker(ignore []string) *tracker {
	t := &tracker{ignore: map[string]bool{}, names: map[int]string{}, addrs: map[addrKey]HostAddr{}}
	for _, name := range ignore {
		t.ignore[name] = true
	}
	return t
}

// start takes in the first dump. Afterwards nic.Present says whether the NIC was
// in it.
func (t *tracker) start(d dump, index int) {
	t.nic.Index = index
	for _, l := range d.links {
		t.names[l.index] = l.name
		if l.index == index {
			t.adopt(l)
		}
	}
	for _, a := range d.addrs {
		t.addr(a)
	}
}

// adopt makes a link the NIC.
func (t *tracker) adopt(l linkMsg) {
	t.nic, t.kind = stateOf(l), l.kind
	if l.permanent != [6]byte{} {
		t.permanent = l.permanent
	}
}

func stateOf(l linkMsg) LinkState {
	return LinkState{
		Present: true, Index: l.index, Name: l.name, MAC: l.mac, MTU: l.mtu,
		Up: l.up, Carrier: l.up && l.carrier, Master: l.master,
	}
}

// state is a copy of what is so now, the addresses in a fixed order.
func (t *tracker) state() State {
	addrs := slices.SortedFunc(maps.Values(t.addrs), func(a, b HostAddr) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Index, b.Index),
			cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return State{Link: t.nic, Addrs: addrs}
}

// link takes in that a link is so.
func (t *tracker) link(l linkMsg) []Event {
	t.names[l.index] = l.name
	switch {
	case t.nic.Present && l.index == t.nic.Index:
		return t.changed(l)
	case !t.nic.Present && t.isNIC(l):
		before := t.nic
		t.adopt(l)
		return []Event{{Kind: Returned, Link: t.nic, Before: before}}
	}
	return nil
}

// isNIC says that a link is the absent NIC come back. By MAC address only a
// link of the same kind can be, for VLANs, macvlans and TAPs of containers
// share the NIC's; TAPs not even then.
func (t *tracker) isNIC(l linkMsg) bool {
	if !l.ethernet {
		return false
	}
	if l.name == t.nic.Name {
		return true
	}
	if l.kind != t.kind || l.kind == "tun" {
		return false
	}
	none := [6]byte{}
	return (l.mac == t.nic.MAC && l.mac != none) || (l.permanent == t.permanent && l.permanent != none)
}

// changed makes an event of each difference. Bad news comes before good: down,
// then what changed meanwhile, then up.
func (t *tracker) changed(l linkMsg) []Event {
	before := t.nic
	t.adopt(l)
	now := t.nic
	var events []Event
	for _, c := range []struct {
		kind     EventKind
		happened bool
	}{
		{CarrierOff, before.Carrier && !now.Carrier},
		{Down, before.Up && !now.Up},
		{Renamed, before.Name != now.Name},
		{MACChanged, before.MAC != now.MAC},
		{MTUChanged, before.MTU != now.MTU},
		{MasterChanged, before.Master != now.Master},
		{Up, !before.Up && now.Up},
		{CarrierOn, !before.Carrier && now.Carrier},
	} {
		if c.happened {
			events = append(events, Event{Kind: c.kind, Link: now, Before: before})
		}
	}
	return events
}

// unlink takes in that a link is gone, and its addresses with it.
func (t *tracker) unlink(index int) []Event {
	var events []Event
	for _, a := range t.state().Addrs {
		if a.Index == index {
			events = append(events, t.unaddr(a)...)
		}
	}
	delete(t.names, index)
	if t.nic.Present && t.nic.Index == index {
		before := t.nic
		t.nic.Present, t.nic.Up, t.nic.Carrier, t.nic.Master = false, false, false, 0
		events = append(events, Event{Kind: Removed, Link: t.nic, Before: before})
	}
	return events
}

// addr takes in that an address is there.
func (t *tracker) addr(a HostAddr) []Event {
	a.Iface = t.names[a.Index]
	key := addrKey{a.Index, a.Prefix}
	if _, known := t.addrs[key]; known || t.ignore[a.Iface] || a.Prefix.Addr().IsLoopback() {
		return nil
	}
	t.addrs[key] = a
	return []Event{{Kind: AddrAdded, Link: t.nic, Before: t.nic, Addr: a}}
}

// unaddr takes in that an address is gone.
func (t *tracker) unaddr(a HostAddr) []Event {
	key := addrKey{a.Index, a.Prefix}
	known, ok := t.addrs[key]
	if !ok {
		return nil
	}
	delete(t.addrs, key)
	return []Event{{Kind: AddrRemoved, Link: t.nic, Before: t.nic, Addr: known}}
}

// resync takes in everything anew, after messages were lost.
func (t *tracker) resync(d dump) []Event {
	var events []Event
	links := map[int]bool{}
	for _, l := range d.links {
		links[l.index] = true
	}
	for _, index := range slices.Sorted(maps.Keys(t.names)) {
		if !links[index] {
			events = append(events, t.unlink(index)...)
		}
	}
	if t.nic.Present && !links[t.nic.Index] {
		events = append(events, t.unlink(t.nic.Index)...)
	}
	for _, l := range d.links {
		events = append(events, t.link(l)...)
	}
	events = append(events, t.resyncAddrs(d.addrs)...)
	return append(events, Event{Kind: Resynced, Link: t.nic, Before: t.nic})
}

func (t *tracker) resyncAddrs(addrs []HostAddr) []Event {
	var events []Event
	there := map[addrKey]bool{}
	for _, a := range addrs {
		there[addrKey{a.Index, a.Prefix}] = true
	}
	for _, a := range t.state().Addrs {
		if !there[addrKey{a.Index, a.Prefix}] {
			events = append(events, t.unaddr(a)...)
		}
	}
	for _, a := range addrs {
		events = append(events, t.addr(a)...)
	}
	return events
}
