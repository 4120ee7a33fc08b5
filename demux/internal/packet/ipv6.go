package packet

import "encoding/binary"

// ipv6 checks the fixed header at the start of b and takes its addresses.
//
// A payload length of zero is what it says. The jumbograms of RFC 2675 do not
// occur: they begin at 65,536 bytes of payload, which no frame here has.
func (h *Header) ipv6(b []byte) bool {
	if len(b) < ipv6Len || b[0]>>4 != 6 {
		return h.malformed()
	}
	total := ipv6Len + int(binary.BigEndian.Uint16(b[4:6]))
	if total > len(b) {
		return h.malformed()
	}
	h.Kind = KindIPv6
	h.SrcIP6, h.DstIP6 = [16]byte(b[8:24]), [16]byte(b[24:40])
	if mayBeND(b[:total]) {
		h.ND = NDLook
	}
	return true
}

// mayBeND says whether b, a whole IPv6 packet, is ND or an MLD report, or has
// extension headers behind which one may stand.
func mayBeND(b []byte) bool {
	switch next := b[6]; next {
	case ProtoTCP, ProtoUDP:
		return false
	case ProtoICMPv6:
		return len(b) == ipv6Len || isListened(b[ipv6Len])
	default:
		return isExtension(next)
	}
}

// upper6 walks the extension headers of a packet that ipv6 has checked. A chain
// that cannot be followed is NDBad, for nobody can say what it hides.
func (h *Header) upper6(data []byte) {
	b := data[h.L3:]
	payload := int(binary.BigEndian.Uint16(b[4:6]))
	h.End = uint32(h.L3) + ipv6Len + uint32(payload)
	c := walk(b[:ipv6Len+payload])
	h.Proto, h.Frag, h.routed = c.proto, c.frag, c.routed
	switch {
	case c.at != 0:
		h.L4 = h.L3 + uint16(c.at)
	case !c.later:
		h.ND = NDBad
	}
}
