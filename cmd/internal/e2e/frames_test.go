package e2e

import (
	endian "encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

type mac = [6]byte

// path is who sends to whom, with the tags that the frame bears.
type path struct {
	src, dst mac
	from, to netip.Addr
	tags     []uint16
}

// tagged is p in a VLAN.
func (p path) tagged(tags ...uint16) path { p.tags = tags; return p }

// between is p with other addresses.
func (p path) between(from, to string) path {
	p.from, p.to = netip.MustParseAddr(from), netip.MustParseAddr(to)
	return p
}

// toMAC is p to another MAC.
func (p path) toMAC(dst mac) path { p.dst = dst; return p }

// sink is the UDP port on which every container throws away what comes.
const sink = 9

// frame puts layers behind an Ethernet header and p's tags; lengths and
// checksums are filled in. It is not padded to Ethernet's 60 bytes.
func (p path) frame(t testing.TB, kind layers.EthernetType, rest ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, rest...); err != nil {
		t.Fatal(err)
	}
	head := append(append([]byte(nil), p.dst[:]...), p.src[:]...)
	for _, tag := range p.tags {
		head = endian.BigEndian.AppendUint16(head, uint16(layers.EthernetTypeDot1Q))
		head = endian.BigEndian.AppendUint16(head, tag)
	}
	return append(endian.BigEndian.AppendUint16(head, uint16(kind)), buf.Bytes()...)
}

// udp is a datagram for the sink with so many bytes of payload.
func (p path) udp(t testing.TB, payload int) []byte {
	t.Helper()
	return p.datagram(t, 4000, sink, make([]byte, payload))
}

func (p path) datagram(t testing.TB, from, to uint16, payload []byte) []byte {
	t.Helper()
	kind, ip := p.ip(layers.IPProtocolUDP)
	u := &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to)}
	if err := u.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)); err != nil {
		t.Fatal(err)
	}
	return p.frame(t, kind, ip, u, gopacket.Payload(payload))
}

func (p path) ip(proto layers.IPProtocol) (layers.EthernetType, gopacket.SerializableLayer) {
	if p.to.Is4() {
		return layers.EthernetTypeIPv4, p.ip4(proto)
	}
	return layers.EthernetTypeIPv6, p.ip6(proto)
}

func (p path) ip4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: proto, SrcIP: p.from.AsSlice(), DstIP: p.to.AsSlice()}
}

func (p path) ip6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: next, SrcIP: p.from.AsSlice(), DstIP: p.to.AsSlice()}
}

// pieces are the two fragments of one datagram for the sink.
func (p path) pieces(t testing.TB, id uint16) [2][]byte {
	t.Helper()
	whole := p.datagram(t, 4000, sink, make([]byte, 120))
	var out [2][]byte
	for i := range out {
		part := layers.IPv4{}
		if p.to.Is4() {
			part = *p.ip4(layers.IPProtocolUDP)
			body := whole[14+20+64*i : min(len(whole), 14+20+64*(i+1))]
			part.Id, part.Flags, part.FragOffset = id, 0, uint16(8*i)
			if i == 0 {
				part.Flags = layers.IPv4MoreFragments
			}
			out[i] = p.frame(t, layers.EthernetTypeIPv4, &part, gopacket.Payload(body))
			continue
		}
		body := whole[14+40+64*i : min(len(whole), 14+40+64*(i+1))]
		head := make([]byte, 8) // RFC 8200, section 4.5
		head[0] = byte(layers.IPProtocolUDP)
		endian.BigEndian.PutUint16(head[2:], uint16(64*i)|uint16(1-i))
		endian.BigEndian.PutUint32(head[4:], uint32(id)+1)
		out[i] = p.frame(t, layers.EthernetTypeIPv6, p.ip6(layers.IPProtocolIPv6Fragment), gopacket.Payload(append(head, body...)))
	}
	return out
}

// extended is an IPv6 datagram for the sink behind a hop-by-hop and a
// destination options header, each with nothing but padding (RFC 8200, section
// 4.3).
func (p path) extended(t testing.TB) []byte {
	t.Helper()
	plain := p.udp(t, 32)
	pad := []byte{0, 0, 1, 4, 0, 0, 0, 0}
	hop, dst := append([]byte(nil), pad...), append([]byte(nil), pad...)
	hop[0], dst[0] = byte(layers.IPProtocolIPv6Destination), byte(layers.IPProtocolUDP)
	rest := append(append(hop, dst...), plain[len(plain)-40:]...)
	return p.frame(t, layers.EthernetTypeIPv6, p.ip6(layers.IPProtocolIPv6HopByHop), gopacket.Payload(rest))
}

// echoRequest is an ICMP echo request; its payload is 32 bytes.
func (p path) echoRequest(t testing.TB, id, seq uint16) []byte {
	t.Helper()
	payload := gopacket.Payload(make([]byte, 32))
	if p.to.Is4() {
		return p.frame(t, layers.EthernetTypeIPv4, p.ip4(layers.IPProtocolICMPv4),
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: id, Seq: seq}, payload)
	}
	return p.icmp6(t, layers.ICMPv6TypeEchoRequest, &layers.ICMPv6Echo{Identifier: id, SeqNumber: seq}, payload)
}

func (p path) icmp6(t testing.TB, kind uint8, body ...gopacket.SerializableLayer) []byte {
	t.Helper()
	ip := p.ip6(layers.IPProtocolICMPv6)
	head := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	if err := head.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return p.frame(t, layers.EthernetTypeIPv6, append([]gopacket.SerializableLayer{ip, head}, body...)...)
}

// arp is an ARP message about p.to in the name of p.from, whose MAC it says is
// sha.
func (p path) arp(t testing.TB, op uint16, sha mac) []byte {
	t.Helper()
	return p.frame(t, layers.EthernetTypeARP, &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: op, SourceHwAddress: sha[:], SourceProtAddress: p.from.AsSlice(),
		DstHwAddress: make([]byte, 6), DstProtAddress: p.to.AsSlice(),
	})
}

// solicit asks who has target, with the sender's MAC as an option.
func (p path) solicit(t testing.TB, target string) []byte {
	t.Helper()
	return p.icmp6(t, layers.ICMPv6TypeNeighborSolicitation, &layers.ICMPv6NeighborSolicitation{
		TargetAddress: net.ParseIP(target),
		Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: p.src[:]}},
	})
}

// advertise says that target is at lladdr.
func (p path) advertise(t testing.TB, target string, flags uint8, lladdr mac) []byte {
	t.Helper()
	return p.icmp6(t, layers.ICMPv6TypeNeighborAdvertisement, &layers.ICMPv6NeighborAdvertisement{
		Flags: flags, TargetAddress: net.ParseIP(target),
		Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: lladdr[:]}},
	})
}

// groupOf is the MAC on which the owner of an IPv6 address listens for
// solicitations (RFC 4291, section 2.7.1; RFC 2464, section 7).
func groupOf(target string) mac {
	a := netip.MustParseAddr(target).As16()
	return mac{0x33, 0x33, 0xff, a[13], a[14], a[15]}
}

// other is a frame of an EtherType for experiments (IEEE 802, 9.2.3), with so
// many bytes behind the header.
func (p path) other(t testing.TB, payload int) []byte {
	t.Helper()
	return p.frame(t, 0x88b5, gopacket.Payload(make([]byte, payload)))
}

// put overwrites bytes of a copy of a frame.
func put(frame []byte, at int, bytes ...byte) []byte {
	out := append([]byte(nil), frame...)
	copy(out[at:], bytes)
	return out
}
