package tap

import (
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Addressing is what an interface is reached by and where it sends; each field
// as in Config.
type Addressing struct {
	Addrs     []netip.Prefix
	LinkLocal netip.Addr
	Gateways  []netip.Addr
}

// prefixes are all addresses of a, the link-local one last.
func (a *Addressing) prefixes() []netip.Prefix {
	all := slices.Clone(a.Addrs)
	if a.LinkLocal.IsValid() {
		all = append(all, netip.PrefixFrom(a.LinkLocal, 64))
	}
	return all
}

// source is the address that a default route of the family of gw prefers: the
// first one of that family.
func (a *Addressing) source(gw netip.Addr) netip.Addr {
	for _, p := range a.Addrs {
		if p.Addr().Is4() == gw.Is4() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// onLink reports whether gw is in the prefix of one of the addresses.
func (a *Addressing) onLink(gw netip.Addr) bool {
	return slices.ContainsFunc(a.prefixes(), func(p netip.Prefix) bool { return p.Contains(gw) })
}

func (i *iface) addAddrs(prefixes []netip.Prefix) error {
	for _, p := range prefixes {
		if err := i.addAddr(p); err != nil {
			return err
		}
	}
	return nil
}

func (i *iface) addDefaults(a *Addressing) error {
	for _, gw := range a.Gateways {
		if err := i.addDefault(a, gw); err != nil {
			return err
		}
	}
	return nil
}

func (i *iface) addAddr(p netip.Prefix) error {
	err := i.handle.AddrReplace(i.ref(), netlinkAddr(p))
	if p.Addr().Is6() && errors.Is(err, unix.EACCES) {
		return i.explain("add the address "+p.String(), errors.New("IPv6 is disabled there"))
	}
	return i.explain("add the address "+p.String(), err)
}

func (i *iface) delAddr(p netip.Prefix) error {
	err := i.handle.AddrDel(i.ref(), netlinkAddr(p))
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return i.explain("delete the address "+p.String(), err)
}

// netlinkAddr is p as the kernel wants it: without duplicate address
// detection, which the daemon has done in its table of identities.
func netlinkAddr(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
