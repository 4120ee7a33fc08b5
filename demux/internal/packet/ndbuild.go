package packet

import (
	"encoding/binary"
	"net/netip"
)

// NAFrameLen is the length in bytes of the neighbour advertisements that are
// built here.
const NAFrameLen = EthernetLen + ipv6Len + 24 + optLLLen

// The flags of a neighbour advertisement (RFC 4861, section 4.4).
const (
	naRouter    = 0x80
	naSolicited = ndSolicited
	naOverride  = 0x20
)

// BuildNA builds the answer to solicit, an NDSolicit that Parse has filled: its
// target is at ownerMAC. It goes to the asker, to the link-layer address that it
// gave or else the one that it sent from; a solicitation of duplicate address
// detection (RFC 4862, section 5.4) is answered to all nodes, without the
// solicited flag (RFC 4861, section 7.2.4). The source is the target itself, as
// if its owner had answered, and the override flag is set. The frame is built in
// dst from its start, untagged, NAFrameLen bytes; nil if dst's capacity is less.
func BuildNA(dst []byte, solicit *Header, ownerMAC MAC, router bool) []byte {
	na := advert{mac: ownerMAC, target: solicit.Target, flags: naOverride}
	if router {
		na.flags |= naRouter
	}
	if solicit.SrcIP6 == [16]byte{} {
		na.toAllNodes()
		return na.build(dst)
	}
	na.flags |= naSolicited
	na.to, na.toMAC = solicit.SrcIP6, solicit.Src
	if solicit.HasLLAddr {
		na.toMAC = solicit.LLAddr
	}
	return na.build(dst)
}

// BuildUnsolicitedNA builds the announcement of ip at mac to all nodes (RFC 4861,
// section 7.2.6), with the override flag. ip is IPv6. The frame is built in dst
// from its start, untagged, NAFrameLen bytes; nil if dst's capacity is less or ip
// is not IPv6.
func BuildUnsolicitedNA(dst []byte, mac MAC, ip netip.Addr) []byte {
	if !ip.Is6() || ip.Is4In6() {
		return nil
	}
	na := advert{mac: mac, target: ip.As16(), flags: naOverride}
	na.toAllNodes()
	return na.build(dst)
}

type advert struct {
	mac, toMAC MAC
	target, to [16]byte
	flags      uint8
}

// toAllNodes addresses the group of all nodes (RFC 4291, section 2.7.1; RFC 2464,
// section 7).
func (na *advert) toAllNodes() {
	na.to = [16]byte{0: 0xff, 1: 0x02, 15: 1}
	na.toMAC = MAC{0x33, 0x33, 0, 0, 0, 1}
}

func (na *advert) build(dst []byte) []byte {
	if cap(dst) < NAFrameLen {
		return nil
	}
	f := dst[:NAFrameLen]
	putEthernet(f, na.toMAC, na.mac, EtherTypeIPv6)
	b := f[EthernetLen+ipv6Len:]
	clear(b[1:8])
	b[0], b[4] = icmp6NeighborAdvert, na.flags
	copy(b[8:24], na.target[:])
	b[24], b[25] = optTargetLL, optLLLen/8
	copy(b[26:32], na.mac[:])
	finishICMPv6(f, &na.target, &na.to, 255)
	return f
}

// finishICMPv6 puts the IPv6 header in front of the ICMPv6 message that stands in
// the untagged frame f already, and the checksum into the message.
func finishICMPv6(f []byte, from, to *[16]byte, hopLimit uint8) {
	ip, b := f[EthernetLen:EthernetLen+ipv6Len], f[EthernetLen+ipv6Len:]
	clear(ip[:8])
	ip[0], ip[6], ip[7] = 6<<4, ProtoICMPv6, hopLimit
	binary.BigEndian.PutUint16(ip[4:6], uint16(len(b)))
	copy(ip[8:24], from[:])
	copy(ip[24:40], to[:])
	b[2], b[3] = 0, 0
	sum := Sum(b, Sum(ip[8:40], uint64(len(b))+uint64(ProtoICMPv6)))
	binary.BigEndian.PutUint16(b[2:4], ^Fold(sum))
}
