package packet

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	macA    = MAC{0x02, 0, 0, 0, 0, 0x0a}
	macB    = MAC{0x02, 0, 0, 0, 0, 0x0b}
	macNIC  = MAC{0x02, 0, 0, 0, 0, 0x01}
	everyMA = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

	ip4A, ip4B = netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("10.9.8.7")
	ip6A, ip6B = netip.MustParseAddr("2001:db8::a"), netip.MustParseAddr("2001:db8::beef:1234")
	linkA      = netip.MustParseAddr("fe80::a")
	unspec6    = netip.IPv6Unspecified()
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
	allMLD2    = netip.MustParseAddr("ff02::16")
	solNodeB   = netip.MustParseAddr("ff02::1:ffef:1234")
)

func num4(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func hw(m MAC) net.HardwareAddr { return net.HardwareAddr(m[:]) }

func netIP(a netip.Addr) net.IP { return net.IP(a.AsSlice()) }

// exact copies b so that its capacity ends where its length does: whoever
// reslices beyond the length then panics.
func exact(b []byte) []byte {
	c := make([]byte, len(b))
	copy(c, b)
	return c[:len(c):len(c)]
}

// unhex turns hexadecimal digits, with any white space, into bytes.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// serialize builds a frame with gopacket, lengths and checksums included.
func serialize(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, ls...); err != nil {
		t.Fatal(err)
	}
	return exact(buf.Bytes())
}

// decode takes a frame apart with gopacket and fails on any error in it.
func decode(t testing.TB, data []byte) gopacket.Packet {
	t.Helper()
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("gopacket cannot decode %x: %v", data, e.Error())
	}
	return p
}

func ethernet(et layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: hw(macA), DstMAC: hw(macB), EthernetType: et}
}

func ipv4Layer(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, Flags: layers.IPv4DontFragment, SrcIP: netIP(ip4A), DstIP: netIP(ip4B)}
}

func ipv6Layer(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: netIP(ip6A), DstIP: netIP(ip6B)}
}

func counted(n int) gopacket.Payload {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func udp4(t testing.TB, n int) []byte {
	ip := ipv4Layer(layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: 1000, DstPort: 2000}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return serialize(t, ethernet(layers.EthernetTypeIPv4), ip, udp, counted(n))
}

func udp6(t testing.TB, n int) []byte {
	ip := ipv6Layer(layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: 1000, DstPort: 2000}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return serialize(t, ethernet(layers.EthernetTypeIPv6), ip, udp, counted(n))
}

func tcpLayer(ip gopacket.NetworkLayer) *layers.TCP {
	tcp := &layers.TCP{
		SrcPort: 80, DstPort: 40000, Seq: 0xfffffff0, Ack: 7, ACK: true, PSH: true, FIN: true, CWR: true, Window: 512,
		Options: []layers.TCPOption{
			{OptionType: layers.TCPOptionKindNop, OptionLength: 1},
			{OptionType: layers.TCPOptionKindNop, OptionLength: 1},
			{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{1, 2, 3, 4, 5, 6, 7, 8}},
		},
	}
	_ = tcp.SetNetworkLayerForChecksum(ip)
	return tcp
}

func tcp4(t testing.TB, n int) []byte {
	ip := ipv4Layer(layers.IPProtocolTCP)
	ip.Id = 0xfffe
	return serialize(t, ethernet(layers.EthernetTypeIPv4), ip, tcpLayer(ip), counted(n))
}

func tcp6(t testing.TB, n int) []byte {
	ip := ipv6Layer(layers.IPProtocolTCP)
	return serialize(t, ethernet(layers.EthernetTypeIPv6), ip, tcpLayer(ip), counted(n))
}

func echo4(t testing.TB, icmpType uint8, n int) []byte {
	icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(icmpType, 0), Id: 1, Seq: 2}
	return serialize(t, ethernet(layers.EthernetTypeIPv4), ipv4Layer(layers.IPProtocolICMPv4), icmp, counted(n))
}

func arpFrame(t testing.TB, op uint16, spa, tpa netip.Addr) []byte {
	return serialize(t,
		&layers.Ethernet{SrcMAC: hw(macA), DstMAC: hw(everyMA), EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: op, SourceHwAddress: macA[:], SourceProtAddress: spa.AsSlice(),
			DstHwAddress: macB[:], DstProtAddress: tpa.AsSlice(),
		})
}

// icmp6Frame builds an ICMPv6 message; rest stands behind the four bytes of type,
// code and checksum. ext are extension headers in wire form, the last of whose
// next-header bytes is ICMPv6; first is the type of the first of them.
type icmp6Frame struct {
	src, dst   netip.Addr
	hopLimit   uint8
	icmpType   uint8
	code       uint8
	rest       []byte
	first      uint8
	ext        []byte
	badSum     bool
	trailing   []byte // Ethernet padding
	ethernet   MAC    // source; zero: macA
	truncateBy int    // bytes taken off the IPv6 payload, checksum of what is left
}

func (f icmp6Frame) build() []byte {
	msg := append([]byte{f.icmpType, f.code, 0, 0}, f.rest...)
	msg = msg[:len(msg)-f.truncateBy]
	src, dst := f.src.As16(), f.dst.As16()
	if len(msg) >= 4 {
		sum := ^slowSum(append(append(append(append([]byte{}, src[:]...), dst[:]...),
			0, 0, byte(len(msg)>>8), byte(len(msg)), 0, 0, 0, 58), msg...))
		if f.badSum {
			sum ^= 0x1234
		}
		msg[2], msg[3] = byte(sum>>8), byte(sum)
	}
	first := f.first
	if len(f.ext) == 0 {
		first = ProtoICMPv6
	}
	from := f.ethernet
	if from == (MAC{}) {
		from = macA
	}
	payload := len(f.ext) + len(msg)
	b := append(append([]byte{}, macB[:]...), from[:]...)
	b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, byte(payload>>8), byte(payload), first, f.hopLimit)
	b = append(append(append(append(b, src[:]...), dst[:]...), f.ext...), msg...)
	return exact(append(b, f.trailing...))
}

// ndRest is what stands behind the checksum of an NS or NA.
func ndRest(flags uint8, target netip.Addr, options ...byte) []byte {
	return append(append([]byte{flags, 0, 0, 0}, target.AsSlice()...), options...)
}

func llOption(kind uint8, m MAC) []byte { return append([]byte{kind, 1}, m[:]...) }

func solicitFrame() icmp6Frame {
	return icmp6Frame{src: ip6A, dst: solNodeB, hopLimit: 255, icmpType: 135, rest: ndRest(0, ip6B, llOption(1, macA)...)}
}

func advertFrame() icmp6Frame {
	return icmp6Frame{src: ip6A, dst: ip6B, hopLimit: 255, icmpType: 136, rest: ndRest(0x60, ip6A, llOption(2, macA)...)}
}

func routerAdvertFrame() icmp6Frame {
	return icmp6Frame{src: linkA, dst: allNodes, hopLimit: 255, icmpType: 134,
		rest: append([]byte{64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}, llOption(1, macA)...)}
}

func routerSolicitFrame() icmp6Frame {
	return icmp6Frame{src: linkA, dst: allRouters, hopLimit: 255, icmpType: 133, rest: append([]byte{0, 0, 0, 0}, llOption(1, macA)...)}
}

func redirectFrame() icmp6Frame {
	rest := append(ndRest(0, linkA), ip6B.AsSlice()...)
	return icmp6Frame{src: linkA, dst: ip6B, hopLimit: 255, icmpType: 137, rest: append(rest, llOption(2, macA)...)}
}

// routerAlert is the hop-by-hop header that MLD bears.
func routerAlert() []byte { return []byte{ProtoICMPv6, 0, 5, 2, 0, 0, 1, 0} }

func mld1Frame(icmpType uint8, group netip.Addr) icmp6Frame {
	return icmp6Frame{src: linkA, dst: group, hopLimit: 1, icmpType: icmpType,
		rest: ndRest(0, group), ext: routerAlert()}
}

func mld2Frame(groups ...netip.Addr) icmp6Frame {
	rest := []byte{0, 0, byte(len(groups) >> 8), byte(len(groups))}
	for _, g := range groups {
		rest = append(append(rest, 4, 0, 0, 0), g.AsSlice()...)
	}
	return icmp6Frame{src: linkA, dst: allMLD2, hopLimit: 1, icmpType: 143, rest: rest, ext: routerAlert()}
}

// tagged puts VLAN tags into a frame, outer first.
func tagged(data []byte, tags ...uint32) []byte {
	b := append([]byte{}, data[:12]...)
	for _, t := range tags {
		b = append(b, byte(t>>24), byte(t>>16), byte(t>>8), byte(t))
	}
	return exact(append(b, data[12:]...))
}

// ip6Ext builds an IPv6 packet whose payload is body and whose first next header is first.
func ip6Ext(first uint8, body []byte) []byte {
	src, dst := ip6A.As16(), ip6B.As16()
	b := append(append([]byte{}, macB[:]...), macA[:]...)
	b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0, byte(len(body)>>8), byte(len(body)), first, 64)
	return exact(append(append(append(b, src[:]...), dst[:]...), body...))
}

// seedFrames is one frame of every class, for fuzzing and for what must hold of
// any frame.
func seedFrames(t testing.TB) [][]byte {
	frag := ipv4Layer(layers.IPProtocolUDP)
	frag.Flags, frag.FragOffset = layers.IPv4MoreFragments, 185
	options := ipv4Layer(layers.IPProtocolUDP)
	options.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
	return [][]byte{
		udp4(t, 18), udp6(t, 18), tcp4(t, 100), tcp6(t, 100), echo4(t, 8, 56), echo4(t, 3, 56),
		arpFrame(t, 1, ip4A, ip4B), arpFrame(t, 2, ip4A, ip4B),
		solicitFrame().build(), advertFrame().build(), routerAdvertFrame().build(), routerSolicitFrame().build(), redirectFrame().build(),
		mld1Frame(131, solNodeB).build(), mld1Frame(132, solNodeB).build(), mld2Frame(solNodeB, allRouters).build(), mld2Frame(solNodeB).build(),
		tagged(udp4(t, 10), 0x81000064), tagged(udp6(t, 10), 0x88a80064, 0x81000065), tagged(udp4(t, 10), 0x81000000),
		tagged(udp4(t, 10), 0x81000001, 0x81000002, 0x81000003), tagged(solicitFrame().build(), 0x81000064),
		serialize(t, ethernet(layers.EthernetTypeIPv4), frag, counted(64)),
		serialize(t, ethernet(layers.EthernetTypeIPv4), options, counted(64)),
		serialize(t, ethernet(0x88cc), counted(46)), serialize(t, ethernet(46), counted(46)),
		ip6Ext(44, append([]byte{17, 0, 0, 1, 0, 0, 0, 9}, counted(64)...)),
		ip6Ext(44, append([]byte{17, 0, 5, 0, 0, 0, 0, 9}, counted(64)...)),
		ip6Ext(43, append([]byte{17, 2, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8}, counted(64)...)),
		ip6Ext(51, append([]byte{6, 4, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8}, counted(64)...)),
		ip6Ext(60, append([]byte{0, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 59, 0, 1, 4, 0, 0, 0, 0}, counted(8)...)),
		ip6Ext(60, []byte{17, 9, 1, 4, 0, 0, 0, 0}), ip6Ext(59, nil),
		{}, counted(13), counted(14),
	}
}
