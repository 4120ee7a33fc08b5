package api

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// ParseIP reads an address with the length of its on-link prefix.
func ParseIP(s string) (netip.Prefix, error) {
	p, err := parseCIDR(s)
	if err != nil {
		return p, err
	}
	return p, CheckIP(p)
}

// ParsePrefix reads a prefix that is to be owned whole.
func ParsePrefix(s string) (netip.Prefix, error) {
	p, err := parseCIDR(s)
	if err != nil {
		return p, err
	}
	return p, CheckPrefix(p)
}

func parseCIDR(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, usage("write it as 10.0.0.5/24 or 2001:db8::5/64", "address %q: this is no CIDR", s)
	}
	return p, nil
}

// ParseGateway reads the address of a next hop.
func ParseGateway(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return addr, usage("write it as 10.0.0.1 or 2001:db8::1", "gateway %q: this is no address", s)
	}
	return addr, checkGateway(addr)
}

// CheckIP says whether a container may bear this address: a unicast one that is
// neither the network's nor the broadcast address of its on-link prefix.
func CheckIP(p netip.Prefix) error {
	const hint = "give a unicast address with the length of its on-link prefix, as 10.0.0.5/24"
	if !p.IsValid() {
		return usage(hint, "address: it is missing or no CIDR")
	}
	if why := notUnicast(p.Addr()); why != "" {
		return usage(hint, "address %v: %s", p, why)
	}
	if p.Addr().IsLinkLocalUnicast() && p.Addr().Is6() {
		return usage("leave it out: each port gets its own", "address %v: link-local addresses are given by the daemon", p)
	}
	if p.Bits() >= p.Addr().BitLen()-1 {
		return nil // /32 and /128; and /31 (RFC 3021) and /127 (RFC 6164), where both are hosts
	}
	if p == p.Masked() {
		return usage("give --prefix (prefixes) to own it whole, or an address in it as --ip",
			"address %v: it names the network, not a host in it", p)
	}
	if p.Addr().Is4() && p.Addr() == broadcast(p) {
		return usage(hint, "address %v: it is the broadcast address of its network", p)
	}
	return nil
}

// notUnicast says why no host may bear addr; "" if one may.
func notUnicast(addr netip.Addr) string {
	switch {
	case addr.Zone() != "":
		return "it holds a zone"
	case addr.Is4In6():
		return "it is an IPv4 address in IPv6 clothes"
	case addr.IsUnspecified():
		return "it is the unspecified address"
	case addr.IsMulticast():
		return "it is a multicast address"
	case addr.IsLoopback():
		return "it is a loopback address"
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "it is the broadcast address"
	case addr.Is4() && addr.As4()[0] == 0:
		return "it means this network (RFC 791)"
	}
	return ""
}

func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	n := binary.BigEndian.Uint32(b[:]) | ^uint32(0)>>p.Bits()
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// forbidden are the ranges that no owned prefix may touch, and what they hold.
func forbidden() [][2]string {
	return [][2]string{
		{"0.0.0.0/8", "addresses of this network (RFC 791)"},
		{"127.0.0.0/8", "loopback addresses"},
		{"224.0.0.0/4", "multicast addresses"},
		{"255.255.255.255/32", "the broadcast address"},
		{"::/127", "the unspecified and the loopback address"},
		{"::ffff:0:0/96", "IPv4 addresses in IPv6 clothes"},
		{"fe80::/10", "link-local addresses, which the daemon gives"},
		{"ff00::/8", "multicast addresses"},
	}
}

// CheckPrefix says whether a container may own this prefix whole.
func CheckPrefix(p netip.Prefix) error {
	if !p.IsValid() {
		return usage("write it as 10.1.0.0/24", "prefix: it is missing or no CIDR")
	}
	if p != p.Masked() {
		return usage("give "+p.Masked().String()+", or the address as --ip (ips)",
			"prefix %v: it has host bits set", p)
	}
	for _, bad := range forbidden() {
		if p.Overlaps(netip.MustParsePrefix(bad[0])) {
			return usage("give a prefix of unicast addresses", "prefix %v: it holds %s", p, bad[1])
		}
	}
	return nil
}

func (p *PortSpec) checkAddresses() error {
	const hint = "give an address as --ip (ips), or a prefix as --prefix (prefixes)"
	switch n := len(p.IPs) + len(p.Prefixes); {
	case n == 0:
		return usage(hint, "identity: it owns no address")
	case n > MaxOwned:
		return usage("own them as fewer prefixes", "identity: %d addresses and prefixes are more than %d", n, MaxOwned)
	}
	seen := make(map[netip.Addr]bool, len(p.IPs))
	for _, ip := range p.IPs {
		if err := CheckIP(ip); err != nil {
			return err
		}
		if seen[ip.Addr()] {
			return usage("name each address once", "address %v: it is there twice", ip.Addr())
		}
		seen[ip.Addr()] = true
	}
	return nil
}

func (p *PortSpec) checkPrefixes() error {
	for i, prefix := range p.Prefixes {
		if err := CheckPrefix(prefix); err != nil {
			return err
		}
		if j := slices.IndexFunc(p.Prefixes[:i], prefix.Overlaps); j >= 0 {
			return usage("name the shorter one alone", "prefix %v: it overlaps %v", prefix, p.Prefixes[j])
		}
		if slices.ContainsFunc(p.IPs, func(ip netip.Prefix) bool { return prefix.IsSingleIP() && ip.Addr() == prefix.Addr() }) {
			return usage("name each address once", "prefix %v: it is among the addresses, too", prefix)
		}
	}
	return nil
}

func checkGateway(addr netip.Addr) error {
	if !addr.IsValid() {
		return usage("write it as 10.0.0.1", "gateway: it is missing or no address")
	}
	if why := notUnicast(addr); why != "" {
		return usage("give the unicast address of the next hop", "gateway %v: %s", addr, why)
	}
	return nil
}

func (p *PortSpec) checkGateways() error {
	var have [2]bool // a gateway of IPv4, of IPv6
	for _, gw := range p.Gateways {
		if err := checkGateway(gw); err != nil {
			return err
		}
		same := func(owned netip.Prefix) bool { return owned.Addr().Is4() == gw.Is4() }
		switch family := b2i(gw.Is6()); {
		case have[family]:
			return usage("give at most one of each family", "gateway %v: there is another one of its family", gw)
		case !slices.ContainsFunc(p.Owned(), same):
			return usage("give an address of the same family, too", "gateway %v: the port has no address of its family", gw)
		default:
			have[family] = true
		}
		if slices.ContainsFunc(p.Owned(), func(owned netip.Prefix) bool { return owned.Contains(gw) }) {
			return usage("give the address of the router", "gateway %v: it is the port's own address", gw)
		}
	}
	return nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
