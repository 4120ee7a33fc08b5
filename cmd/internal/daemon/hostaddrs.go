package daemon

import (
	"fmt"
	"net/netip"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/identity"
)

// hostAddrs are the addresses of all interfaces of the host's namespace, which no
// port may have. Of IPv6 link-local ones, which belong to one link each, those of
// the NIC and its VLANs only.
func (d *Daemon) hostAddrs() ([]identity.HostAddr, error) {
	all, err := d.nic.HostAddrs(d.ownInterfaces()...)
	if err != nil {
		return nil, fmt.Errorf("reading the host's addresses: %w", err)
	}
	vlans, err := d.nic.VLANs()
	if err != nil {
		return nil, fmt.Errorf("reading the host's addresses: %w", err)
	}
	var addrs []identity.HostAddr
	for _, a := range all {
		vlan, stacked := vlans[a.Index]
		addr := a.Prefix.Addr().Unmap()
		if addr.Is6() && addr.IsLinkLocalUnicast() && !stacked && a.Index != d.facts.Index {
			continue
		}
		addrs = append(addrs, identity.HostAddr{VLAN: vlan, Addr: addr})
	}
	return addrs, nil
}

// callable are the addresses by which a container may call the host.
func callable(addrs []identity.HostAddr) (list []netip.Addr) {
	for _, a := range addrs {
		if !a.Addr.IsLinkLocalUnicast() {
			list = append(list, a.Addr)
		}
	}
	return list
}

// findClashes looks for ports that own an address which the host has got since,
// and tells of those that are new. They keep it: frames from the wire go to the
// port, and the host's own go nowhere.
func (d *Daemon) findClashes() {
	was := d.clashes
	d.clashes = map[string]string{}
	for name, addr := range d.reg.Clashes() {
		d.clashes[name] = fmt.Sprintf("the host has got %v as well; take it off one of them", addr)
		if was[name] != d.clashes[name] {
			d.notice("port %s: %s", name, d.clashes[name])
		}
	}
	for name, p := range d.ports {
		if _, clashed := was[name]; p.state == api.StateReady && (clashed || d.clashes[name] != "") {
			p.fault = d.clashes[name]
		}
	}
}
