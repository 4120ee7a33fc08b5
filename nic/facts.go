package nic

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Facts is what is so about a device at one moment.
type Facts struct {
	// Name and Index are those of now.
	Name  string
	Index int
	// Kind is rtnetlink's kind of a virtual device, such as "veth", and
	// "device" for one with a driver of its own.
	Kind string
	// Driver and Bus are as "ethtool -i" tells; empty where it tells nothing.
	Driver, Bus string
	// LinkType is "ether" for Ethernet.
	LinkType string
	Loopback bool
	// MAC is the address now, PermanentMAC that of the hardware, or zero.
	MAC, PermanentMAC [6]byte
	// MTU in bytes, without the Ethernet header.
	MTU int
	// Up is the administrator's will, Carrier that a signal is there.
	Up, Carrier bool
	// Promiscuous: somebody, not necessarily us, wants every frame.
	Promiscuous bool
	// Channels are the queues in use. Attaching XDP may change them: ask again.
	Channels Channels
	// Master and MasterKind are those of the device that this one is a member
	// of, such as "br0" and "bridge"; empty if there is none.
	Master, MasterKind string
	// XDPProgram is the id of the XDP program on the device, 0 if there is none,
	// and XDPMode where it is: "native", "generic", "offload" or "several".
	XDPProgram uint32
	XDPMode    string
	// XDP is what the driver can do with XDP; nil if the kernel does not tell
	// (before Linux 6.3).
	XDP *XDPSupport
	// Features are the device's offloads by kernel name: whether each is active.
	Features map[string]bool
	// Addrs are the device's own IP addresses.
	Addrs []netip.Prefix
}

// Facts asks the kernel. A device that is gone is a *NotFoundError.
func (n *NIC) Facts() (Facts, error) {
	link, err := n.conn.linkByIndex(n.Index())
	if err != nil {
		return Facts{}, err
	}
	f := linkFacts(link)
	if err := n.master(link, &f); err != nil {
		return Facts{}, err
	}
	f.Driver, f.Bus = driver(n.conn.inet, f.Name)
	if f.Channels, err = n.conn.channels(link); err != nil {
		return Facts{}, err
	}
	features, err := n.conn.features(f.Index)
	if err != nil {
		return Facts{}, err
	}
	f.Features = active(features)
	if f.XDP, err = n.conn.xdpSupport(f.Index); err != nil {
		return Facts{}, err
	}
	f.Addrs, err = n.ownAddrs(f.Index)
	return f, err
}

// linkFacts is what one rtnetlink message tells.
func linkFacts(link netlink.Link) Facts {
	a := link.Attrs()
	f := Facts{
		Name: a.Name, Index: a.Index, Kind: link.Type(), LinkType: a.EncapType,
		Loopback: a.RawFlags&unix.IFF_LOOPBACK != 0,
		MAC:      toMAC(a.HardwareAddr), PermanentMAC: toMAC(a.PermHWAddr),
		MTU:         a.MTU,
		Up:          a.RawFlags&unix.IFF_UP != 0,
		Carrier:     a.RawFlags&unix.IFF_LOWER_UP != 0,
		Promiscuous: a.Promisc > 0,
	}
	if a.Xdp != nil && a.Xdp.Attached {
		f.XDPProgram, f.XDPMode = a.Xdp.ProgId, xdpMode(a.Xdp.AttachMode)
	}
	return f
}

// toMAC is zero for anything but an Ethernet address.
func toMAC(hw []byte) (mac [6]byte) {
	if len(hw) == len(mac) {
		copy(mac[:], hw)
	}
	return mac
}

// xdpMode names a value of IFLA_XDP_ATTACHED (linux/if_link.h).
func xdpMode(attached uint32) string {
	switch attached {
	case nl.XDP_ATTACHED_DRV:
		return "native"
	case nl.XDP_ATTACHED_SKB:
		return "generic"
	case nl.XDP_ATTACHED_HW:
		return "offload"
	}
	return "several"
}

func (n *NIC) master(link netlink.Link, f *Facts) error {
	index := link.Attrs().MasterIndex
	if index == 0 {
		return nil
	}
	m, err := n.conn.linkByIndex(index)
	if err != nil {
		return err
	}
	f.Master, f.MasterKind = m.Attrs().Name, m.Type()
	return nil
}

// driver asks over any socket of the namespace, by name: there is no newer way
// that does not go through /sys. No answer is no error: not every device has one.
func driver(fd int, name string) (driver, bus string) {
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, name)
	if err != nil {
		return "", ""
	}
	return unix.ByteSliceToString(info.Driver[:]), unix.ByteSliceToString(info.Bus_info[:])
}

func (n *NIC) ownAddrs(index int) ([]netip.Prefix, error) {
	all, err := n.conn.addrs()
	var own []netip.Prefix
	for _, a := range all {
		if a.Index == index {
			own = append(own, a.Prefix)
		}
	}
	return own, err
}

// Check says whether the device can serve as NIC: nil, an *UnfitError, or why
// it could not be asked. A foreign XDP program is no matter of this check.
func (n *NIC) Check() error {
	f, err := n.Facts()
	if err != nil {
		return err
	}
	return f.Check()
}

// Check says whether a device of which these are the facts can serve as NIC:
// nil or an *UnfitError. Membership of a VRF is no obstacle: it only chooses
// routing tables.
func (f Facts) Check() error {
	switch {
	case f.Loopback:
		return &UnfitError{Name: f.Name, Reason: UnfitLoopback}
	case f.LinkType != "ether":
		return &UnfitError{Name: f.Name, Reason: UnfitLinkType, LinkType: f.LinkType}
	case f.Master != "" && f.MasterKind != "vrf":
		return &UnfitError{Name: f.Name, Reason: UnfitMember, Master: f.Master, MasterKind: f.MasterKind}
	}
	return nil
}
