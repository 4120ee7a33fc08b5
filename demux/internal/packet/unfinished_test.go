package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// unfinish makes a finished frame one as a stack hands it to a device that
// completes checksums, and returns it with where its checksum stands.
func unfinish(t testing.TB, whole []byte) (data []byte, at int) {
	t.Helper()
	data = exact(whole)
	var h Header
	if !h.transport(data) || h.L4 == 0 {
		t.Fatalf("%x is no packet", data)
	}
	b, at := h.checksummed(data)
	if b == nil {
		t.Fatalf("%x has no checksum", data)
	}
	at += int(h.L4)
	binary.BigEndian.PutUint16(data[at:], Fold(h.pseudo(h.Proto, len(b))))
	return data, at
}

// mark is MarkUnfinished as a worker calls it, and then what the delivery does.
func mark(t testing.TB, data []byte) (got []byte, m frame.Meta) {
	t.Helper()
	got = exact(data)
	var h Header
	if !ParseFast(got, &h) {
		t.Fatalf("%x is malformed", data)
	}
	finished := h.Kind == KindIPv4 && h.L3 == EthernetLen && got[14] == 0x45 && !LooksUnfinished(got)
	MarkUnfinished(got, &h, &m)
	marked := m
	if finished && (m != frame.Meta{} || !bytes.Equal(got, data)) {
		t.Fatalf("%x does not look unfinished, and was marked as %+v", data, marked)
	}
	if !CompleteChecksum(got, &m) {
		t.Fatalf("%x was marked as %+v, which cannot be completed", data, marked)
	}
	return got, marked
}

func layered(t testing.TB, ip gopacket.SerializableLayer, rest ...gopacket.SerializableLayer) []byte {
	et := layers.EthernetTypeIPv4
	if _, ok := ip.(*layers.IPv6); ok {
		et = layers.EthernetTypeIPv6
	}
	return serialize(t, append([]gopacket.SerializableLayer{ethernet(et), ip}, rest...)...)
}

func udpOver(ip gopacket.NetworkLayer) *layers.UDP {
	u := &layers.UDP{SrcPort: 1000, DstPort: 2000}
	_ = u.SetNetworkLayerForChecksum(ip)
	return u
}

func tcpOver(ip gopacket.NetworkLayer) *layers.TCP {
	s := tcpLayer(ip)
	_ = s.SetNetworkLayerForChecksum(ip)
	return s
}

// wholeFrames are frames with right checksums by gopacket, in which one is to be
// found.
func wholeFrames(t testing.TB) map[string][]byte {
	v4, v6 := ipv4Layer(layers.IPProtocolUDP), ipv6Layer(layers.IPProtocolUDP)
	t4, t6 := ipv4Layer(layers.IPProtocolTCP), ipv6Layer(layers.IPProtocolTCP)
	options := ipv4Layer(layers.IPProtocolUDP)
	options.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}} // router alert
	hop := ipv6Layer(layers.IPProtocolIPv6Destination)
	dest := &layers.IPv6Destination{Options: []*layers.IPv6DestinationOption{{OptionType: 1, OptionData: []byte{0, 0, 0, 0}}}}
	dest.NextHeader = layers.IPProtocolUDP
	frames := map[string][]byte{
		"UDP v4, options":                    layered(t, options, udpOver(options), counted(33)),
		"UDP v6, behind destination options": layered(t, hop, dest, udpOver(hop), counted(33)),
	}
	for _, n := range []int{0, 1, 2, 33, 1400} {
		frames[fmt.Sprintf("UDP v4, %d", n)] = layered(t, v4, udpOver(v4), counted(n))
		frames[fmt.Sprintf("UDP v6, %d", n)] = layered(t, v6, udpOver(v6), counted(n))
		frames[fmt.Sprintf("TCP v4, %d", n)] = layered(t, t4, tcpOver(t4), counted(n))
		frames[fmt.Sprintf("TCP v6, %d", n)] = layered(t, t6, tcpOver(t6), counted(n))
	}
	return frames
}

// An unfinished checksum is completed to what gopacket says, and a finished one
// stays, bit by bit; so do both with padding behind the packet.
func TestMarkUnfinished(t *testing.T) {
	for name, whole := range wholeFrames(t) {
		t.Run(name, func(t *testing.T) {
			for _, padding := range [][]byte{nil, {0, 0, 0}, {0xff, 1}} {
				want := append(exact(whole), padding...)
				if got, m := mark(t, want); !bytes.Equal(got, want) || m != (frame.Meta{}) {
					t.Errorf("a finished frame became %x (%+v), want %x", got, m, want)
				}
				partial, _ := unfinish(t, whole)
				got, m := mark(t, append(partial, padding...))
				if !bytes.Equal(got, want) {
					t.Errorf("completed to %x, want %x", got, want)
				}
				var h Header
				if h.transport(want); (m.Flags == frame.NeedsChecksum) != (int(h.End) == len(want)) {
					t.Errorf("with %d bytes of padding: %+v", len(padding), m)
				}
			}
		})
	}
}

// What has no checksum that could be completed is left alone.
func TestMarkUnfinishedLeavesAlone(t *testing.T) {
	first := ipv4Layer(layers.IPProtocolUDP)
	first.Flags = layers.IPv4MoreFragments
	later := ipv4Layer(layers.IPProtocolUDP)
	later.FragOffset = 100
	plain := ipv4Layer(layers.IPProtocolUDP)
	partial := func(whole []byte) []byte { data, _ := unfinish(t, whole); return data }
	short := partial(layered(t, plain, udpOver(plain), counted(33)))
	long := exact(short)
	binary.BigEndian.PutUint16(short[EthernetLen+ipv4Len+4:], 7)
	binary.BigEndian.PutUint16(long[EthernetLen+ipv4Len+4:], 42+1)
	none := layered(t, plain, udpOver(plain), counted(33))
	copy(none[EthernetLen+ipv4Len+udpChecksum:], []byte{0, 0})
	firstFrame := layered(t, first, udpOver(first), counted(32))
	binary.BigEndian.PutUint16(firstFrame[EthernetLen+ipv4Len+udpChecksum:], fragmentSum(t, firstFrame))
	icmp := ipv4Layer(layers.IPProtocolICMPv4)
	for name, data := range map[string][]byte{
		"first fragment":     firstFrame,
		"later fragment":     layered(t, later, counted(40)),
		"UDP length below 8": short,
		"UDP beyond IP":      long,
		"UDP without":        none,
		"ICMP":               layered(t, icmp, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}, counted(20)),
		"ARP":                serialize(t, ethernet(layers.EthernetTypeARP), counted(28)),
		"TCP cut short":      layered(t, ipv4Layer(layers.IPProtocolTCP), counted(19)),
		"routed on":          routedFrame(t),
	} {
		if got, m := mark(t, data); !bytes.Equal(got, data) || m != (frame.Meta{}) {
			t.Errorf("%s: became %x (%+v), want %x", name, got, m, data)
		}
	}
	m := frame.Meta{Flags: frame.NeedsChecksum, CsumStart: 34, CsumOffset: 6}
	data, was := exact(partial(layered(t, plain, udpOver(plain), counted(8)))), m
	var h Header
	if MarkUnfinished(data, &h, &m); m != was {
		t.Errorf("a frame that was marked already became %+v", m)
	}
}

// fragmentSum is the pseudo-header's sum of a datagram in spite of its being a
// fragment.
func fragmentSum(t testing.TB, data []byte) uint16 {
	var h Header
	if !h.transport(data) {
		t.Fatal("malformed")
	}
	return Fold(h.pseudo(ProtoUDP, int(h.End)-int(h.L4)))
}

// routedFrame has an unfinished checksum by the destination in its header, which is
// not its last one.
func routedFrame(t testing.TB) []byte {
	ip := ipv6Layer(layers.IPProtocolIPv6Routing)
	data := layered(t, ip, gopacket.Payload(append([]byte{ProtoUDP, 2, 0, 1, 0, 0, 0, 0}, ip6B.AsSlice()...)),
		gopacket.Payload([]byte{3, 232, 7, 208, 0, 12, 0, 0, 1, 2, 3, 4}))
	var h Header
	if !h.transport(data) || !h.routed || h.L4 == 0 {
		t.Fatalf("%+v", h)
	}
	binary.BigEndian.PutUint16(data[int(h.L4)+udpChecksum:], Fold(h.pseudo(ProtoUDP, 12)))
	return data
}

// Whatever a frame holds, marking it changes nothing but a checksum that was
// unfinished, and what is then completed is right.
func FuzzMarkUnfinished(f *testing.F) {
	for _, data := range wholeFrames(f) {
		partial, _ := unfinish(f, data)
		f.Add(data)
		f.Add(partial)
		f.Add(append(partial, 0, 1, 2))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var h Header
		if !ParseFast(data, &h) {
			return
		}
		whole := exact(data)
		got, m := exact(data), frame.Meta{}
		MarkUnfinished(got, &h, &m)
		if m == (frame.Meta{}) && bytes.Equal(got, whole) {
			return
		}
		if !CompleteChecksum(got, &m) {
			t.Fatalf("%x was marked as %+v", whole, m)
		}
		if !Parse(got, &h) {
			t.Fatalf("%x became malformed", whole)
		}
		if ok, known := VerifyTransport(got, &h); !ok || !known {
			t.Fatalf("%x became %x, which is wrong (known %v)", whole, got, known)
		}
		b, at := h.checksummed(got)
		at += int(h.L4)
		copy(got[at:at+2], whole[at:at+2])
		if b == nil || !bytes.Equal(got, whole) {
			t.Fatalf("%x: more than the checksum was changed: %x", whole, got)
		}
	})
}

func TestMarkUnfinishedAllocatesNothing(t *testing.T) {
	for name, whole := range wholeFrames(t) {
		data, _ := unfinish(t, whole)
		var h Header
		if n := testing.AllocsPerRun(100, func() {
			m := frame.Meta{}
			ParseFast(data, &h)
			MarkUnfinished(data, &h, &m)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkMarkUnfinished(b *testing.B) {
	for name, data := range map[string][]byte{"v4": udp4(b, 18), "v6": udp6(b, 18)} {
		b.Run(name, func(b *testing.B) {
			var h Header
			m := frame.Meta{}
			ParseFast(data, &h)
			for b.Loop() {
				MarkUnfinished(data, &h, &m)
			}
		})
	}
}
