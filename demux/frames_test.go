package demux

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// The frames of the tests are made by gopacket, not by the code under test.

type mac = [6]byte

var (
	nicMAC   = mac{0x02, 0xee, 0, 0, 0, 0x01}
	hostMAC  = mac{0x02, 0xee, 0, 0, 0, 0x02}
	gateMAC  = mac{0x02, 0xee, 0, 0, 0, 0x03}
	peerMAC  = mac{0x02, 0xaa, 0, 0, 0, 0x01} // a machine on the wire
	hopMAC   = mac{0x02, 0xaa, 0, 0, 0, 0xfe} // a router on the wire
	bcastMAC = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	zeroMAC  mac
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func hw(m mac) net.HardwareAddr { return m[:] }

func serialize(l ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...)
	if err != nil {
		panic(err)
	}
	return append([]byte(nil), b.Bytes()...)
}

func eth(src, dst mac, t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: hw(src), DstMAC: hw(dst), EthernetType: t}
}

// udp is a datagram with n bytes of payload, v4 or v6.
func udp(src, dst mac, from, to netip.Addr, n int) []byte {
	return udpBytes(src, dst, from, to, make([]byte, n))
}

func udpBytes(src, dst mac, from, to netip.Addr, payload []byte) []byte {
	u := &layers.UDP{SrcPort: 4000, DstPort: 5000}
	if from.Is4() {
		l := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, Flags: layers.IPv4DontFragment,
			SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		_ = u.SetNetworkLayerForChecksum(l)
		return serialize(eth(src, dst, layers.EthernetTypeIPv4), l, u, gopacket.Payload(payload))
	}
	l := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	_ = u.SetNetworkLayerForChecksum(l)
	return serialize(eth(src, dst, layers.EthernetTypeIPv6), l, u, gopacket.Payload(payload))
}

// tcp is a segment with n bytes of payload, v4 or v6.
func tcp(src, dst mac, from, to netip.Addr, n int) []byte {
	s := &layers.TCP{SrcPort: 4000, DstPort: 5000, Seq: 1000, ACK: true, PSH: true, Window: 1000}
	if from.Is4() {
		l := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		_ = s.SetNetworkLayerForChecksum(l)
		return serialize(eth(src, dst, layers.EthernetTypeIPv4), l, s, gopacket.Payload(make([]byte, n)))
	}
	l := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	_ = s.SetNetworkLayerForChecksum(l)
	return serialize(eth(src, dst, layers.EthernetTypeIPv6), l, s, gopacket.Payload(make([]byte, n)))
}

// arp is ARP whose Ethernet source is the sender's MAC.
func arp(op uint16, dst, sha mac, spa netip.Addr, tha mac, tpa netip.Addr) []byte {
	return serialize(eth(sha, dst, layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: op, SourceHwAddress: sha[:], SourceProtAddress: spa.AsSlice(),
		DstHwAddress: tha[:], DstProtAddress: tpa.AsSlice(),
	})
}

// whoHas is an ARP request by broadcast.
func whoHas(sha mac, spa, tpa string) []byte {
	return arp(1, bcastMAC, sha, ip(spa), zeroMAC, ip(tpa))
}

// icmp6 wraps an ICMPv6 message.
func icmp6(src, dst mac, from, to netip.Addr, typ uint8, body gopacket.SerializableLayer) []byte {
	l := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	i := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}
	_ = i.SetNetworkLayerForChecksum(l)
	return serialize(eth(src, dst, layers.EthernetTypeIPv6), l, i, body)
}

func llOption(t layers.ICMPv6Opt, m *mac) layers.ICMPv6Options {
	if m == nil {
		return nil
	}
	return layers.ICMPv6Options{{Type: t, Data: m[:]}}
}

// solicited is the solicited-node group of an address, and its MAC.
func solicited(a netip.Addr) (netip.Addr, mac) {
	b := a.As16()
	g := netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(g[13:], b[13:])
	return netip.AddrFrom16(g), mac{0x33, 0x33, 0xff, b[13], b[14], b[15]}
}

// ns is a multicast neighbour solicitation; ll is its source link-layer option.
func ns(src mac, from, target string, ll *mac) []byte {
	g, gm := solicited(ip(target))
	return nsTo(src, gm, ip(from), g, target, ll)
}

func nsTo(src, dst mac, from, to netip.Addr, target string, ll *mac) []byte {
	return icmp6(src, dst, from, to, layers.ICMPv6TypeNeighborSolicitation, &layers.ICMPv6NeighborSolicitation{
		TargetAddress: ip(target).AsSlice(), Options: llOption(layers.ICMPv6OptSourceAddress, ll)})
}

// na is a neighbour advertisement.
func na(src, dst mac, from, to, target string, ll *mac) []byte {
	return icmp6(src, dst, ip(from), ip(to), layers.ICMPv6TypeNeighborAdvertisement, &layers.ICMPv6NeighborAdvertisement{
		Flags: 0x20, TargetAddress: ip(target).AsSlice(), Options: llOption(layers.ICMPv6OptTargetAddress, ll)})
}

var allNodesMAC = mac{0x33, 0x33, 0, 0, 0, 1}

// mldReport is an MLDv2 report about groups.
func mldReport(src mac, from string, groups ...string) []byte {
	m := &layers.MLDv2MulticastListenerReportMessage{NumberOfMulticastAddressRecords: uint16(len(groups))}
	for _, g := range groups {
		m.MulticastAddressRecords = append(m.MulticastAddressRecords, layers.MLDv2MulticastAddressRecord{
			RecordType: layers.MLDv2MulticastAddressRecordTypeChangeToExcludeMode, MulticastAddress: ip(g).AsSlice()})
	}
	return mldPacket(src, from, m)
}

// mldPacket puts the hop-by-hop header with the router alert in front, which
// gopacket cannot write by itself.
func mldPacket(src mac, from string, m *layers.MLDv2MulticastListenerReportMessage) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := m.SerializeTo(b, gopacket.SerializeOptions{FixLengths: true}); err != nil {
		panic(err)
	}
	body := append([]byte{58, 0, 5, 2, 0, 0, 1, 0}, append([]byte{143, 0, 0, 0}, b.Bytes()...)...)
	l := &layers.IPv6{Version: 6, HopLimit: 1, NextHeader: layers.IPProtocolIPv6HopByHop, SrcIP: ip(from).AsSlice(), DstIP: ip("ff02::16").AsSlice()}
	f := serialize(eth(src, mac{0x33, 0x33, 0, 0, 0, 0x16}, layers.EthernetTypeIPv6), l, gopacket.Payload(body))
	putICMP6Sum(f, 14+40+8)
	return f
}

// putICMP6Sum writes the checksum of the ICMPv6 message at offset at, added up
// the slow way (RFC 8200, section 8.1).
func putICMP6Sum(f []byte, at int) {
	f[at+2], f[at+3] = 0, 0
	pseudo := append(append([]byte{}, f[22:54]...), 0, 0, byte((len(f)-at)>>8), byte(len(f)-at), 0, 0, 0, 58)
	sum := 0
	for i, c := range append(pseudo, f[at:]...) {
		sum += int(c) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	f[at+2], f[at+3] = byte(^sum>>8), byte(^sum)
}

// tag puts an 802.1Q tag on.
func tag(f []byte, vid uint16) []byte {
	out := append(append([]byte{}, f[:12]...), 0x81, 0, byte(vid>>8), byte(vid))
	return append(out, f[12:]...)
}

// other is a frame of an EtherType that is no IP.
func other(src, dst mac, t uint16, n int) []byte {
	return serialize(eth(src, dst, layers.EthernetType(t)), gopacket.Payload(make([]byte, n)))
}

// decode parses with gopacket and fails the test where that finds an error.
func decode(t testing.TB, f []byte) gopacket.Packet {
	t.Helper()
	p := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("% x: %v", f, e.Error())
	}
	return p
}
