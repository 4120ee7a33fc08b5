package packet

import (
	"encoding/binary"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// MarkUnfinished looks whether the TCP or UDP checksum of a frame is unfinished,
// as a sender leaves it whose device would complete it: then the sum of the
// pseudo-header alone stands in its place. Such a frame gets NeedsChecksum with
// its offsets, for whoever delivers it to complete; one with bytes behind the
// checksummed part, which a NeedsChecksum frame cannot have, is completed at
// once. h is what ParseFast has said of data; what stands behind its first group
// of fields is overwritten.
//
// A finished checksum may be that very number by chance. To complete it writes
// the same number again: with P the pseudo-header's sum and S that of the rest,
// the field then holds ^(P+S) = P, and from P completing makes ^(P+S). A UDP
// checksum of zero, for none, is never taken for P, which a sum of numbers that
// are not all zero cannot be. Fragments are left alone, since only a whole packet
// has a checksum, and so are packets on their way through a routing header, whose
// pseudo-header has another destination.
func MarkUnfinished(data []byte, h *Header, m *frame.Meta) {
	if m.Flags&frame.NeedsChecksum != 0 || !h.upper(data) {
		return
	}
	b, at := h.checksummed(data)
	if b == nil || binary.BigEndian.Uint16(b[at:]) != Fold(h.pseudo(h.Proto, len(b))) {
		return
	}
	if int(h.L4)+len(b) < len(data) {
		sum := ^Fold(Sum(b, 0))
		if sum == 0 {
			sum = 0xffff // as in CompleteChecksum
		}
		binary.BigEndian.PutUint16(b[at:], sum)
		return
	}
	m.Flags |= frame.NeedsChecksum
	m.CsumStart, m.CsumOffset = h.L4, uint16(at)
}

// LooksUnfinished is a quick look at an untagged IPv4 packet without options, at
// which somebody has looked already: false where MarkUnfinished would leave it as
// it is.
func LooksUnfinished(data []byte) bool {
	const l4 = EthernetLen + ipv4Len
	if len(data) < l4+udpLen {
		return false
	}
	var length, field uint16
	switch data[23] {
	case ProtoUDP:
		length, field = binary.BigEndian.Uint16(data[l4+4:]), binary.BigEndian.Uint16(data[l4+udpChecksum:])
	case ProtoTCP:
		if len(data) < l4+tcpLen {
			return false
		}
		length, field = binary.BigEndian.Uint16(data[16:])-ipv4Len, binary.BigEndian.Uint16(data[l4+tcpChecksum:])
	default:
		return false
	}
	addrs := uint64(binary.BigEndian.Uint32(data[26:])) + uint64(binary.BigEndian.Uint32(data[30:]))
	return field == Fold(addrs+uint64(data[23])+uint64(length))
}

// upper finds the upper protocol of an unfragmented IP packet at which ParseFast
// has looked, and says whether there is one whose pseudo-header is known.
func (h *Header) upper(data []byte) bool {
	h.L4, h.routed = 0, false
	switch h.Kind {
	case KindIPv4:
		h.upper4(data)
	case KindIPv6:
		h.upper6(data)
	default:
		return false
	}
	return h.L4 != 0 && !h.Frag && !h.routed && uint32(h.L4) <= h.End
}

// checksummed is the TCP or UDP part of a packet that its checksum covers beside
// the pseudo-header, and where in it that stands; nil where there is none.
func (h *Header) checksummed(data []byte) (b []byte, at int) {
	b = data[h.L4:h.End]
	switch {
	case h.Proto == ProtoTCP && len(b) >= tcpLen:
		return b, tcpChecksum
	case h.Proto == ProtoUDP && len(b) >= udpLen:
		if n := int(binary.BigEndian.Uint16(b[4:6])); n >= udpLen && n <= len(b) {
			return b[:n], udpChecksum
		}
	}
	return nil, 0
}
