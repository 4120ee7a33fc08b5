package packet

import "encoding/binary"

// ICMPv6 types (RFC 4861, RFC 2710, RFC 3810).
const (
	icmp6MLDReport1      = 131
	icmp6MLDDone         = 132
	icmp6RouterSolicit   = 133
	icmp6RouterAdvert    = 134
	icmp6NeighborSolicit = 135
	icmp6NeighborAdvert  = 136
	icmp6Redirect        = 137
	icmp6MLDReport2      = 143
)

// The link-layer address options of ND (RFC 4861, section 4.6.1).
const (
	optSourceLL = 1
	optTargetLL = 2
	optLLLen    = 8 // in bytes, on Ethernet (RFC 2464, section 6)
)

const ndSolicited = 0x40 // of the flags of a neighbour advertisement

// isListened says whether Parse takes ICMPv6 messages of this type apart.
func isListened(icmpType uint8) bool {
	return icmpType >= icmp6MLDReport1 && icmpType <= icmp6Redirect || icmpType == icmp6MLDReport2
}

// listen takes ND and MLD messages apart, once upper6 has found the ICMPv6
// header. A message with a fragment header is bad (RFC 6980), and so is one with
// segments left to go: it is valid only on its own link.
func (h *Header) listen(data []byte) {
	if h.L4 == 0 || h.Proto != ProtoICMPv6 {
		return
	}
	b := data[h.L4:h.End]
	if len(b) > 0 && !isListened(b[0]) {
		return
	}
	h.ND = NDBad
	if len(b) < icmpLen || b[1] != 0 || h.Frag || h.routed || h.fromGroup() || !h.verify(b) {
		return
	}
	if hopLimit := data[h.L3+7]; isMLD(b[0]) {
		h.mld(b, hopLimit)
	} else {
		h.nd(b, hopLimit)
	}
}

// fromGroup says whether a sender is a group, which nobody can be and whom an
// answer would reach as a flood.
func (h *Header) fromGroup() bool { return IsGroup(h.Src) || isMulticast6(&h.SrcIP6) }

// nd judges one ND message; b is the ICMPv6 message with a right checksum. The
// hop limit of 255 proves that no router has forwarded it.
func (h *Header) nd(b []byte, hopLimit uint8) {
	if hopLimit != 255 {
		return
	}
	kind, fixed, option := ndShape(b[0])
	if len(b) < fixed || !h.ndOptions(b[fixed:], option) {
		return
	}
	if fixed >= 24 {
		h.Target = [16]byte(b[8:24])
	}
	if h.ndValid(kind, b) {
		h.ND = kind
	}
}

// ndShape is the kind of an ND message, the length of its fixed part in bytes,
// and the option which bears its link-layer address.
func ndShape(icmpType uint8) (kind NDKind, fixed int, option uint8) {
	switch icmpType {
	case icmp6RouterSolicit:
		return NDRouterSolicit, 8, optSourceLL
	case icmp6RouterAdvert:
		return NDRouterAdvert, 16, optSourceLL
	case icmp6NeighborSolicit:
		return NDSolicit, 24, optSourceLL
	case icmp6NeighborAdvert:
		return NDAdvert, 24, optTargetLL
	default:
		return NDRedirect, 40, optTargetLL
	}
}

// ndValid applies the rules of RFC 4861 that differ by message: sections 6.1.1,
// 6.1.2, 7.1.1, 7.1.2 and 8.1.
func (h *Header) ndValid(kind NDKind, b []byte) bool {
	unspecified := h.SrcIP6 == [16]byte{}
	switch kind {
	case NDRouterSolicit:
		return !(unspecified && h.HasLLAddr)
	case NDSolicit:
		if unspecified && (h.HasLLAddr || !isSolicitedNode(&h.DstIP6)) {
			return false
		}
		return !isMulticast6(&h.Target)
	case NDAdvert:
		return !isMulticast6(&h.Target) && !(isMulticast6(&h.DstIP6) && b[4]&ndSolicited != 0)
	case NDRedirect:
		return isLinkLocal6(&h.SrcIP6) && !isMulticast6((*[16]byte)(b[24:40]))
	default:
		return isLinkLocal6(&h.SrcIP6)
	}
}

// ndOptions steps over the options in b and takes the link-layer address of the
// one named. Twice the same option is refused: receivers differ in which they
// believe, and a source check can check only one. So is a group address.
func (h *Header) ndOptions(b []byte, option uint8) bool {
	for len(b) > 0 {
		if len(b) < 8 {
			return false
		}
		n := int(b[1]) * 8
		if n == 0 || n > len(b) {
			return false
		}
		if b[0] == option {
			if h.HasLLAddr || n != optLLLen || IsGroup(MAC(b[2:8])) {
				return false
			}
			h.LLAddr, h.HasLLAddr = MAC(b[2:8]), true
		}
		b = b[n:]
	}
	return true
}

func isMulticast6(a *[16]byte) bool { return a[0] == 0xff }

func isLinkLocal6(a *[16]byte) bool { return a[0] == 0xfe && a[1]&0xc0 == 0x80 }

// isSolicitedNode says whether a is in ff02::1:ff00:0/104 (RFC 4291, section 2.7.1).
func isSolicitedNode(a *[16]byte) bool {
	const high, middle = 0xff02000000000000, 0x00000001ff
	return binary.BigEndian.Uint64(a[:8]) == high && binary.BigEndian.Uint64(a[8:])>>24 == middle
}
