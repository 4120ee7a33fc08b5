package api

import (
	"net/netip"
	"slices"
)

// KindTAP is the kind of a queue that is a TAP interface in a network namespace.
const KindTAP = "tap"

// DefaultIfName is the name of a container's interface where none is given.
const DefaultIfName = "eth0"

// PortSpec is what the user says about a port: everything that is needed to
// make it again.
type PortSpec struct {
	// Name is the port's own name, unique on the NIC: a letter or digit, then
	// letters, digits and any of . _ : @ + -, at most 128 bytes.
	Name string `json:"name"`
	// Kind of the queue: tap, which is the default, or memif.
	Kind string `json:"kind,omitempty"`
	// IPs are addresses that the container owns and that its interface bears,
	// each with the length of its on-link prefix: 10.0.0.5/24 owns 10.0.0.5
	// alone and reaches 10.0.0.0/24 without a gateway.
	IPs []netip.Prefix `json:"ips,omitempty"`
	// Prefixes are owned whole: every frame to any address of theirs goes to
	// this container, as to a router. None is configured on the interface.
	Prefixes []netip.Prefix `json:"prefixes,omitempty"`
	// MAC makes the port a MAC identity, a machine of its own on the wire.
	// Without it the port is an IP identity and shares the NIC's MAC.
	MAC MAC `json:"mac,omitzero"`
	// VLAN that the port's frames are tagged with on the wire, 1 to 4094; 0 or
	// left out means untagged.
	VLAN uint16 `json:"vlan,omitempty"`
	// NetNS is the network namespace of the interface: a path, the PID of a
	// process in it, or a name under /run/netns. Empty means the daemon's own.
	// IfName is of kind tap alone; kind memif has this for an abstract socket.
	NetNS string `json:"netns,omitempty"`
	// IfName is the name of the interface in NetNS; eth0 if left out.
	IfName string `json:"ifname,omitempty"`
	// MTU of the interface in bytes, without the Ethernet header; 0 or left
	// out means that of the NIC. Kind memif takes at most 9202.
	MTU int `json:"mtu,omitempty"`
	// Depth is the length of the queue in frames; 0 or left out means the
	// kind's default. Kind memif has rings in its place.
	Depth int `json:"depth,omitempty"`
	// Gateways are the default next hops, at most one of each family. They need
	// not lie in an on-link prefix.
	Gateways []netip.Addr `json:"gateways,omitempty"`
	// NoSourceCheck lets the container send from addresses that are not its own.
	NoSourceCheck bool `json:"no_source_check,omitempty"`
	MemifSpec
}

// IPIdentity says that the port shares the NIC's MAC.
func (p *PortSpec) IPIdentity() bool { return p.MAC.IsZero() }

// Owned are all rules of the port as prefixes: each address of IPs as /32 or
// /128, then Prefixes. The slice is the caller's.
func (p *PortSpec) Owned() []netip.Prefix {
	owned := make([]netip.Prefix, 0, len(p.IPs)+len(p.Prefixes))
	for _, ip := range p.IPs {
		owned = append(owned, netip.PrefixFrom(ip.Addr(), ip.Addr().BitLen()))
	}
	return append(owned, p.Prefixes...)
}

// WithDefaults is p with the kind, and what the kind needs, filled in. MTU and
// Depth stay 0 where the daemon or the kind decides. It shares p's slices.
func (p PortSpec) WithDefaults() PortSpec {
	if p.Kind == "" {
		p.Kind = KindTAP
	}
	if p.Kind == KindTAP && p.IfName == "" && p.NetNS != "" {
		p.IfName = DefaultIfName
	}
	if p.Kind == KindMemif {
		p.MemifSpec = p.MemifSpec.withDefaults()
	}
	return p
}

// Equal says that two specs ask for the same port, after defaults. The order
// of addresses counts: the first one of a family is the preferred source.
func (p PortSpec) Equal(q PortSpec) bool {
	return p.sameDevice(q) && PatchBetween(p, q).Empty()
}

// sameDevice says that q can be made of p by a Patch, with the interface, or
// the socket and who is connected to it, kept.
func (p PortSpec) sameDevice(q PortSpec) bool {
	p, q = p.WithDefaults(), q.WithDefaults()
	return p.Name == q.Name && p.Kind == q.Kind && p.MAC == q.MAC && p.VLAN == q.VLAN &&
		p.NetNS == q.NetNS && p.IfName == q.IfName && p.MemifSpec == q.MemifSpec
}

// Clone is a copy that shares no memory with p.
func (p PortSpec) Clone() PortSpec {
	p.IPs = slices.Clone(p.IPs)
	p.Prefixes = slices.Clone(p.Prefixes)
	p.Gateways = slices.Clone(p.Gateways)
	return p
}

// PortState is how a port is.
type PortState string

// The states of a port.
const (
	// StateReady: frames flow.
	StateReady PortState = "ready"
	// StateNoNetNS: the network namespace does not exist (any more). The
	// port keeps its name and its addresses until it is deleted.
	StateNoNetNS PortState = "no_netns"
	// StateFailed: the queue could not be opened or was lost; Error says why.
	StateFailed PortState = "failed"
)

// Port is a port as it is: what was asked for, without the secret, and what came
// of it.
type Port struct {
	PortSpec
	// EffectiveMAC is the address that the container's interface bears: its
	// own, or the NIC's.
	EffectiveMAC MAC `json:"effective_mac,omitzero"`
	// EffectiveMTU is the MTU of the interface, in bytes.
	EffectiveMTU int `json:"effective_mtu,omitempty"`
	// LinkLocal is the fe80:: address that the daemon gave the port.
	LinkLocal netip.Addr `json:"link_local,omitzero"`
	// Slot is the port's number in the kernel's and the switch's tables.
	Slot uint32 `json:"slot"`
	// Generation grows each time a slot gets another port.
	Generation uint32 `json:"generation"`
	// State is ready, no_netns or failed.
	State PortState `json:"state"`
	// Error says why State is not ready, or what is wrong although it is.
	Error string `json:"error,omitempty"`
	// NetNSInode identifies the network namespace, whatever its path is by now.
	NetNSInode uint64 `json:"netns_inode,omitempty"`
	// Endpoint of a port of kind memif is what a program connects to.
	Endpoint *Endpoint `json:"endpoint,omitempty"`
	// Client is who is connected to it.
	Client *MemifClient `json:"client,omitempty"`
	// LastDisconnect says why the last client went, or was sent away.
	LastDisconnect string `json:"last_disconnect,omitempty"`
}
