package packet

import (
	"encoding/binary"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// CompleteChecksum finishes the partial checksum that m describes (virtio 1.2,
// section 5.1.6.2), in place, and clears NeedsChecksum. A frame without that flag
// is left alone, and true. It returns false, and has changed nothing, where the
// offsets are not ones that PartialChecksum allows.
//
// A checksum of zero is written as 0xffff, which is the same number and, in UDP,
// does not mean that there is none (RFC 768).
func CompleteChecksum(data []byte, m *frame.Meta) bool {
	if m.Flags&frame.NeedsChecksum == 0 {
		return true
	}
	if !PartialChecksum(data, m) {
		return false
	}
	start := int(m.CsumStart)
	at := start + int(m.CsumOffset)
	sum := ^Fold(Sum(data[start:], 0))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(data[at:], sum)
	m.Flags &^= frame.NeedsChecksum
	return true
}

// PartialChecksum says whether the offsets of a frame with NeedsChecksum are ones
// that an honest sender can have meant. Who passes such a frame on, for somebody
// else to complete, asks this first; CompleteChecksum asks by itself.
//
// It is more than a matter of bounds: the two bytes are written after the source
// check has passed, at a place and with a value that the sender chooses. So they
// must lie behind everything that check looks at: in the upper protocol of an IP
// packet that is no fragment, and of ICMPv6 nowhere but in its checksum; behind
// the EtherType of anything else; and nowhere in ARP or IEEE 802.3 frames.
func PartialChecksum(data []byte, m *frame.Meta) bool {
	start := int(m.CsumStart)
	at := start + int(m.CsumOffset)
	return at+2 <= len(data) && mayComplete(data, start, at)
}

// mayComplete says whether a checksum from start on may be written at at.
func mayComplete(data []byte, start, at int) bool {
	var h Header
	if !h.transport(data) {
		return false
	}
	switch h.Kind {
	case KindOther: // the type of an IEEE 802.3 frame stands behind its header
		return start >= int(h.L3) && binary.BigEndian.Uint16(data[h.L3-2:]) >= minEtherType
	case KindIPv4, KindIPv6:
		if h.L4 == 0 || h.Frag || at+2 > int(h.End) {
			return false
		}
		if h.Proto == ProtoICMPv6 {
			return start == int(h.L4) && at == start+2
		}
		return start >= int(h.L4)
	}
	return false
}
