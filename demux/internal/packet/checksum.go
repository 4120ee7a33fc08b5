package packet

import (
	"encoding/binary"
	"math/bits"
)

// Sum adds the big-endian 16-bit words of b to initial in one's complement
// arithmetic (RFC 1071); an odd last byte counts as the high half of a word.
// What it returns is not folded: it is the initial of a further Sum, as long as
// all parts but the last are of even length, and Fold makes 16 bits of it.
func Sum(b []byte, initial uint64) uint64 {
	// The sum does not care for byte order but for the result's (RFC 1071,
	// section 2 (B)), so the words are added as they lie in memory, 64 bits at
	// a time, and the result is swapped.
	s, carry := bits.Add64(initial, uint64(bits.ReverseBytes16(Fold(sumLE(b)))), 0)
	return s + carry
}

func sumLE(b []byte) uint64 {
	var s, c uint64
	for len(b) >= 64 {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[0:8]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[8:16]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[16:24]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[24:32]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[32:40]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[40:48]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[48:56]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[56:64]), c)
		b = b[64:]
	}
	for len(b) >= 8 {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b), c)
		b = b[8:]
	}
	s, c = bits.Add64(s, tailLE(b), c)
	return s + c // cannot overflow: where the sum did, it is less than the tail
}

// tailLE is the sum of the words of b, which is shorter than 8 bytes.
func tailLE(b []byte) (s uint64) {
	if len(b) >= 4 {
		s = uint64(binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		s += uint64(binary.LittleEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0])
	}
	return s
}

// sumHeader is Sum for a few words of 32 bits, without what that has to do for many.
func sumHeader(b []byte) (s uint64) {
	for ; len(b) >= 4; b = b[4:] {
		s += uint64(binary.BigEndian.Uint32(b))
	}
	return s
}

// Fold reduces a sum to 16 bits by end-around carry. Its complement is the
// internet checksum; a packet with a right checksum folds to 0xffff.
func Fold(sum uint64) uint16 {
	sum = sum>>48 + sum>>32&0xffff + sum>>16&0xffff + sum&0xffff
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	return uint16(sum)
}

// pseudo is the sum of the pseudo-header of RFC 9293, section 3.1 (IPv4) or RFC
// 8200, section 8.1 (IPv6), for length bytes of protocol proto.
func (h *Header) pseudo(proto uint8, length int) uint64 {
	s := uint64(proto) + uint64(length)
	if h.Kind == KindIPv4 {
		return s + uint64(h.SrcIP4) + uint64(h.DstIP4)
	}
	return Sum(h.SrcIP6[:], Sum(h.DstIP6[:], s))
}

// VerifyTransport checks the TCP, UDP, ICMP or ICMPv6 checksum of data, of which
// h is what Parse has said. known is false where there is nothing to check: other
// protocols, fragments, UDP without a checksum (RFC 768, RFC 6935), and IPv6
// packets on their way through a routing header, whose checksum is that of their
// last hop. A header that is too short is known and not ok.
func VerifyTransport(data []byte, h *Header) (ok, known bool) {
	if h.L4 == 0 || h.Frag || h.routed || int(h.End) > len(data) || uint32(h.L4) > h.End {
		return false, false
	}
	b := data[h.L4:h.End]
	switch h.Proto {
	case ProtoTCP:
		return len(b) >= tcpLen && h.verify(b), true
	case ProtoUDP:
		return h.verifyUDP(b)
	case ProtoICMP:
		if h.Kind == KindIPv4 {
			return len(b) >= icmpLen && Fold(Sum(b, 0)) == 0xffff, true
		}
	case ProtoICMPv6:
		if h.Kind == KindIPv6 {
			return len(b) >= icmpLen && h.verify(b), true
		}
	}
	return false, false
}

func (h *Header) verify(b []byte) bool {
	return Fold(Sum(b, h.pseudo(h.Proto, len(b)))) == 0xffff
}

// verifyUDP checks b up to UDP's own length, which may be less than IP's.
func (h *Header) verifyUDP(b []byte) (ok, known bool) {
	if len(b) < udpLen {
		return false, true
	}
	n := int(binary.BigEndian.Uint16(b[4:6]))
	if n < udpLen || n > len(b) {
		return false, true
	}
	if b[6]|b[7] == 0 {
		return false, false
	}
	return h.verify(b[:n]), true
}
