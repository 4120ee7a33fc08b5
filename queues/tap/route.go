package tap

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Metrics of IPv6 routes, from the kernel's linux/ipv6_route.h.
const (
	metricAddrconf = 256  // of the on-link route that comes with an address
	metricUser     = 1024 // of a route that is added without a metric
)

// insist repeats a listing that changed while it was read.
func insist(list func() error) (err error) {
	for range 5 {
		if err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return err
}

// addDefault adds the default route via gw. One of ours that is there already
// is replaced; one over another interface is an error.
func (i *iface) addDefault(a *Addressing, gw netip.Addr) error {
	route := i.defaultRoute(a, gw)
	what := "add the default route via " + gw.String()
	err := i.handle.RouteAdd(route)
	if !errors.Is(err, unix.EEXIST) {
		return i.explain(what, err)
	}
	other, err := i.foreignDefault(gw)
	if err != nil {
		return i.explain(what, err)
	}
	if other != "" {
		return i.explain(what, fmt.Errorf("there is one already (%s): delete it or give no gateway", other))
	}
	return i.explain(what, i.handle.RouteReplace(route))
}

func (i *iface) delDefault(a *Addressing, gw netip.Addr) error {
	err := i.handle.RouteDel(i.defaultRoute(a, gw))
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return i.explain("delete the default route via "+gw.String(), err)
}

func (i *iface) defaultRoute(a *Addressing, gw netip.Addr) *netlink.Route {
	r := &netlink.Route{LinkIndex: i.index, Gw: gw.AsSlice(), Protocol: unix.RTPROT_STATIC}
	if src := a.source(gw); src.IsValid() {
		r.Src = src.AsSlice()
	}
	if !a.onLink(gw) {
		r.Flags = int(netlink.FLAG_ONLINK)
	}
	return r
}

// foreignDefault describes the default route of gw's family, with the metric
// of ours, that leads over another interface; empty if there is none.
func (i *iface) foreignDefault(gw netip.Addr) (string, error) {
	metric := 0
	if gw.Is6() {
		metric = metricUser
	}
	routes, err := i.routes(family(gw), 0)
	for _, r := range routes {
		if isDefault(&r) && r.Priority == metric && r.LinkIndex != i.index {
			return fmt.Sprintf("via %s on interface %d", r.Gw, r.LinkIndex), nil
		}
	}
	return "", err
}

func isDefault(r *netlink.Route) bool {
	return r.Dst == nil || prefixOf(r.Dst).Bits() == 0
}

// routes are those of the main table over one interface, or over all.
func (i *iface) routes(fam, index int) (routes []netlink.Route, err error) {
	filter, mask := &netlink.Route{LinkIndex: index, Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE
	if index != 0 {
		mask |= netlink.RT_FILTER_OIF
	}
	err = insist(func() (err error) {
		routes, err = i.handle.RouteListFiltered(fam, filter, mask)
		return err
	})
	return routes, i.explain("list the routes", err)
}

// repairRoutes puts back default routes and the on-link routes that the kernel
// made with the addresses, and returns how many.
func (i *iface) repairRoutes(a *Addressing) (added int, err error) {
	for _, fam := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		n, err := i.repairFamily(a, fam)
		if added += n; err != nil {
			return added, err
		}
	}
	return added, nil
}

func (i *iface) repairFamily(a *Addressing, fam int) (added int, err error) {
	prefixes := slices.DeleteFunc(a.prefixes(), func(p netip.Prefix) bool { return family(p.Addr()) != fam })
	gateways := slices.DeleteFunc(slices.Clone(a.Gateways), func(g netip.Addr) bool { return family(g) != fam })
	if len(prefixes)+len(gateways) == 0 {
		return 0, nil
	}
	have, err := i.routes(fam, i.index)
	if err != nil {
		return 0, err
	}
	if added, err = i.repairOnLink(prefixes, have); err != nil {
		return added, err
	}
	n, err := i.repairDefaults(a, gateways, have)
	return added + n, err
}

func (i *iface) repairOnLink(prefixes []netip.Prefix, have []netlink.Route) (added int, err error) {
	done := map[netip.Prefix]bool{}
	for _, r := range have {
		if r.Dst != nil && r.Gw == nil {
			done[prefixOf(r.Dst)] = true
		}
	}
	for _, p := range prefixes {
		if p.IsSingleIP() || done[p.Masked()] {
			continue
		}
		if err := i.addOnLink(p); err != nil {
			return added, err
		}
		done[p.Masked()] = true
		added++
	}
	return added, nil
}

// addOnLink adds the route that the kernel makes with an address.
func (i *iface) addOnLink(p netip.Prefix) error {
	route := &netlink.Route{LinkIndex: i.index, Dst: ipNet(p.Masked()), Protocol: unix.RTPROT_KERNEL}
	if p.Addr().Is4() {
		route.Scope, route.Src = netlink.SCOPE_LINK, p.Addr().AsSlice()
	} else {
		route.Priority = metricAddrconf
	}
	return i.explain("add the route to "+p.Masked().String(), i.handle.RouteReplace(route))
}

// repairDefaults leaves the default routes over other interfaces alone: they
// are the administrator's choice. A route of ours may have lost but its source,
// which IPv6 forgets with the address.
func (i *iface) repairDefaults(a *Addressing, gateways []netip.Addr, have []netlink.Route) (added int, err error) {
	for _, gw := range gateways {
		src := a.source(gw).AsSlice()
		there := func(r netlink.Route) bool {
			return isDefault(&r) && r.Gw.Equal(gw.AsSlice()) && r.Src.Equal(src)
		}
		if slices.ContainsFunc(have, there) {
			continue
		}
		if other, err := i.foreignDefault(gw); err != nil || other != "" {
			return added, err
		}
		if err := i.addDefault(a, gw); err != nil {
			return added, err
		}
		added++
	}
	return added, nil
}
