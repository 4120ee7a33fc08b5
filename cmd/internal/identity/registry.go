package identity

import (
	"maps"
	"net/netip"

	"github.com/gaissmai/bart"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// Registry knows who owns what, so that no two ports own the same. Its methods
// belong to one goroutine at a time.
type Registry struct {
	names map[string]Identity
	macs  map[vlanMAC]string
	addrs map[uint16]*bart.Table[string]

	host     map[HostAddr]bool  // the host's addresses
	reserved map[api.MAC]string // MACs that are somebody's already, and whose
}

type vlanMAC struct {
	vlan uint16
	mac  api.MAC
}

// NewRegistry returns a Registry in which nothing is owned.
func NewRegistry() *Registry {
	return &Registry{names: map[string]Identity{}, macs: map[vlanMAC]string{}, addrs: map[uint16]*bart.Table[string]{}}
}

// Clone is a Registry in which to try what would conflict; r does not notice.
func (r *Registry) Clone() *Registry {
	c := &Registry{names: maps.Clone(r.names), macs: maps.Clone(r.macs), addrs: make(map[uint16]*bart.Table[string], len(r.addrs)),
		host: r.host, reserved: r.reserved}
	for vlan, t := range r.addrs {
		c.addrs[vlan] = t.Clone()
	}
	return c
}

// HostAddr is an address of the host, and the VLAN of the NIC in which the host
// has it; 0 is none. It answers for all of its addresses to who asks untagged.
type HostAddr struct {
	VLAN uint16
	Addr netip.Addr
}

// collides says that a prefix in that VLAN holds the address, in a VLAN in which
// the host answers for it.
func (h HostAddr) collides(vlan uint16, p netip.Prefix) bool {
	return (vlan == 0 || vlan == h.VLAN) && p.Contains(h.Addr)
}

// SetHost says which addresses and MACs are the host's own. Ports that own one
// of them by now keep it, see Clashes; Claim refuses them from here on.
func (r *Registry) SetHost(addrs []HostAddr, macs map[api.MAC]string) {
	r.host = make(map[HostAddr]bool, len(addrs))
	for _, a := range addrs {
		r.host[a] = true
	}
	r.reserved = macs
}

// Clashes are the ports that own an address which the host has as well, and one
// such address of each.
func (r *Registry) Clashes() map[string]netip.Addr {
	clashes := map[string]netip.Addr{}
	for a := range r.host {
		for _, vlan := range []uint16{0, a.VLAN} {
			name, _, ok := r.Owner(vlan, a.Addr)
			if was, known := clashes[name]; ok && (!known || a.Addr.Less(was)) {
				clashes[name] = a.Addr
			}
		}
	}
	return clashes
}

// Claim makes the port called name the owner of id, or returns a
// *api.Error with CodeConflict and changes nothing. A port that exists gives up what it
// owned before for id.
func (r *Registry) Claim(name string, id Identity) error {
	old, known := r.names[name]
	if known {
		r.Release(name)
	}
	if err := r.check(name, id); err != nil {
		if known {
			r.record(name, old)
		}
		return err
	}
	r.record(name, id)
	return nil
}

// Release gives up what the port owns; one that is not known is no error.
func (r *Registry) Release(name string) {
	id, ok := r.names[name]
	if !ok {
		return
	}
	delete(r.names, name)
	if id.IsMAC() {
		delete(r.macs, vlanMAC{id.VLAN, id.MAC})
	}
	for _, p := range id.Owned() {
		r.table(id.VLAN).Delete(p)
	}
}

// Owner names the port that owns addr in that VLAN.
func (r *Registry) Owner(vlan uint16, addr netip.Addr) (name string, id Identity, ok bool) {
	t := r.addrs[vlan]
	if t == nil {
		return "", Identity{}, false
	}
	name, ok = t.Lookup(addr)
	return name, r.names[name], ok
}

// Has tells whether a port of that name exists.
func (r *Registry) Has(name string) bool { _, ok := r.names[name]; return ok }

// Host tells whether addr is one of the host's own, untagged.
func (r *Registry) Host(addr netip.Addr) bool { return r.host[HostAddr{Addr: addr}] }

func (r *Registry) record(name string, id Identity) {
	r.names[name] = id
	if id.IsMAC() {
		r.macs[vlanMAC{id.VLAN, id.MAC}] = name
	}
	for _, p := range id.Owned() {
		r.table(id.VLAN).Insert(p, name)
	}
}

func (r *Registry) table(vlan uint16) *bart.Table[string] {
	t := r.addrs[vlan]
	if t == nil {
		t = new(bart.Table[string])
		r.addrs[vlan] = t
	}
	return t
}

func (r *Registry) check(name string, id Identity) error {
	if err := r.checkMAC(name, id); err != nil {
		return err
	}
	for _, p := range id.Owned() {
		if err := r.checkPrefix(name, id.VLAN, p); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) checkMAC(name string, id Identity) error {
	if !id.IsMAC() {
		return nil
	}
	if whose, ok := r.reserved[id.MAC]; ok {
		return conflict(name, "the MAC "+id.MAC.String(), whose, "leave --mac away to share the NIC's, or choose another")
	}
	if owner, ok := r.macs[vlanMAC{id.VLAN, id.MAC}]; ok {
		return conflict(name, "the MAC "+id.MAC.String(), "port "+owner, "choose another")
	}
	return nil
}

func (r *Registry) checkPrefix(name string, vlan uint16, p netip.Prefix) error {
	for a := range r.host {
		if a.collides(vlan, p) {
			return conflict(name, p.String(), "the host, which has "+a.Addr.String(), "choose what the host does not use")
		}
	}
	t := r.table(vlan)
	if !t.OverlapsPrefix(p) {
		return nil
	}
	return conflict(name, p.String(), "port "+overlapping(t, p), "choose another, or delete that port first")
}

func conflict(port, what, owner, advice string) error {
	return api.Errorf(api.CodeConflict, "port %s: %s belongs to %s", port, what, owner).WithHint(advice)
}

// overlapping names one owner of a part of p.
func overlapping(t *bart.Table[string], p netip.Prefix) string {
	if owner, ok := t.Lookup(p.Addr()); ok {
		return owner
	}
	for _, owner := range t.Subnets(p) {
		return owner
	}
	return "(unknown)"
}
