package demux

import "github.com/xdpdemux/xdpdemux/demux/internal/packet"

// allowed is the source check: whether port p may send this frame, and else
// why not. It has been parsed whole if it is ARP or may be Neighbour Discovery.
func (t *Table) allowed(p *port, h *packet.Header) (Reason, bool) {
	mac := t.macFor(p)
	if macOf(h.Src) != mac {
		return Spoofed, false
	}
	if reserved(&h.Dst) {
		return NotAllowed, false
	}
	switch h.Kind {
	case packet.KindIPv4:
		return Spoofed, t.owns4(p, h.SrcIP4)
	case packet.KindIPv6:
		return Spoofed, t.owns6(p, &h.SrcIP6) && t.honest(p, h, mac) || t.unspecified(p, h)
	case packet.KindARP:
		return t.allowedARP(p, h, mac)
	}
	return otherProtocol(p, h.EtherType)
}

// reserved tells whether dst is one of the addresses by which bridges talk
// among themselves: pause, STP, LLDP … and MVRP and its kin (IEEE 802.1Q,
// tables 8-1 and 10-1), or Cisco's VTP, DTP and spanning tree. Who speaks there
// can have the port of the switch outside shut, or made a trunk, for all of us.
func reserved(dst *[6]byte) bool {
	m := macOf(*dst)
	return multicast(m) && (m&0xd0ffffffffff == 0x0000c28001 || m&0xfeffffffffff == 0xcccccc0c0001)
}

// otherProtocol tells whether port p may send a frame that is no IP and no ARP:
// a MAC identity may, but nothing that says to the switch outside how to treat
// the whole NIC, and nothing in which the source check would have to look for
// an address: IP, ARP and tags behind an LLC and SNAP header, which some take
// as if they stood in front.
func otherProtocol(p *port, t uint16) (Reason, bool) {
	switch t {
	case 0x9100, 0x9200, 0x9300: // tags before IEEE 802.1ad
		return BadVLAN, false
	case packet.EtherTypeIPv4, packet.EtherTypeIPv6, packet.EtherTypeARP, packet.EtherTypeVLAN, packet.EtherTypeQinQ,
		0x8808, 0x8809: // MAC control (pause), slow protocols (LACP)
		return NotAllowed, false
	}
	return NotAllowed, !p.ipIdentity()
}

func (t *Table) owns4(p *port, ip uint32) bool {
	return ip == p.first4 && ip != 0 || t.owner4(p.VLAN, ip)&slotMask == p.id.Slot
}

func (t *Table) owns6(p *port, ip *[16]byte) bool {
	return t.owner6(p.VLAN, ip)&slotMask == p.id.Slot
}

// honest tells whether a packet from p's own address claims nothing of others
// in its Neighbour Discovery body.
func (t *Table) honest(p *port, h *packet.Header, mac uint64) bool {
	switch h.ND {
	case packet.NDNone, packet.NDMLDReport:
		return true
	case packet.NDSolicit, packet.NDRouterSolicit:
		return ownLLAddr(h, mac)
	case packet.NDAdvert:
		return t.owns6(p, &h.Target) && ownLLAddr(h, mac)
	}
	return false // a router's messages, and what cannot be understood
}

// ownLLAddr tells whether a link-layer address option, if there is one, bears
// the port's MAC.
func ownLLAddr(h *packet.Header, mac uint64) bool {
	return !h.HasLLAddr || macOf(h.LLAddr) == mac
}

// unspecified tells whether a packet without a source address is one that may
// do without: duplicate address detection for an address of the port's own
// (RFC 4862, section 5.4.2), or a multicast listener report (RFC 3590).
func (t *Table) unspecified(p *port, h *packet.Header) bool {
	if h.SrcIP6 != ([16]byte{}) {
		return false
	}
	return h.ND == packet.NDMLDReport || h.ND == packet.NDSolicit && t.owns6(p, &h.Target)
}

// allowedARP checks the body: the sender's MAC and address are the port's, or
// the address is absent, as in a probe (RFC 5227, section 2.1.1).
func (t *Table) allowedARP(p *port, h *packet.Header, mac uint64) (Reason, bool) {
	switch h.ARPOp {
	case packet.ARPRequest, packet.ARPReply:
		probe := h.SrcIP4 == 0 && h.ARPOp == packet.ARPRequest
		return Spoofed, macOf(h.LLAddr) == mac && (probe || t.owns4(p, h.SrcIP4))
	}
	return NotAllowed, false
}
