package nic

import "github.com/vishvananda/netlink"

// VLANs are the interfaces that stand on the NIC, directly or on one another, by
// index, and the VLAN of the NIC in which each is; 0 is none, as of a macvlan.
// An interface in a VLAN within a VLAN is in the outer one.
func (n *NIC) VLANs() (map[int]uint16, error) {
	links, err := n.conn.links()
	if err != nil {
		return nil, err
	}
	stacked := make(map[int]stackedLink, len(links))
	for _, l := range links {
		stacked[l.Attrs().Index] = stackedOf(l)
	}
	return vlansOver(stacked, n.Index()), nil
}

// stackedLink is an interface with the index of the one below it, 0 for none, and
// its own tag.
type stackedLink struct {
	below int
	vlan  uint16
}

// stackedOf is where a link stands. IFLA_LINK means another thing with every kind
// of device, such as the peer of a veth; what is below may be in another
// namespace, where its index means nothing here.
func stackedOf(l netlink.Link) stackedLink {
	a := l.Attrs()
	if a.NetNsID >= 0 {
		return stackedLink{}
	}
	switch v := l.(type) {
	case *netlink.Vlan:
		return stackedLink{below: a.ParentIndex, vlan: uint16(v.VlanId)}
	case *netlink.Macvlan, *netlink.Macvtap, *netlink.IPVlan, *netlink.IPVtap:
		return stackedLink{below: a.ParentIndex}
	}
	return stackedLink{}
}

// maxStack is how many interfaces above one another are followed; the kernel
// allows eight (MAX_NEST_DEV).
const maxStack = 8

func vlansOver(links map[int]stackedLink, nic int) map[int]uint16 {
	vlans := map[int]uint16{}
	for index := range links {
		at, vlan := index, uint16(0)
		for range maxStack {
			if at == nic || at == 0 {
				break
			}
			if tag := links[at].vlan; tag != 0 {
				vlan = tag
			}
			at = links[at].below
		}
		if at == nic && index != nic {
			vlans[index] = vlan
		}
	}
	return vlans
}
