package packet

import (
	"encoding/binary"
	"net/netip"
)

// The operations of ARP (RFC 826).
const (
	ARPRequest uint16 = 1
	ARPReply   uint16 = 2
)

const (
	arpLen = 28

	// ARPFrameLen is the length in bytes of the ARP frames that are built here,
	// without Ethernet padding.
	ARPFrameLen = EthernetLen + arpLen
)

// How ARP of IPv4 over Ethernet begins: hardware and protocol type, and the
// lengths of their addresses.
const (
	arpTypes   = 0x0001_0800
	arpLengths = 0x0604
)

// arp takes the body apart that starts at b. A sender hardware address that is a
// group address is refused as malformed: it can be nobody's (RFC 1812, section
// 3.3.2), and an answer to it would be a broadcast.
func (h *Header) arp(b []byte) bool {
	if len(b) < arpLen || !isARPIPv4(b) {
		return false
	}
	h.ARPOp = binary.BigEndian.Uint16(b[6:8])
	h.LLAddr, h.HasLLAddr = MAC(b[8:14]), true
	h.SrcIP4 = binary.BigEndian.Uint32(b[14:18])
	h.ARPTargetMAC = MAC(b[18:24])
	h.DstIP4 = binary.BigEndian.Uint32(b[24:28])
	return !IsGroup(h.LLAddr)
}

func isARPIPv4(b []byte) bool {
	return binary.BigEndian.Uint32(b[0:4]) == arpTypes && binary.BigEndian.Uint16(b[4:6]) == arpLengths
}

// BuildARPReply builds the answer to request, which Parse has filled: ownerIP is
// at ownerMAC. It goes to the asker's hardware address alone (RFC 826). The frame
// is built in dst from its start, untagged, ARPFrameLen bytes; nil if dst's
// capacity is less.
func BuildARPReply(dst []byte, request *Header, ownerMAC MAC, ownerIP uint32) []byte {
	return buildARP(dst, request.LLAddr, &arpBody{
		op:  ARPReply,
		sha: ownerMAC, spa: ownerIP,
		tha: request.LLAddr, tpa: request.SrcIP4,
	})
}

// BuildGratuitousARP builds the announcement of ip at mac to everybody: a request
// with sender and target address alike (RFC 5227, section 3). ip is IPv4. The
// frame is built in dst from its start, untagged, ARPFrameLen bytes; nil if dst's
// capacity is less or ip is not IPv4.
func BuildGratuitousARP(dst []byte, mac MAC, ip netip.Addr) []byte {
	if !ip.Is4() {
		return nil
	}
	a4, everybody := ip.As4(), MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	a := binary.BigEndian.Uint32(a4[:])
	return buildARP(dst, everybody, &arpBody{op: ARPRequest, sha: mac, spa: a, tpa: a})
}

type arpBody struct {
	op       uint16
	sha, tha MAC
	spa, tpa uint32
}

func buildARP(dst []byte, to MAC, a *arpBody) []byte {
	if cap(dst) < ARPFrameLen {
		return nil
	}
	f := dst[:ARPFrameLen]
	putEthernet(f, to, a.sha, EtherTypeARP)
	b := f[EthernetLen:]
	binary.BigEndian.PutUint32(b[0:4], arpTypes)
	binary.BigEndian.PutUint16(b[4:6], arpLengths)
	binary.BigEndian.PutUint16(b[6:8], a.op)
	copy(b[8:14], a.sha[:])
	binary.BigEndian.PutUint32(b[14:18], a.spa)
	copy(b[18:24], a.tha[:])
	binary.BigEndian.PutUint32(b[24:28], a.tpa)
	return f
}

func putEthernet(f []byte, to, from MAC, etherType uint16) {
	copy(f[0:6], to[:])
	copy(f[6:12], from[:])
	binary.BigEndian.PutUint16(f[12:14], etherType)
}
