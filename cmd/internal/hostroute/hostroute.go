// Package hostroute gives the host a way to its containers: routes over the
// host port, all behind one permanent neighbour for each family, because the
// kernel's neighbour tables hold 1,024 learned entries over all namespaces.
package hostroute

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// protocol marks our routes for whoever reads `ip route`; rtnetlink(7) leaves
// the numbers above 4 to user space, and no routing daemon of iproute2's
// rt_protos, which may clear what bears its number, has this one.
const protocol = netlink.RouteProtocol(88)

// Table is the set of routes over one interface. Its methods belong to one
// goroutine at a time.
type Table struct {
	handle *netlink.Handle
	index  int
	mac    [6]byte // of the permanent neighbours
	// routes is what is installed, or, of IPv6, noted; with its preferred source.
	routes map[netip.Prefix]netip.Addr
	// ip6 says that the interface has IPv6. On a host that has switched it off
	// routes of that family are noted, and installed once it is on.
	ip6 bool
}

// Gateways are the addresses of the permanent neighbours: link-local ones, so
// that they never hide a destination. Nobody owns them; the worker that gets
// the frame looks at its IP address only.
var gateways = [2]netip.Addr{netip.AddrFrom4([4]byte{169, 254, 88, 1}), netip.MustParseAddr("fe80::58:1")}

func gateway(of netip.Addr) netip.Addr {
	if of.Is4() {
		return gateways[0]
	}
	return gateways[1]
}

// Open prepares the interface with that index: it installs the permanent
// neighbours, whose MAC is mac. They and all routes go away with the interface.
// Routes that an earlier process installed over it are in the table; see Prune.
func Open(index int, mac [6]byte) (*Table, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	t := &Table{handle: handle, index: index, routes: map[netip.Prefix]netip.Addr{}}
	if err := t.prepare(mac); err != nil {
		handle.Close()
		return nil, err
	}
	return t, nil
}

func (t *Table) prepare(mac [6]byte) error {
	t.mac = mac
	if err := t.neighbour(gateways[0]); err != nil {
		return err
	}
	if err := t.lookForIPv6(); err != nil {
		return err
	}
	return t.adopt()
}

// lookForIPv6 installs the IPv6 neighbour, and notes whether there is IPv6.
func (t *Table) lookForIPv6() error {
	err := t.neighbour(gateways[1])
	t.ip6 = err == nil
	if noIPv6(err) {
		return nil
	}
	return err
}

// noIPv6 says that a host without IPv6, or an interface on which it is switched
// off, is the reason of err.
func noIPv6(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
}

// adopt takes the routes into the table that are there.
func (t *Table) adopt() (err error) {
	filter := &netlink.Route{LinkIndex: t.index, Protocol: protocol}
	var list []netlink.Route
	for range 5 { // a listing that changed while it was read is read again
		list, err = t.handle.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("listing the routes over the host port: %w", err)
	}
	for _, r := range list {
		if r.Dst == nil {
			continue
		}
		dst, ok := netip.AddrFromSlice(r.Dst.IP)
		bits, _ := r.Dst.Mask.Size()
		src, _ := netip.AddrFromSlice(r.Src)
		if ok {
			t.routes[netip.PrefixFrom(dst.Unmap(), bits)] = src.Unmap()
		}
	}
	return nil
}

// Prune removes the routes to which keep says no.
func (t *Table) Prune(keep func(dst netip.Prefix) bool) error {
	var stale []netip.Prefix
	for dst := range t.routes {
		if !keep(dst) {
			stale = append(stale, dst)
		}
	}
	return t.Remove(stale...)
}

func (t *Table) neighbour(ip netip.Addr) error {
	err := t.handle.NeighSet(&netlink.Neigh{LinkIndex: t.index, State: netlink.NUD_PERMANENT,
		IP: ip.AsSlice(), HardwareAddr: t.mac[:]})
	if err != nil {
		return fmt.Errorf("installing the permanent neighbour %v of the host port: %w", ip, err)
	}
	return nil
}

// Set installs or replaces the routes to dst. Nothing is installed if one of
// them cannot be.
func (t *Table) Set(source SourceFunc, dst ...netip.Prefix) error {
	for i, d := range dst {
		if err := t.set(d, source(d)); err != nil {
			return errors.Join(err, t.Remove(dst[:i]...))
		}
	}
	return nil
}

// set installs or replaces one route. Its preferred source is a wish: an IPv6
// address that is still being checked for duplicates cannot be one.
func (t *Table) set(dst netip.Prefix, src netip.Addr) error {
	if dst.Addr().Is6() && !t.ip6 {
		t.routes[dst] = netip.Addr{}
		return nil
	}
	err := t.handle.RouteReplace(t.route(dst, src))
	if errors.Is(err, unix.EINVAL) && src.IsValid() {
		src = netip.Addr{}
		err = t.handle.RouteReplace(t.route(dst, src))
	}
	if err != nil && dst.Addr().Is6() && t.lookForIPv6() == nil && !t.ip6 {
		src, err = netip.Addr{}, nil // it was switched off meanwhile
	}
	if err != nil {
		return fmt.Errorf("routing %v over the host port: %w", dst, err)
	}
	t.routes[dst] = src
	return nil
}

// Remove takes routes away; one that is gone already is no error.
func (t *Table) Remove(dst ...netip.Prefix) error {
	var errs []error
	for _, d := range dst {
		src, ok := t.routes[d]
		if !ok {
			continue
		}
		delete(t.routes, d)
		if d.Addr().Is6() && !t.ip6 {
			continue
		}
		err := t.handle.RouteDel(t.route(d, src))
		if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("removing the route to %v: %w", d, err))
		}
	}
	return errors.Join(errs...)
}

// Refresh installs every route anew: the host's addresses have changed, and
// the kernel drops a route whose preferred source is gone, and all of a family
// that is switched off. A route whose source is still there keeps it, so that
// one address more or less disturbs nobody who does not use it.
func (t *Table) Refresh(source SourceFunc) error {
	errs := []error{t.lookForIPv6()}
	for d, src := range t.routes {
		if !source.has(src) {
			src = source(d)
		}
		errs = append(errs, t.set(d, src))
	}
	return errors.Join(errs...)
}

// Close lets go of the netlink socket and leaves the routes to the interface.
func (t *Table) Close() { t.handle.Close() }

func (t *Table) route(dst netip.Prefix, src netip.Addr) *netlink.Route {
	r := &netlink.Route{
		LinkIndex: t.index, Protocol: protocol, Scope: netlink.SCOPE_UNIVERSE,
		Dst:   &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), dst.Addr().BitLen())},
		Gw:    gateway(dst.Addr()).AsSlice(),
		Flags: int(netlink.FLAG_ONLINK),
	}
	if src.IsValid() {
		r.Src = src.AsSlice()
	}
	return r
}

// SourceFunc chooses the preferred source address toward a destination; the
// invalid Addr leaves the choice to the kernel.
type SourceFunc func(dst netip.Prefix) netip.Addr

// has says whether addr is one of those to choose from.
func (s SourceFunc) has(addr netip.Addr) bool {
	return addr.IsValid() && s(netip.PrefixFrom(addr, addr.BitLen())) == addr
}

// Source chooses among the addresses of the NIC: the destination itself, else
// one whose subnet holds it, else the first of its family, else none.
func Source(addrs []netip.Prefix) SourceFunc {
	return func(dst netip.Prefix) (best netip.Addr) {
		within := false
		for _, a := range addrs {
			switch {
			case a.Addr() == dst.Addr():
				return a.Addr()
			case a.Addr().Is4() != dst.Addr().Is4() || a.Addr().IsLinkLocalUnicast():
			case a.Masked().Contains(dst.Addr()) && !within:
				best, within = a.Addr(), true
			case !best.IsValid():
				best = a.Addr()
			}
		}
		return best
	}
}
