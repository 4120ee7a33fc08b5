package xdp

import (
	"encoding/binary"
	"net/netip"
)

// Frames for the tests, built byte by byte.

type mac = [6]byte

var (
	broadcast = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	zeroMAC   = mac{}
)

func eth(dst, src mac, etherType uint16, payload ...[]byte) []byte {
	b := append(append([]byte{}, dst[:]...), src[:]...)
	b = binary.BigEndian.AppendUint16(b, etherType)
	for _, p := range payload {
		b = append(b, p...)
	}
	return b
}

// tagged puts a VLAN tag in, of that type and tag control information.
func tagged(data []byte, tagType, tci uint16) []byte {
	b := append([]byte{}, data[:12]...)
	b = binary.BigEndian.AppendUint16(b, tagType)
	b = binary.BigEndian.AppendUint16(b, tci)
	return append(b, data[12:]...)
}

func ip4(src, dst string, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	copy(b[12:], addrBytes(src))
	copy(b[16:], addrBytes(dst))
	return append(b, payload...)
}

func ip6(src, dst string, next, hops byte, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7] = 0x60, next, hops
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], addrBytes(src))
	copy(b[24:], addrBytes(dst))
	return append(b, payload...)
}

func arp(op uint16, senderMAC mac, sender string, targetMAC mac, target string) []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(append(b, senderMAC[:]...), addrBytes(sender)...)
	return append(append(b, targetMAC[:]...), addrBytes(target)...)
}

func solicit(target string) []byte {
	return append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, addrBytes(target)...)
}

func addrBytes(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

func exactRule(kind RuleKind, vlan uint16, addr string) Rule {
	a := netip.MustParseAddr(addr)
	return Rule{Kind: kind, VLAN: vlan, Prefix: netip.PrefixFrom(a, a.BitLen())}
}

func prefixRule(kind RuleKind, vlan uint16, prefix string) Rule {
	return Rule{Kind: kind, VLAN: vlan, Prefix: netip.MustParsePrefix(prefix)}
}

func macRule(vlan uint16, m mac) Rule {
	return Rule{Kind: RuleMAC, VLAN: vlan, MAC: m}
}
