package demux

import (
	"fmt"
	"net/netip"

	"github.com/gaissmai/bart"
)

// edit returns a copy that may be changed until it is published. Its version
// marks the pages that it made and so may still change.
func (t *Table) edit() *Table {
	c := *t
	c.version++
	c.lanes = append([]laneTable(nil), t.lanes...)
	return &c
}

// addPort enters the port's rules and lanes. On a conflict the edit is spoiled
// and must not be published.
func (t *Table) addPort(p *port, name func(slot uint32) string) error {
	if p.mac == t.nic {
		return &ConflictError{p.Name, "the NIC", macText(p.MAC)}
	}
	if err := t.addRules(p, name); err != nil {
		return err
	}
	for w := range t.lanes {
		*t.lanes[w].own(p.id.Slot, t.version) = p.lanes[w]
	}
	return nil
}

func (t *Table) addRules(p *port, name func(slot uint32) string) error {
	taken := func(v uint32, rule any) error {
		return &ConflictError{p.Name, name(v & slotMask), ruleText(rule, p.VLAN)}
	}
	if !p.ipIdentity() {
		if v := t.byMAC(p.VLAN, p.mac); v != 0 {
			return taken(v, macText(p.MAC))
		}
		t.macs.put(macKey(p.VLAN, p.mac), p.id.Slot, t.version)
	}
	if p.id.Slot == HostSlot {
		return nil // the host claims what the ports leave
	}
	for _, a := range p.Addrs {
		if v := t.rule(p.VLAN, a); v != 0 && v != p.value() {
			return taken(v, a)
		}
		t.putRule(p.VLAN, a, p.value())
	}
	return nil
}

// removePort takes the port's rules and lanes out.
func (t *Table) removePort(p *port) {
	if !p.ipIdentity() {
		t.macs.del(macKey(p.VLAN, p.mac), t.version)
	}
	for _, a := range p.Addrs {
		if t.rule(p.VLAN, a) == p.value() {
			t.putRule(p.VLAN, a, 0)
		}
	}
	for w := range t.lanes {
		*t.lanes[w].own(p.id.Slot, t.version) = laneSlot{}
	}
}

// rule returns the value of exactly this rule, or 0.
func (t *Table) rule(vlan uint16, a netip.Prefix) uint32 {
	switch {
	case !a.IsSingleIP():
		return t.prefixRule(vlan, a)
	case a.Addr().Is4():
		k := key4(vlan, number4(a.Addr()))
		return t.v4.get(hash64(k), k)
	default:
		b := a.Addr().As16()
		k := key6Of(vlan, &b)
		return t.v6.get(hash6(k), k)
	}
}

func (t *Table) prefixRule(vlan uint16, a netip.Prefix) uint32 {
	if t.prefixes == nil || t.prefixes.vlan[vlan] == nil {
		return 0
	}
	v, _ := t.prefixes.vlan[vlan].Get(a)
	return v
}

// putRule stores the value of a rule; the value 0 deletes it.
func (t *Table) putRule(vlan uint16, a netip.Prefix, val uint32) {
	switch {
	case !a.IsSingleIP():
		t.putPrefix(vlan, a, val)
	case a.Addr().Is4():
		store(&t.v4, key4(vlan, number4(a.Addr())), val, t.version)
	default:
		b := a.Addr().As16()
		store(&t.v6, key6Of(vlan, &b), val, t.version)
	}
}

func store[K comparable](m *hashmap[K], key K, val uint32, edit uint64) {
	if val == 0 {
		m.del(key, edit)
		return
	}
	m.put(key, val, edit)
}

func (t *Table) putPrefix(vlan uint16, a netip.Prefix, val uint32) {
	s := t.ownPrefixes()
	had := t.prefixRule(vlan, a) != 0
	tab := s.vlan[vlan]
	if tab == nil {
		tab = new(bart.Fast[uint32])
	}
	switch {
	case val != 0:
		s.vlan[vlan] = tab.InsertPersist(a, val)
		if !had {
			s.n++
		}
	case had:
		s.vlan[vlan] = tab.DeletePersist(a)
		s.n--
	}
	if s.n == 0 {
		t.prefixes = nil
	}
}

func (t *Table) ownPrefixes() *prefixSet {
	switch {
	case t.prefixes == nil:
		t.prefixes = &prefixSet{edit: t.version}
	case t.prefixes.edit != t.version:
		s := *t.prefixes
		s.edit = t.version
		t.prefixes = &s
	}
	return t.prefixes
}

// putHop marks an address as next hop of some port, or no longer.
func (t *Table) putHop(k hopKey, used bool) {
	var val uint32
	if used {
		val = 1
	}
	if k.addr.Is4() {
		store(&t.hops4, key4(k.vlan, number4(k.addr)), val, t.version)
		return
	}
	b := k.addr.As16()
	store(&t.hops6, key6Of(k.vlan, &b), val, t.version)
}

func ruleText(rule any, vlan uint16) string {
	if vlan == 0 {
		return fmt.Sprint(rule)
	}
	return fmt.Sprintf("%v in VLAN %d", rule, vlan)
}
