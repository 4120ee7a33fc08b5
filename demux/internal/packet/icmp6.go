package packet

import "encoding/binary"

const (
	ipv6MinMTU = 1280 // what every link carries, and the largest ICMPv6 error (RFC 8200, section 5)

	// PacketTooBigMax is the longest frame in bytes that BuildPacketTooBig builds.
	PacketTooBigMax = EthernetLen + ipv6MinMTU

	icmp6PacketTooBig = 2
	icmp6Info         = 128 // from here on messages are no errors (RFC 4443, section 2.1)
)

// BuildPacketTooBig builds the ICMPv6 message "packet too big" (RFC 4443, section
// 3.2; RFC 8201) about original, of which h is what Parse has said. It goes back
// to the MAC and the address that original came from, in the name of the address
// that it was for, and quotes as much of it as fits into 1,280 bytes. mtu is in
// bytes, without the Ethernet header.
//
// It returns nil where nothing may be said (RFC 4443, section 2.4 (e)): about
// ICMPv6 errors and redirects, packets whose upper protocol cannot be read, and
// frames or packets to or from a group or from nobody. The RFC would allow it
// about a multicast packet, but not from a multicast source, and none is delivered
// here. Also for an mtu below 1,280, which IPv6 does not know, and if dst's
// capacity is less than the frame's length, which is at most PacketTooBigMax. The
// frame is built in dst from its start, untagged; dst and original do not overlap.
func BuildPacketTooBig(dst []byte, original []byte, h *Header, srcMAC MAC, mtu int) []byte {
	if mtu < ipv6MinMTU || !mayReport6(original, h) {
		return nil
	}
	quote := original[h.L3:min(int(h.End), int(h.L3)+ipv6MinMTU-ipv6Len-icmpLen)]
	n := EthernetLen + ipv6Len + icmpLen + len(quote)
	if cap(dst) < n {
		return nil
	}
	f := dst[:n]
	putEthernet(f, h.Src, srcMAC, EtherTypeIPv6)
	b := f[EthernetLen+ipv6Len:]
	b[0], b[1] = icmp6PacketTooBig, 0
	binary.BigEndian.PutUint32(b[4:8], uint32(mtu))
	copy(b[icmpLen:], quote)
	finishICMPv6(f, &h.DstIP6, &h.SrcIP6, 64)
	return f
}

func mayReport6(original []byte, h *Header) bool {
	if h.Kind != KindIPv6 || !h.within(original, ipv6Len) || IsGroup(h.Src) || IsGroup(h.Dst) {
		return false
	}
	if !isHost6(&h.SrcIP6) || !isHost6(&h.DstIP6) {
		return false
	}
	if h.Proto != ProtoICMPv6 {
		return true
	}
	b := original[h.L4:h.End]
	return len(b) > 0 && b[0] >= icmp6Info && b[0] != icmp6Redirect
}

// isHost6 says whether a can be one host's address on a link: not ::, ::1 or
// multicast.
func isHost6(a *[16]byte) bool {
	return !isMulticast6(a) && *a != [16]byte{} && *a != [16]byte{15: 1}
}
