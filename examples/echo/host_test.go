package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

var (
	us        = net.HardwareAddr{2, 0, 0, 0, 0, 8}
	them      = net.HardwareAddr{2, 0, 0, 0, 0, 99}
	everybody = net.HardwareAddr{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}
)

func testHost() *host {
	return newHost(client.Endpoint{
		MAC:       us,
		IPs:       []netip.Prefix{netip.MustParsePrefix("10.0.0.8/24"), netip.MustParsePrefix("2001:db8::8/64")},
		Prefixes:  []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")},
		LinkLocal: netip.MustParseAddr("fe80::8"),
		MTU:       1500,
	}, 7)
}

// build is a frame of these layers with all lengths and checksums right, in a
// buffer with room behind it.
func build(t *testing.T, list ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	return append(make([]byte, 0, 2048), b.Bytes()...)
}

func eth(src, dst net.HardwareAddr, typ layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: typ}
}

func arp(op uint16, srcMAC, dstMAC net.HardwareAddr, src, dst string) *layers.ARP {
	return &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: op, SourceHwAddress: srcMAC, DstHwAddress: dstMAC,
		SourceProtAddress: net.ParseIP(src).To4(), DstProtAddress: net.ParseIP(dst).To4()}
}

func ip4(src, dst string, proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Id: 77, Protocol: proto, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
}

func ip6(src, dst string, proto layers.IPProtocol, hops uint8) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: proto, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
}

func icmp6(ip *layers.IPv6, typ uint8) *layers.ICMPv6 {
	i := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}
	_ = i.SetNetworkLayerForChecksum(ip)
	return i
}

func udp(ip gopacket.NetworkLayer, src, dst layers.UDPPort) *layers.UDP {
	u := &layers.UDP{SrcPort: src, DstPort: dst}
	_ = u.SetNetworkLayerForChecksum(ip)
	return u
}

func payload(n int) gopacket.Payload { return bytes.Repeat([]byte("0123456789"), n/10+1)[:n] }

func TestARP(t *testing.T) {
	const typ = layers.EthernetTypeARP
	for _, ours := range []string{"10.0.0.8", "10.9.1.2"} {
		for _, to := range []net.HardwareAddr{everybody, us} {
			ask := build(t, eth(them, to, typ), arp(1, them, make([]byte, 6), "10.0.0.1", ours))
			want := build(t, eth(us, them, typ), arp(2, us, them, ours, "10.0.0.1"))
			compare(t, ours, testHost().answer(ask), want)
		}
	}
}

func compare(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: answered\n%x, want\n%x", what, got, want)
	}
}

func TestPing4(t *testing.T) {
	const typ = layers.EthernetTypeIPv4
	echo := func(kind uint8) *layers.ICMPv4 {
		return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: 1234, Seq: 5}
	}
	for _, size := range []int{0, 1, 56, 1472} {
		request := ip4("10.0.0.1", "10.0.0.8", layers.IPProtocolICMPv4)
		request.TTL = 3
		ask := build(t, eth(them, us, typ), request, echo(8), payload(size))
		want := build(t, eth(us, them, typ), ip4("10.0.0.8", "10.0.0.1", layers.IPProtocolICMPv4), echo(0), payload(size))
		want = want[:ethLen+ip4Len+icmpLen+size]                    // gopacket pads as well
		padded := append(ask, make([]byte, max(0, 60-len(ask)))...) // as on a wire
		compare(t, fmt.Sprintf("%d bytes", size), testHost().answer(padded), want)
	}
}

func TestPing6(t *testing.T) {
	const typ = layers.EthernetTypeIPv6
	for _, ours := range []string{"2001:db8::8", "fe80::8"} {
		for _, size := range []int{4, 5, 56, 1452} {
			in, out := ip6("fe80::1", ours, layers.IPProtocolICMPv6, 3), ip6(ours, "fe80::1", layers.IPProtocolICMPv6, 64)
			ask := build(t, eth(them, us, typ), in, icmp6(in, 128), payload(size))
			want := build(t, eth(us, them, typ), out, icmp6(out, 129), payload(size))
			compare(t, fmt.Sprintf("%s, %d bytes", ours, size), testHost().answer(ask), want)
		}
	}
}

func TestUDP(t *testing.T) {
	in4, out4 := ip4("10.0.0.1", "10.0.0.8", layers.IPProtocolUDP), ip4("10.0.0.8", "10.0.0.1", layers.IPProtocolUDP)
	ask := build(t, eth(them, us, layers.EthernetTypeIPv4), in4, udp(in4, 5000, 7), payload(33))
	compare(t, "IPv4", testHost().answer(ask), build(t, eth(us, them, layers.EthernetTypeIPv4), out4, udp(out4, 7, 5000), payload(33)))
	in6, out6 := ip6("fe80::1", "fe80::8", layers.IPProtocolUDP, 64), ip6("fe80::8", "fe80::1", layers.IPProtocolUDP, 64)
	ask = build(t, eth(them, us, layers.EthernetTypeIPv6), in6, udp(in6, 5000, 7), payload(33))
	compare(t, "IPv6", testHost().answer(ask), build(t, eth(us, them, layers.EthernetTypeIPv6), out6, udp(out6, 7, 5000), payload(33)))
}

func TestNeighbourDiscovery(t *testing.T) {
	const typ = layers.EthernetTypeIPv6
	ours, group, groupMAC := "2001:db8::8", "ff02::1:ff00:8", net.HardwareAddr{0x33, 0x33, 0xFF, 0, 0, 8}
	for _, c := range []struct {
		name, from, to, answerTo string
		mac, answerMAC           net.HardwareAddr
		options                  layers.ICMPv6Options
		flags                    uint8
	}{
		{"a neighbour asks", "fe80::1", group, "fe80::1", groupMAC, them,
			layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: them}}, 0x60},
		{"it asks again", "fe80::1", ours, "fe80::1", us, them, nil, 0x60},
		{"it looks for duplicates", "::", group, "ff02::1", groupMAC, net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, nil, 0x20},
	} {
		in, out := ip6(c.from, c.to, layers.IPProtocolICMPv6, 255), ip6(ours, c.answerTo, layers.IPProtocolICMPv6, 255)
		ask := build(t, eth(them, c.mac, typ), in, icmp6(in, 135),
			&layers.ICMPv6NeighborSolicitation{TargetAddress: net.ParseIP(ours), Options: c.options})
		want := build(t, eth(us, c.answerMAC, typ), out, icmp6(out, 136), &layers.ICMPv6NeighborAdvertisement{
			Flags: c.flags, TargetAddress: net.ParseIP(ours),
			Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: us}}})
		compare(t, c.name, testHost().answer(ask), want)
	}
}

// TestSilence: what is not for us, or is no question, gets no answer.
func TestSilence(t *testing.T) {
	e4, e6, ea := layers.EthernetTypeIPv4, layers.EthernetTypeIPv6, layers.EthernetTypeARP
	ping := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}
	pong := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(0, 0)}
	us4, other4 := ip4("10.0.0.1", "10.0.0.8", layers.IPProtocolICMPv4), ip4("10.0.0.1", "10.0.0.7", layers.IPProtocolICMPv4)
	u4 := ip4("10.0.0.1", "10.0.0.8", layers.IPProtocolUDP)
	part := ip4("10.0.0.1", "10.0.0.8", layers.IPProtocolICMPv4)
	part.Flags = layers.IPv4MoreFragments
	spoof := ip4("10.0.0.8", "10.0.0.8", layers.IPProtocolICMPv4)
	near, far := ip6("fe80::1", "fe80::8", layers.IPProtocolICMPv6, 255), ip6("fe80::1", "fe80::8", layers.IPProtocolICMPv6, 254)
	ask := func(target string) *layers.ICMPv6NeighborSolicitation {
		return &layers.ICMPv6NeighborSolicitation{TargetAddress: net.ParseIP(target)}
	}
	for name, f := range map[string][]byte{
		"ARP for another":             build(t, eth(them, everybody, ea), arp(1, them, make([]byte, 6), "10.0.0.1", "10.0.0.7")),
		"an ARP reply":                build(t, eth(them, us, ea), arp(2, them, us, "10.0.0.1", "10.0.0.8")),
		"ARP to another's MAC":        build(t, eth(them, them, ea), arp(1, them, make([]byte, 6), "10.0.0.1", "10.0.0.8")),
		"a ping of another":           build(t, eth(them, us, e4), other4, ping),
		"a ping to another's MAC":     build(t, eth(them, them, e4), us4, ping),
		"a ping by broadcast":         build(t, eth(them, everybody, e4), us4, ping),
		"a ping from a group":         build(t, eth(everybody, us, e4), us4, ping),
		"an answer to a ping":         build(t, eth(them, us, e4), us4, pong),
		"a fragment":                  build(t, eth(them, us, e4), part, ping),
		"a ping from ourselves":       build(t, eth(them, us, e4), spoof, ping),
		"UDP to another port":         build(t, eth(them, us, e4), u4, udp(u4, 5000, 8)),
		"another echo":                build(t, eth(them, us, e4), u4, udp(u4, 7, 7)),
		"solicitation from far":       build(t, eth(them, us, e6), far, icmp6(far, 135), ask("fe80::8")),
		"solicitation of another":     build(t, eth(them, us, e6), near, icmp6(near, 135), ask("fe80::9")),
		"an unknown type":             build(t, eth(them, us, 0x88CC), payload(50)),
		"nothing":                     {},
		"less than an Ethernet frame": make([]byte, 13),
	} {
		if a := testHost().answer(f); a != nil {
			t.Errorf("%s: answered %x", name, a)
		}
	}
}

// FuzzAnswer: no frame, whole or cut, makes us fail.
func FuzzAnswer(f *testing.F) {
	f.Add(append(append(append([]byte{}, us...), them...), 8, 0, 0x45, 0, 0, 28))
	f.Add(append(append(append([]byte{}, us...), them...), 0x86, 0xDD, 0x60, 0, 0, 0, 0, 24, 58, 255))
	f.Add(append(append(append([]byte{}, us...), them...), 8, 6, 0, 1, 8, 0, 6, 4, 0, 1))
	h := testHost()
	f.Fuzz(func(t *testing.T, frame []byte) {
		size := len(frame)
		if a := h.answer(frame[:size:size]); a != nil && (!bytes.Equal(a[6:12], us) || len(a) > size) {
			t.Errorf("answered %x", a)
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	h := testHost()
	f := append(append(append([]byte{}, us...), them...), 8, 0)
	f = append(f, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 8)
	f = append(f, 0x13, 0x88, 0, 7, 0, 30, 0, 0)
	f = append(f, make([]byte, 22)...)
	b.ReportAllocs()
	for b.Loop() {
		copy(f, us)
		copy(f[26:], []byte{10, 0, 0, 1, 10, 0, 0, 8, 0x13, 0x88, 0, 7})
		if h.answer(f) == nil {
			b.Fatal("no answer")
		}
	}
}
