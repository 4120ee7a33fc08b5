package demux

import (
	"slices"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/demux/internal/packet"
)

// act is what becomes of a frame.
type act uint8

const (
	actDrop    act = iota // it is lost, for verdict.reason
	actPort               // it is for the port in verdict.slot, also the host port
	actWire               // it leaves by the NIC
	actAnswer             // the switch answers it with verdict.mac
	actSwallow            // what it asks for is done already
)

// verdict is what the table says about one frame.
type verdict struct {
	act    act
	reason Reason
	slot   uint32
	mac    uint64 // of actAnswer: the owner's; of actPort: the new destination, or 0
}

func dropped(r Reason) verdict { return verdict{act: actDrop, reason: r} }

func toPort(slot uint32) verdict { return verdict{act: actPort, slot: slot} }

// owner returns the value of the IP address that the frame is for: of ARP, the
// target protocol address.
func (t *Table) owner(vlan uint16, h *packet.Header) uint32 {
	switch h.Kind {
	case packet.KindIPv4, packet.KindARP:
		return t.owner4(vlan, h.DstIP4)
	case packet.KindIPv6:
		return t.owner6(vlan, &h.DstIP6)
	}
	return 0
}

// portOf is the port that a table's value names.
func (t *Table) portOf(v uint32) *port { return t.lanes[0].at(v & slotMask).p }

// hinted returns the slot that the kernel found, if the hint is not older than
// this snapshot's port in that slot.
func (t *Table) hinted(m *frame.Meta) uint32 {
	if m.Hint < FirstSlot {
		return 0
	}
	if l := t.lanes[0].find(m.Hint); l != nil && l.p.id.Gen == m.Gen {
		return m.Hint
	}
	return 0
}

// fromWire judges a frame that came from the wire. Its tag is off, in m; it was
// parsed whole if it is ARP or Neighbour Discovery.
//
// The wire is not to be trusted, but nor can it be checked: a frame with the
// source address of a port here may be one that a router sent back, so it is
// delivered like any other. What is certain is the table itself: nobody out
// there has an address that is ours, whatever ARP and Neighbour Discovery say.
func (t *Table) fromWire(h *packet.Header, m *frame.Meta) verdict {
	switch {
	case h.Kind == packet.KindARP:
		return t.arpFromWire(h, m.VLAN)
	case h.ND != packet.NDNone:
		return t.discoveryFromWire(h, m.VLAN)
	}
	if slot := t.hinted(m); slot != 0 && !loopback(h) {
		return toPort(slot)
	}
	return t.unicastFromWire(h, m.VLAN)
}

// unicastFromWire finds the port of a frame by MAC or, under the NIC's MAC, by
// the address of an IP identity.
func (t *Table) unicastFromWire(h *packet.Header, vlan uint16) verdict {
	var v uint32
	if dst := macOf(h.Dst); dst != t.nic {
		if v = t.byMAC(vlan, dst); v >= FirstSlot && loopback(h) {
			return dropped(NotAllowed)
		}
	} else if v = t.owner(vlan, h); v&ownMAC != 0 {
		v = 0
	}
	if v < FirstSlot {
		return dropped(NoPort)
	}
	return toPort(v)
}

// arpFromWire answers a request for an address that a port owns, and hands on
// what else is for a port, unless the sender claims an address of ours.
func (t *Table) arpFromWire(h *packet.Header, vlan uint16) verdict {
	d := t.unicastFromWire(h, vlan)
	if v := t.owner4(vlan, h.DstIP4); v&slotMask >= FirstSlot {
		mac := t.macFor(t.portOf(v))
		switch {
		case h.SrcIP4 == h.DstIP4, h.SrcIP4 == 0 && macOf(h.LLAddr) == mac:
			return dropped(Conflict) // an announcement, or the owner's own probe, come back
		case h.ARPOp == packet.ARPRequest:
			return verdict{act: actAnswer, slot: v & slotMask, mac: mac}
		case packet.IsGroup(h.Dst):
			d = toPort(v & slotMask)
		}
	}
	if d.act == actPort && t.owner4(vlan, h.SrcIP4) != 0 {
		return dropped(Conflict)
	}
	return d
}

// discoveryFromWire answers solicitations, and delivers what else was sent to a
// port, unless it says of an address of ours that it is elsewhere. What is not
// valid is not delivered, since a receiver may be less strict than the check.
func (t *Table) discoveryFromWire(h *packet.Header, vlan uint16) verdict {
	switch {
	case h.ND == packet.NDBad:
		return dropped(Malformed)
	case h.ND == packet.NDSolicit && t.owner6(vlan, &h.Target)&slotMask >= FirstSlot:
		return t.answerSolicit(h, vlan)
	}
	d := t.unicastFromWire(h, vlan)
	if d.act == actPort && (t.owner6(vlan, &h.SrcIP6) != 0 || h.ND == packet.NDAdvert && t.owner6(vlan, &h.Target) != 0) {
		return dropped(Conflict)
	}
	return d
}

// answerSolicit answers a neighbour solicitation for an address that a port
// owns, unless it is the port's own, come back.
func (t *Table) answerSolicit(h *packet.Header, vlan uint16) verdict {
	v := t.owner6(vlan, &h.Target)
	mac := t.macFor(t.portOf(v))
	if h.SrcIP6 == ([16]byte{}) && macOf(h.Src) == mac {
		return dropped(Conflict)
	}
	return verdict{act: actAnswer, slot: v & slotMask, mac: mac}
}

// fromPort judges a frame that port p sent. It was parsed whole if it is ARP or
// may be Neighbour Discovery.
func (t *Table) fromPort(p *port, h *packet.Header) verdict {
	if h.Tags != 0 {
		return dropped(BadVLAN)
	}
	if !p.NoSourceCheck {
		if r, ok := t.allowed(p, h); !ok {
			return dropped(r)
		}
	}
	switch {
	case h.Kind == packet.KindARP:
		return t.arpFromPort(p, h)
	case h.ND == packet.NDSolicit:
		return t.answerPort(p, t.owner6(p.VLAN, &h.Target))
	case h.ND == packet.NDMLDReport && h.MLDSolicitedOnly:
		return verdict{act: actSwallow}
	}
	return t.unicastFromPort(p, h)
}

func (t *Table) arpFromPort(p *port, h *packet.Header) verdict {
	if h.ARPOp == packet.ARPRequest {
		return t.answerPort(p, t.owner4(p.VLAN, h.DstIP4))
	}
	v := t.owner4(p.VLAN, h.DstIP4)
	if packet.IsGroup(h.Dst) && v != 0 && v&slotMask != p.id.Slot {
		return toPort(v & slotMask)
	}
	return t.unicastFromPort(p, h)
}

// answerPort answers port p's question about an address with the value v: for
// its own address, which it announces or probes, and for a stranger's the wire
// is asked.
func (t *Table) answerPort(p *port, v uint32) verdict {
	if slot := v & slotMask; slot != 0 && slot != p.id.Slot {
		return verdict{act: actAnswer, slot: slot, mac: t.macFor(t.portOf(v))}
	}
	return verdict{act: actWire}
}

// unicastFromPort finds where a frame of p goes: to a MAC of this switch; to
// the owner of the address, if it was sent to the NIC's MAC, which IP
// identities and the host share, or to a next hop, which would only send it
// back; else to the wire. A former MAC of the NIC may be another machine's by
// now, so what is for nobody here is for that.
func (t *Table) unicastFromPort(p *port, h *packet.Header) verdict {
	dst := macOf(h.Dst)
	switch {
	case dst == t.nic:
		return t.underNIC(p, h)
	case multicast(dst):
		return verdict{act: actWire}
	}
	if v := t.byMAC(p.VLAN, dst); v != 0 {
		return t.byItsMAC(p, h, v)
	}
	if p.sendsVia(dst) {
		if v := t.owner(p.VLAN, h); v != 0 {
			return t.local(p, v, dst)
		}
	}
	if slices.Contains(t.former, dst) {
		if v := t.owner(p.VLAN, h); v != 0 && v&ownMAC == 0 {
			return t.local(p, v, dst)
		}
	}
	return verdict{act: actWire}
}

// byItsMAC judges a frame to the MAC of another port, whose IP address no rule
// has looked at: the host and its neighbours route, but not from or to a
// loopback (a host with route_localnet would take it for its own), and a group
// is not the host's to hear.
func (t *Table) byItsMAC(p *port, h *packet.Header, v uint32) verdict {
	if loopback(h) || v&slotMask == HostSlot && toGroup(h) {
		return dropped(NotAllowed)
	}
	return t.local(p, v, macOf(h.Dst))
}

// loopback tells whether an IP packet is from or to an address that must not
// leave a host (RFC 1122, section 3.2.1.3; RFC 4291, section 2.5.3).
func loopback(h *packet.Header) bool {
	switch h.Kind {
	case packet.KindIPv4:
		return h.SrcIP4>>24 == 127 || h.DstIP4>>24 == 127
	case packet.KindIPv6:
		return h.DstIP6 == [16]byte{15: 1} || h.SrcIP6 == [16]byte{15: 1}
	}
	return false
}

// toGroup tells whether an IP packet is for a multicast group or for everybody.
func toGroup(h *packet.Header) bool {
	switch h.Kind {
	case packet.KindIPv4:
		return h.DstIP4>>28 == 14 || h.DstIP4 == 0xffffffff
	case packet.KindIPv6:
		return h.DstIP6[0] == 0xff
	}
	return false
}

// underNIC judges a frame to the NIC's MAC by the owner of its address: an IP
// identity or the host.
func (t *Table) underNIC(p *port, h *packet.Header) verdict {
	v := t.owner(p.VLAN, h)
	if v == 0 || v&ownMAC != 0 {
		return dropped(NoPort)
	}
	return t.local(p, v, t.nic)
}

// local is the verdict on a frame of p for another port of this switch, which
// gets it with its own MAC as the destination.
func (t *Table) local(p *port, v uint32, dst uint64) verdict {
	slot := v & slotMask
	if slot == p.id.Slot {
		return dropped(NoPort)
	}
	if mac := t.macFor(t.portOf(v)); mac != dst {
		return verdict{act: actPort, slot: slot, mac: mac}
	}
	return toPort(slot)
}

// sendsVia tells whether mac is that of a next hop of the port.
func (p *port) sendsVia(mac uint64) bool {
	for _, h := range p.hops {
		if h.mac.Load() == mac {
			return true
		}
	}
	return false
}

// fromHost judges a frame of the host, port p, which is trusted and reaches
// ports only: by their MAC, or by address under the one MAC that it knows for
// all of them.
func (t *Table) fromHost(p *port, h *packet.Header) verdict {
	dst := macOf(h.Dst)
	var v uint32
	switch {
	case h.Tags != 0:
		return dropped(BadVLAN)
	case h.Kind == packet.KindARP && h.ARPOp == packet.ARPRequest:
		v = t.owner4(0, h.DstIP4)
		return t.answerHost(v)
	case h.ND == packet.NDSolicit:
		return t.answerHost(t.owner6(0, &h.Target))
	case dst == t.gateway || dst == t.nic:
		v = t.owner(0, h)
	default:
		v = t.byMAC(0, dst)
	}
	if v == 0 {
		return dropped(NoPort)
	}
	return t.local(p, v, dst)
}

func (t *Table) answerHost(v uint32) verdict {
	if v&slotMask < FirstSlot {
		return dropped(NoPort)
	}
	return verdict{act: actAnswer, slot: v & slotMask, mac: t.macFor(t.portOf(v))}
}
