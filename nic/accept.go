package nic

import (
	"fmt"
	"net/netip"
)

// Accepted is what the device was told to accept beside its own address.
type Accepted struct {
	// MACs and Groups are how many different addresses are wanted.
	MACs, Groups int
	// Promiscuous and AllMulti say that it accepts every unicast or multicast
	// frame on our behalf, because there are more addresses than Config allows
	// or the device took no more. A driver without unicast filter may be
	// promiscuous besides; that is the kernel's choice and shows in Facts.
	Promiscuous, AllMulti bool
}

// AddMACs makes the device accept frames to these unicast addresses, by its
// filter or else by promiscuous mode: all of them, or after an error none.
// Addresses are counted: each AddMACs wants its RemoveMACs. While the device is
// away that is noted, and Rebind carries it out.
func (n *NIC) AddMACs(macs ...[6]byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.unicast.add(n.packet, n.index, macs); err != nil {
		return fmt.Errorf("accept frames to %d more MAC addresses: %w", len(macs), err)
	}
	return nil
}

// RemoveMACs undoes AddMACs. Addresses that were never added are ignored.
func (n *NIC) RemoveMACs(macs ...[6]byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.unicast.remove(n.packet, n.index, macs)
}

// JoinGroups makes the device accept frames to these multicast addresses, by
// its filter or else by accepting all multicast: all of them, or after an error
// none. They are counted as in AddMACs, for 10,000 addresses share fewer
// solicited-node groups.
func (n *NIC) JoinGroups(groups ...[6]byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.groups.add(n.packet, n.index, groups); err != nil {
		return fmt.Errorf("accept frames to %d more multicast groups: %w", len(groups), err)
	}
	return nil
}

// LeaveGroups undoes JoinGroups. Groups that were never joined are ignored.
func (n *NIC) LeaveGroups(groups ...[6]byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.groups.remove(n.packet, n.index, groups)
}

// Accepted tells what was added, and how the device was told.
func (n *NIC) Accepted() Accepted {
	n.mu.Lock()
	defer n.mu.Unlock()
	return Accepted{
		MACs: len(n.unicast.wanted), Groups: len(n.groups.wanted),
		Promiscuous: n.unicast.wide, AllMulti: n.groups.wide,
	}
}

// SolicitedNodeGroup is the Ethernet address of the multicast group to which
// neighbours send solicitations for an IPv6 address: one of ff02::1:ff00:0/104
// (RFC 4291, section 2.7.1) on Ethernet (RFC 2464, section 7). IPv4 addresses have
// none, and ok is false.
func SolicitedNodeGroup(addr netip.Addr) (group [6]byte, ok bool) {
	if !addr.Is6() || addr.Is4In6() {
		return group, false
	}
	a := addr.As16()
	return [6]byte{0x33, 0x33, 0xff, a[13], a[14], a[15]}, true
}
