// Package identity says what makes a port the port it is: the addresses and
// the MAC that select it, and that no two ports may share.
package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// Identity is the rules that select a port.
type Identity struct {
	// VLAN is the tag on the wire, 0 for none.
	VLAN uint16
	// MAC is the port's own address, which makes it a MAC identity; zero makes
	// it an IP identity, which shares the NIC's.
	MAC api.MAC
	// Addrs are single addresses, each with the length of its on-link prefix.
	Addrs []netip.Prefix
	// Prefixes are owned as a whole.
	Prefixes []netip.Prefix
	// LinkLocal is the port's IPv6 link-local address, invalid where the port
	// has no IPv6. The daemon gives it, since stacks that share a MAC would
	// make the same one.
	LinkLocal netip.Addr
}

// Of is the identity that a port's spec asks for, with its link-local address.
// It shares the spec's slices.
func Of(spec api.PortSpec) Identity {
	id := Identity{VLAN: spec.VLAN, MAC: spec.MAC, Addrs: spec.IPs, Prefixes: spec.Prefixes}
	if first, ok := id.firstIPv6(); ok {
		id.LinkLocal = linkLocal(id.VLAN, id.MAC, first)
	}
	return id
}

// IsMAC tells a MAC identity from an IP identity.
func (id Identity) IsMAC() bool { return !id.MAC.IsZero() }

// Owned lists every address and prefix that selects the port, link-local
// included, a single address as /32 or /128.
func (id Identity) Owned() []netip.Prefix {
	owned := make([]netip.Prefix, 0, len(id.Addrs)+len(id.Prefixes)+1)
	for _, a := range id.Addrs {
		owned = append(owned, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
	}
	for _, p := range id.Prefixes {
		owned = append(owned, p.Masked())
	}
	if id.LinkLocal.IsValid() {
		owned = append(owned, netip.PrefixFrom(id.LinkLocal, 128))
	}
	return owned
}

// Asker is the address of the family of other that the port speaks with.
func (id Identity) Asker(other netip.Addr) (netip.Addr, bool) {
	if other.IsLinkLocalUnicast() && other.Is6() {
		return id.LinkLocal, id.LinkLocal.IsValid()
	}
	for _, a := range id.Addrs {
		if a.Addr().Is4() == other.Is4() {
			return a.Addr(), true
		}
	}
	return netip.Addr{}, false
}

func (id Identity) firstIPv6() (netip.Addr, bool) {
	for _, list := range [][]netip.Prefix{id.Addrs, id.Prefixes} {
		for _, p := range list {
			if p.Addr().Is6() {
				return p.Addr(), true
			}
		}
	}
	return netip.Addr{}, false
}

// linkLocal derives fe80::/64 with an interface identifier that is the
// modified EUI-64 of the port's own MAC (RFC 4291, appendix A), or, where the
// MAC is shared, 64 bits hashed from what is unique on the link: the port's
// first IPv6 address and VLAN (in the manner of RFC 7217).
func linkLocal(vlan uint16, mac api.MAC, first netip.Addr) netip.Addr {
	a := [16]byte{0: 0xfe, 1: 0x80}
	if !mac.IsZero() {
		copy(a[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
		return netip.AddrFrom16(a)
	}
	seed := binary.BigEndian.AppendUint16(first.AsSlice(), vlan)
	sum := sha256.Sum256(seed)
	copy(a[8:], sum[:8])
	return netip.AddrFrom16(a)
}
