package packet

import "encoding/binary"

// ParseFast looks at what the hot path needs: the MAC addresses, the VLAN, the
// EtherType and the IP addresses, and whether the frame must be looked at again
// with Parse because it is ARP (Kind is KindARP) or may be ND (ND is NDLook; it
// is NDNone or NDLook, nothing else). It sets the first group of Header's fields
// and no other.
//
// It returns false for a frame that is malformed: shorter than its headers, of
// the wrong version, or with a length field that is below its header's length or
// beyond the frame. Bytes behind the length that the network header states are
// padding. The IPv4 header checksum is left to the receiver (RFC 1122, section
// 3.2.1.2), which compares it anyway.
func ParseFast(data []byte, h *Header) bool {
	if len(data) < EthernetLen {
		*h = Header{}
		return h.malformed()
	}
	h.Dst, h.Src = MAC(data[0:6]), MAC(data[6:12])
	h.EtherType = binary.BigEndian.Uint16(data[12:14])
	h.VLAN, h.Tags, h.L3, h.ND = 0, 0, EthernetLen, NDNone
	if isTag(h.EtherType) && !h.tags(data) {
		return h.malformed()
	}
	return h.network(data[h.L3:])
}

// network tells the kinds apart; b starts at the network header.
func (h *Header) network(b []byte) bool {
	switch h.EtherType {
	case EtherTypeIPv4:
		return h.ipv4(b)
	case EtherTypeIPv6:
		return h.ipv6(b)
	case EtherTypeARP:
		h.Kind = KindARP
	default:
		h.Kind = KindOther
		h.snap(b)
	}
	return true
}

// snap takes the EtherType of a frame with an IEEE 802.3 length from behind its
// LLC and SNAP header, of RFC 1042 or IEEE 802.1H; b starts behind the length.
func (h *Header) snap(b []byte) {
	if h.EtherType >= minEtherType || len(b) < 8 || b[0]&^1 != 0xaa || b[1]&^1 != 0xaa {
		return
	}
	if oui := [3]byte(b[3:6]); oui == [3]byte{} || oui == [3]byte{0, 0, 0xf8} {
		h.EtherType = binary.BigEndian.Uint16(b[6:8])
	}
}

// tags steps over up to two VLAN tags (IEEE 802.1Q).
func (h *Header) tags(data []byte) bool {
	for at := EthernetLen; isTag(h.EtherType) && h.Tags < 2; at += TagLen {
		if len(data) < at+TagLen {
			return false
		}
		if h.Tags == 0 {
			h.VLAN = binary.BigEndian.Uint16(data[at:]) & vidMask
		}
		h.EtherType = binary.BigEndian.Uint16(data[at+2:])
		h.Tags++
		h.L3 = uint16(at + TagLen)
	}
	return true
}

// Parse looks at the whole frame and sets every field of h. It returns false,
// with KindMalformed, where ParseFast does, and for ARP that is truncated or not
// of IPv4 over Ethernet. An invalid ND or MLD message is a well-formed IPv6
// packet whose ND is NDBad.
func Parse(data []byte, h *Header) bool {
	*h = Header{}
	if !ParseFast(data, h) {
		return false
	}
	switch h.Kind {
	case KindARP:
		return h.arp(data[h.L3:]) || h.malformed()
	case KindIPv4:
		h.upper4(data)
	case KindIPv6:
		h.ND = NDNone
		h.upper6(data)
		h.listen(data)
	}
	return true
}

// transport is the part of Parse that checksums and segmentation need: Proto,
// Frag, L4 and End of an IP packet. It returns false for a malformed frame.
func (h *Header) transport(data []byte) bool {
	*h = Header{}
	if !ParseFast(data, h) {
		return false
	}
	switch h.Kind {
	case KindIPv4:
		h.upper4(data)
	case KindIPv6:
		h.upper6(data)
	}
	return true
}
