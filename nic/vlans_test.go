package nic

import (
	"maps"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestVLANsOver: whatever stands on the NIC is found, in the VLAN whose tag its
// frames bear on the wire.
func TestVLANsOver(t *testing.T) {
	const nic = 2
	got := vlansOver(map[int]stackedLink{
		1: {}, nic: {}, 3: {}, // lo, the NIC, another NIC
		4:  {nic, 7},             // nic0.7
		5:  {4, 0},               // a macvlan on it
		6:  {4, 9},               // QinQ: 9 within 7
		7:  {nic, 0},             // a macvlan on the NIC
		8:  {3, 7},               // VLAN 7 of the other NIC
		9:  {nic + 100, 5},       // below it is another namespace's
		10: {11, 3}, 11: {10, 0}, // what cannot be does not go on for ever
	}, nic)
	if want := map[int]uint16{4: 7, 5: 7, 6: 7, 7: 0}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestStackedOf: only a device that is known to stand on another one in this
// namespace does.
func TestStackedOf(t *testing.T) {
	here := netlink.LinkAttrs{ParentIndex: 2, NetNsID: -1}
	abroad := netlink.LinkAttrs{ParentIndex: 2, NetNsID: 0}
	for _, c := range []struct {
		link netlink.Link
		want stackedLink
	}{
		{&netlink.Vlan{LinkAttrs: here, VlanId: 7}, stackedLink{2, 7}},
		{&netlink.Vlan{LinkAttrs: abroad, VlanId: 7}, stackedLink{}},
		{&netlink.Macvlan{LinkAttrs: here}, stackedLink{2, 0}},
		{&netlink.Veth{LinkAttrs: here}, stackedLink{}},
		{&netlink.Device{LinkAttrs: here}, stackedLink{}},
	} {
		if got := stackedOf(c.link); got != c.want {
			t.Errorf("%T: %+v, want %+v", c.link, got, c.want)
		}
	}
}
