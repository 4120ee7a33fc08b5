package demux

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
)

// The slots that are no container.
const (
	// WireSlot is the wire: no port.
	WireSlot = 0
	// HostSlot is the host port.
	HostSlot = 1
	// FirstSlot is the first that a container may get.
	FirstSlot = 2
	// MaxSlot is the last.
	MaxSlot = 65535
)

// ethHeader is the length of an untagged Ethernet header in bytes, vlanTag
// that of an IEEE 802.1Q tag.
const (
	ethHeader = 14
	vlanTag   = 4
)

// PortID names a port for as long as it lives: a slot, and which of the
// ports that had this slot one after the other. The zero PortID names none.
type PortID struct {
	Slot uint32 // 1 to MaxSlot
	Gen  uint32 // from 1, grows each time the slot is given away again
}

// Token is the PortID in the 32 bits that a Waiter hands through: the slot in
// the upper half, the lower 16 bits of the generation in the other.
func (id PortID) Token() uint32 { return id.Slot<<16 | id.Gen&0xffff }

// PortConfig is a container's place on the switch. Slices are copied.
type PortConfig struct {
	// Name is for messages only; the switch does not require it unique.
	Name string
	// MAC is the port's own address (a MAC identity). Zero makes an IP
	// identity: the port shares the NIC's MAC and is told by its addresses.
	MAC [6]byte
	// VLAN is the port's network, 1 to 4094; 0 is the untagged one. The port
	// itself sends and receives untagged frames.
	VLAN uint16
	// Addrs are the addresses that the port owns: /32 and /128 exact, others
	// as prefixes, of which the longest match decides.
	Addrs []netip.Prefix
	// NextHops are the gateways that the port uses. What it sends to the MAC
	// of one of them, and is for a local port, does not touch the wire.
	NextHops []netip.Addr
	// MTU is the largest IP packet in bytes that may be delivered; 0 = 1500.
	MTU int
	// Lanes has one Lane per worker. A worker without its own (nil) hands its
	// frames to one that has a lane; at least one is not nil. Each non-nil
	// Lane is used by its own worker, and by its slow lane's thread.
	Lanes []Lane
	// Foreign says that Deliver runs somebody else's code on our core, as
	// writing to a TAP does: its time is charged, and a port over its budget
	// moves to a slow lane.
	Foreign bool
	// NoSourceCheck trusts what the port sends.
	NoSourceCheck bool
}

// A ConfigError says which field of a configuration cannot be, and why.
type ConfigError struct {
	Port  string // the port's name; empty where it is not about a port
	Field string
	Value any
	Why   string
}

func (e *ConfigError) Error() string {
	if e.Port == "" {
		return fmt.Sprintf("demux: %s %v: %s", e.Field, e.Value, e.Why)
	}
	return fmt.Sprintf("demux: port %s: %s %v: %s", e.Port, e.Field, e.Value, e.Why)
}

// A ConflictError says that a rule of Port is already Other's.
type ConflictError struct {
	Port, Other string
	Rule        string // the MAC, address or prefix, with its VLAN
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("demux: port %s: %s belongs to %s", e.Port, e.Rule, e.Other)
}

// The errors without particulars.
var (
	// ErrNoPort: no port with this PortID; it may have been detached.
	ErrNoPort = errors.New("demux: no such port")
	// ErrTooMany: the switch has as many ports as Config.MaxPorts.
	ErrTooMany = errors.New("demux: port limit reached")
)

// port is what the control side keeps of a port. Workers read it; nothing in
// it changes after it was published, save what it points to.
type port struct {
	PortConfig
	id     PortID
	mac    uint64 // 0 for an IP identity
	maxLen uint32 // largest frame in bytes, header included
	first4 uint32 // an exact IPv4 address of the port, 0 = none
	hops   []*nextHop
	lanes  []laneSlot // per worker
	books  *ledger
}

// ipIdentity tells whether the port shares the NIC's MAC.
func (p *port) ipIdentity() bool { return p.mac == 0 }

// value is what the address tables store for the port.
func (p *port) value() uint32 {
	if p.ipIdentity() || p.id.Slot == HostSlot {
		return p.id.Slot
	}
	return p.id.Slot | ownMAC
}

// ownMAC in a table's value says that the owner is a MAC identity, whose
// addresses do not match frames to the NIC's MAC.
const (
	ownMAC   = 1 << 16
	slotMask = ownMAC - 1
)

func newPort(cfg PortConfig, workers int) (*port, error) {
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
	if err := cfg.validate(workers); err != nil {
		return nil, err
	}
	p := &port{PortConfig: cfg, mac: macOf(cfg.MAC), maxLen: uint32(cfg.MTU + ethHeader)}
	p.Addrs = append([]netip.Prefix(nil), cfg.Addrs...)
	p.NextHops = append([]netip.Addr(nil), cfg.NextHops...)
	p.Lanes = append([]Lane(nil), cfg.Lanes...)
	for i, a := range p.Addrs {
		p.Addrs[i] = a.Masked()
		if a.Addr().Is4() && a.IsSingleIP() {
			p.first4 = number4(a.Addr())
		}
	}
	return p, nil
}

func (c *PortConfig) validate(workers int) error {
	bad := func(field string, value any, why string) error {
		return &ConfigError{c.Name, field, value, why}
	}
	switch {
	case multicast(macOf(c.MAC)):
		return bad("MAC", macText(c.MAC), "is a group address")
	case c.VLAN > 4094:
		return bad("VLAN", c.VLAN, "is above 4094")
	case c.MTU < 68 || c.MTU > 65535:
		return bad("MTU", c.MTU, "is not within 68 and 65535")
	case len(c.Lanes) != workers:
		return bad("lanes", len(c.Lanes), fmt.Sprintf("are not one per worker (%d)", workers))
	case !c.anyLane():
		return bad("lanes", len(c.Lanes), "are all nil")
	case macOf(c.MAC) == 0 && len(c.Addrs) == 0:
		return bad("addresses", "[]", "an identity needs a MAC or an address")
	}
	return c.validateAddrs(bad)
}

func (c *PortConfig) validateAddrs(bad func(string, any, string) error) error {
	for _, a := range c.Addrs {
		switch ip := a.Addr(); {
		case !a.IsValid():
			return bad("address", a, "is not valid")
		case ip.Is4In6() || ip.Zone() != "":
			return bad("address", a, "is mapped or has a zone")
		case ip.IsMulticast():
			return bad("address", a, "is a multicast address")
		case a.Masked().Addr().IsUnspecified():
			return bad("address", a, "is unspecified")
		case nobodys(a):
			return bad("address", a, "holds loopback, multicast or broadcast addresses")
		}
	}
	for _, h := range c.NextHops {
		if !h.IsValid() || h.IsMulticast() || h.IsUnspecified() || h.Is4In6() || h.Zone() != "" {
			return bad("next hop", h, "is no unicast address")
		}
	}
	return nil
}

// nobodys tells whether a holds an address that is no one's to send from.
func nobodys(a netip.Prefix) bool {
	for _, n := range []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{224}), 4),
		netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), 32),
		netip.PrefixFrom(netip.IPv6Loopback(), 128),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0xff}), 8),
	} {
		if a.Overlaps(n) {
			return true
		}
	}
	return false
}

func (c *PortConfig) anyLane() bool {
	for _, l := range c.Lanes {
		if l != nil {
			return true
		}
	}
	return false
}

func macText(m [6]byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// sameLane compares two lanes, also such as cannot be compared.
func sameLane(a, b Lane) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return reflect.TypeOf(a).Comparable() && reflect.TypeOf(b).Comparable() && a == b
}
