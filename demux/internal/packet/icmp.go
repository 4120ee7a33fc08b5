package packet

import "encoding/binary"

const (
	icmpLen = 8 // the header of the ICMP and ICMPv6 messages that are read or built here

	ipv4MinMTU   = 68  // what every link carries (RFC 791, section 3.2)
	icmpMaxTotal = 576 // the largest ICMP error (RFC 1812, section 4.3.2.3)

	// FragNeededMax is the longest frame in bytes that BuildFragNeeded builds.
	FragNeededMax = EthernetLen + icmpMaxTotal
)

// BuildFragNeeded builds the ICMP message "fragmentation needed" (RFC 792 with
// the next-hop MTU of RFC 1191, section 4) about original, of which h is what
// Parse has said. It goes back to the MAC and the address that original came
// from, in the name of the address that it was for, and quotes as much of it as
// fits. mtu is in bytes, without the Ethernet header.
//
// It returns nil where nothing may be said (RFC 1122, section 3.2.2): about
// datagrams that may be fragmented, ICMP other than queries, later fragments,
// frames or datagrams to or from a group, and sources that are nobody's. Also if
// dst's capacity is less than the frame's length, which is at most FragNeededMax.
// The frame is built in dst from its start, untagged; dst and original do not
// overlap.
func BuildFragNeeded(dst []byte, original []byte, h *Header, srcMAC MAC, mtu int) []byte {
	if !mayReport4(original, h) {
		return nil
	}
	quote := original[h.L3:min(int(h.End), int(h.L3)+icmpMaxTotal-ipv4Len-icmpLen)]
	n := EthernetLen + ipv4Len + icmpLen + len(quote)
	if cap(dst) < n {
		return nil
	}
	f := dst[:n]
	putEthernet(f, h.Src, srcMAC, EtherTypeIPv4)
	putIPv4(f[EthernetLen:], h.DstIP4, h.SrcIP4)
	b := f[EthernetLen+ipv4Len:]
	clear(b[:icmpLen])
	b[0], b[1] = 3, 4 // destination unreachable, fragmentation needed and DF set
	binary.BigEndian.PutUint16(b[6:8], uint16(min(max(mtu, ipv4MinMTU), 0xffff)))
	copy(b[icmpLen:], quote)
	binary.BigEndian.PutUint16(b[2:4], ^Fold(Sum(b, 0)))
	return f
}

// putIPv4 writes the header of an ICMP error that fills b: never to be
// fragmented, so without an identification (RFC 6864), and of precedence 6, as
// control traffic of the network (RFC 1812, section 4.3.2.5).
func putIPv4(b []byte, from, to uint32) {
	clear(b[:ipv4Len])
	b[0], b[1], b[8], b[9] = 4<<4|ipv4Len/4, 0xc0, 64, ProtoICMP
	binary.BigEndian.PutUint16(b[2:4], uint16(len(b)))
	binary.BigEndian.PutUint16(b[6:8], ipv4DF)
	binary.BigEndian.PutUint32(b[12:16], from)
	binary.BigEndian.PutUint32(b[16:20], to)
	binary.BigEndian.PutUint16(b[10:12], ^Fold(Sum(b[:ipv4Len], 0)))
}

func mayReport4(original []byte, h *Header) bool {
	if h.Kind != KindIPv4 || !h.within(original, ipv4Len) || IsGroup(h.Src) || IsGroup(h.Dst) {
		return false
	}
	frag := binary.BigEndian.Uint16(original[h.L3+6:])
	if frag&ipv4DF == 0 || frag&ipv4Offset != 0 {
		return false
	}
	if !isHost4(h.SrcIP4) || !isHost4(h.DstIP4) {
		return false
	}
	return h.Proto != ProtoICMP || isQuery4(original[h.L4:h.End])
}

// within says whether the offsets in h fit data, with at least n bytes of network
// header in front of the upper protocol's.
func (h *Header) within(data []byte, n int) bool {
	return int(h.L4) >= int(h.L3)+n && uint32(h.L4) <= h.End && int(h.End) <= len(data)
}

// isHost4 says whether a can be one host's address on a link: not of this-network
// 0/8, loopback 127/8, multicast 224/4 or reserved 240/4, of which the last holds
// the limited broadcast (RFC 1122, section 3.2.1.3).
func isHost4(a uint32) bool {
	net := a >> 24
	return net != 0 && net != 127 && net < 224
}

// isQuery4 says whether the ICMP message b is a query or its answer; of all
// others, known or not, no error may be reported.
func isQuery4(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	switch b[0] {
	case 0, 8, 13, 14, 42, 43: // echo, timestamp (RFC 792), extended echo (RFC 8335)
		return true
	}
	return false
}
