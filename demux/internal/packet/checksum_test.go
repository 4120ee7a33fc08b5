package packet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// congruent says whether two folded sums are the same number in one's complement
// arithmetic, which has two zeros.
func congruent(a, b uint16) bool { return a%0xffff == b%0xffff }

func TestSumExample(t *testing.T) {
	// RFC 1071, section 3.
	if got := Fold(Sum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}, 0)); got != 0xddf2 {
		t.Errorf("%#x, want 0xddf2", got)
	}
	if got := Fold(Sum([]byte{0x00, 0x01, 0xf2}, 0)); got != 0xf201 {
		t.Errorf("odd: %#x, want 0xf201", got)
	}
}

func TestSumEveryLength(t *testing.T) {
	for _, fill := range [][]byte{counted(300), bytes.Repeat([]byte{0xff}, 300), make([]byte, 300)} {
		for n := range 300 {
			if got, want := Fold(Sum(exact(fill[:n]), 0)), slowSum(fill[:n]); got != want {
				t.Fatalf("%d bytes of %x: %#x, want %#x", n, fill[0], got, want)
			}
		}
	}
}

func TestFold(t *testing.T) {
	words := []uint64{0, 1, 2, 0x7fff, 0x8000, 0xfffd, 0xfffe, 0xffff}
	for _, a := range words {
		for _, b := range words {
			for _, c := range words {
				for _, d := range words {
					sum := a<<48 | b<<32 | c<<16 | d
					var bytes [8]byte
					binary.BigEndian.PutUint64(bytes[:], sum)
					if got, want := Fold(sum), slowSum(bytes[:]); got != want {
						t.Fatalf("%#x folds to %#x, want %#x", sum, got, want)
					}
				}
			}
		}
	}
}

func FuzzSum(f *testing.F) {
	f.Add([]byte{0xff, 0xff, 0, 1}, uint64(0), 2)
	f.Add(bytes.Repeat([]byte{0xff}, 200), ^uint64(0), 64)
	f.Add([]byte(counted(1500)), uint64(1)<<63, 700)
	f.Fuzz(func(t *testing.T, b []byte, initial uint64, cut int) {
		var prefix [8]byte
		for i := range prefix {
			prefix[i] = byte(initial >> (56 - 8*i))
		}
		want := slowSum(append(prefix[:], b...))
		if got := Fold(Sum(exact(b), initial)); !congruent(got, want) {
			t.Fatalf("Sum: %#x, slow %#x", got, want)
		}
		if cut = cut &^ 1; cut < 0 || cut > len(b) {
			return
		}
		if got := Fold(Sum(b[cut:], Sum(b[:cut], initial))); !congruent(got, want) {
			t.Fatalf("in two parts: %#x, slow %#x", got, want)
		}
	})
}

func TestVerifyTransport(t *testing.T) {
	echo6 := icmp6Frame{src: ip6A, dst: ip6B, hopLimit: 64, icmpType: 128, rest: counted(61)}
	padded := append(udp4(t, 3), 1, 2, 3)
	short := tcp4(t, 0)[:14+20+10]
	short[17] = 30
	unchecked := udp4(t, 33)
	unchecked[40], unchecked[41] = 0, 0
	udpShort, udpLong := udp4(t, 40), udp4(t, 40)
	udpShort[39], udpLong[39] = 7, 49
	udpLess := serialize(t, ethernet(layers.EthernetTypeIPv4), ipv4Layer(17), gopacket.Payload(append(udp4(t, 5)[34:47], 1, 2, 3)))
	wrongKind := udp4(t, 40)
	wrongKind[23] = ProtoICMPv6
	routed := ip6Ext(43, append([]byte{17, 0, 2, 1, 0, 0, 0, 0}, udp6(t, 30)[54:]...))
	tests := map[string]struct {
		data      []byte
		ok, known bool
	}{
		"tcp4": {tcp4(t, 1401), true, true}, "tcp6": {tcp6(t, 1401), true, true},
		"udp4": {udp4(t, 1401), true, true}, "udp6": {udp6(t, 1400), true, true},
		"icmp": {echo4(t, 8, 99), true, true}, "icmp6": {echo6.build(), true, true},
		"padding": {padded, true, true}, "tagged": {tagged(udp6(t, 7), 0x81000001), true, true},
		"tcp alone": {bare4(t, ProtoTCP, 20), true, true}, "tcp missing": {bare4(t, ProtoTCP, 0), false, true},
		"udp alone": {udp4(t, 0), true, true}, "icmp alone": {echo4(t, 8, 0), true, true}, "icmp cut": {bare4(t, ProtoICMP, 7), false, true},
		"icmp6 alone": {icmp6Frame{src: ip6A, dst: ip6B, icmpType: 128, rest: counted(4)}.build(), true, true},
		"icmp6 cut":   {icmp6Frame{src: ip6A, dst: ip6B, icmpType: 128, rest: counted(3)}.build(), false, true},
		"tcp cut":     {short, false, true}, "udp below 8": {udpShort, false, true}, "udp beyond": {udpLong, false, true},
		"udp shorter than ip": {udpLess, true, true},
		"udp cut":             {serialize(t, ethernet(layers.EthernetTypeIPv4), ipv4Layer(17), counted(7)), false, true},
		"no udp checksum":     {unchecked, false, false}, "icmp6 in ip4": {wrongKind, false, false},
		"first fragment": {ip6Ext(44, append([]byte{17, 0, 0, 1, 0, 0, 0, 9}, counted(64)...)), false, false},
		"later fragment": {ip6Ext(44, append([]byte{17, 0, 5, 0, 0, 0, 0, 9}, counted(64)...)), false, false},
		"on its way":     {routed, false, false}, "gre": {serialize(t, ethernet(layers.EthernetTypeIPv4), ipv4Layer(47), counted(40)), false, false},
		"arp": {arpFrame(t, 1, ip4A, ip4B), false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data := exact(tt.data)
			var h Header
			if !Parse(data, &h) {
				t.Fatal("malformed")
			}
			if ok, known := VerifyTransport(data, &h); ok != tt.ok || known != tt.known {
				t.Errorf("ok %v known %v, want %v %v", ok, known, tt.ok, tt.known)
			}
			if !tt.ok {
				return
			}
			for i := int(h.L4); i < int(h.End); i++ {
				checkFlipSeen(t, data, &h, i)
			}
		})
	}
}

// bare4 is n bytes of a protocol in IPv4, with a right checksum if it is TCP.
func bare4(t *testing.T, proto uint8, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if proto == ProtoTCP && n >= 20 {
		h := Header{Kind: KindIPv4, SrcIP4: num4(ip4A), DstIP4: num4(ip4B)}
		b[12] = 0x50
		binary.BigEndian.PutUint16(b[16:], ^Fold(Sum(b, h.pseudo(proto, n))))
	}
	return serialize(t, ethernet(layers.EthernetTypeIPv4), ipv4Layer(layers.IPProtocol(proto)), gopacket.Payload(b))
}

// TestVerifyTransportHalfZero: a UDP checksum with one byte of zero is a checksum.
func TestVerifyTransportHalfZero(t *testing.T) {
	for _, at := range []int{40, 41} {
		data := udp4(t, 20)
		data[40], data[41] = 0x11, 0x11
		data[at] = 0
		var h Header
		Parse(data, &h)
		if ok, known := VerifyTransport(data, &h); ok || !known {
			t.Errorf("zero at %d: ok %v known %v", at, ok, known)
		}
	}
}

// TestVerifyTransportForeignHeader: a header that belongs to another frame is not
// followed out of this one.
func TestVerifyTransportForeignHeader(t *testing.T) {
	data := exact(tcp4(t, 40))
	for _, h := range []Header{
		{Kind: KindIPv4, Proto: ProtoTCP, L4: 34, End: uint32(len(data)) + 1},
		{Kind: KindIPv4, Proto: ProtoTCP, L4: 34, End: 33},
		{Kind: KindIPv4, Proto: ProtoTCP, L4: 60000, End: 50000},
		{Kind: KindIPv4, Proto: ProtoTCP, L4: 0, End: 60},
	} {
		if ok, known := VerifyTransport(data, &h); ok || known {
			t.Errorf("%+v: ok %v known %v", h, ok, known)
		}
	}
}

// checkFlipSeen turns one bit, and the checksum must notice; in UDP, what the
// length field does not cover is another's.
func checkFlipSeen(t *testing.T, data []byte, h *Header, i int) {
	t.Helper()
	if h.Proto == ProtoUDP && i >= int(h.L4)+int(data[h.L4+4])<<8+int(data[h.L4+5]) {
		return
	}
	data[i] ^= 0x10
	defer func() { data[i] ^= 0x10 }()
	if ok, known := VerifyTransport(data, h); ok && known {
		t.Errorf("a bit turned at %d is not seen", i)
	}
}

// partial makes the checksum of a frame partial, as a sender with checksum
// offload leaves it: the sum of the pseudo-header in its place.
func partial(t testing.TB, data []byte) ([]byte, frame.Meta) {
	t.Helper()
	var h Header
	if !Parse(data, &h) {
		t.Fatal("malformed")
	}
	offset := map[uint8]int{ProtoTCP: 16, ProtoUDP: 6, ProtoICMPv6: 2}[h.Proto]
	sum := Fold(h.pseudo(h.Proto, int(h.End)-int(h.L4)))
	b := exact(data)
	b[int(h.L4)+offset], b[int(h.L4)+offset+1] = byte(sum>>8), byte(sum)
	return b, frame.Meta{Flags: frame.NeedsChecksum, CsumStart: h.L4, CsumOffset: uint16(offset)}
}

func TestCompleteChecksum(t *testing.T) {
	echo6 := icmp6Frame{src: ip6A, dst: ip6B, hopLimit: 64, icmpType: 128, rest: counted(61)}
	for name, want := range map[string][]byte{
		"tcp4": tcp4(t, 1401), "tcp6": tcp6(t, 1400), "udp4": udp4(t, 99), "udp6": udp6(t, 0), "icmp6": echo6.build(),
		"tagged": tagged(tcp4(t, 100), 0x81000001),
	} {
		t.Run(name, func(t *testing.T) {
			data, m := partial(t, want)
			if !PartialChecksum(data, &m) {
				t.Error("not one that may be passed on")
			}
			m.Flags |= frame.ChecksumVerified
			if !CompleteChecksum(data, &m) || m.Flags != frame.ChecksumVerified {
				t.Fatalf("refused, or flags %#x", m.Flags)
			}
			if !bytes.Equal(data, want) {
				t.Errorf("\ngot  %x\nwant %x", data, want)
			}
			again := exact(data)
			if !CompleteChecksum(again, &m) || !bytes.Equal(again, data) {
				t.Error("a frame without the flag was changed")
			}
		})
	}
}

// TestCompleteChecksumNeverZero: in UDP, zero would mean that there is none.
func TestCompleteChecksumNeverZero(t *testing.T) {
	data, m := partial(t, udp4(t, 2))
	for v := range 0x10000 {
		data[40], data[41], data[42], data[43] = 0, 0, byte(v>>8), byte(v)
		if slowSum(data[34:44]) == 0xffff {
			if !CompleteChecksum(data[:44], &m) || data[40] != 0xff || data[41] != 0xff {
				t.Errorf("wrote %x", data[40:42])
			}
			return
		}
	}
	t.Fatal("no sum of 0xffff found")
}

// TestCompleteChecksumRefuses: a container must not have bytes rewritten that the
// source check has looked at.
func TestCompleteChecksumRefuses(t *testing.T) {
	first := ip6Ext(44, append([]byte{17, 0, 0, 1, 0, 0, 0, 9}, counted(64)...))
	malformed := udp4(t, 20)
	malformed[14] = 0x43
	tests := map[string]struct {
		data          []byte
		start, offset uint16
	}{
		"beyond the frame":    {udp4(t, 20), 34, 60},
		"half beyond":         {udp4(t, 20), 34, 27},
		"start beyond":        {udp4(t, 20), 65535, 65535},
		"source MAC":          {udp4(t, 20), 0, 6},
		"IPv4 source":         {udp4(t, 20), 14, 12},
		"IPv4 source by half": {udp4(t, 20), 33, 0},
		"IPv6 source":         {udp6(t, 20), 14, 8},
		"padding":             {append(udp4(t, 20), 0, 0, 0, 0), 34, 28},
		"half in the padding": {append(udp4(t, 21), 0, 0, 0, 0), 34, 28},
		"ARP sender":          {arpFrame(t, 2, ip4A, ip4B), 22, 0},
		"ARP anywhere":        {append(arpFrame(t, 2, ip4A, ip4B), 0, 0), 42, 0},
		"ND target":           {advertFrame().build(), 54, 8},
		"ND from elsewhere":   {advertFrame().build(), 56, 0},
		"MLD group":           {mld1Frame(131, solNodeB).build(), 62, 8},
		"fragment":            {first, 62, 6},
		"no upper header":     {ip6Ext(60, []byte{17, 9, 1, 4, 0, 0, 0, 0}), 54, 0},
		"malformed":           {malformed, 34, 6},
		"EtherType":           {serialize(t, ethernet(0x88cc), counted(46)), 12, 0},
		"VLAN":                {tagged(serialize(t, ethernet(0x88cc), counted(46)), 0x81000001), 14, 0},
		"runt":                {make([]byte, 10), 0, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data := exact(tt.data)
			m := frame.Meta{Flags: frame.NeedsChecksum, CsumStart: tt.start, CsumOffset: tt.offset}
			if PartialChecksum(data, &m) || CompleteChecksum(data, &m) || m.Flags != frame.NeedsChecksum {
				t.Error("completed")
			}
			if !bytes.Equal(data, tt.data) {
				t.Error("the frame was changed")
			}
		})
	}
	// PPPoE and tunnels start their checksum behind headers that nobody looks at.
	for _, start := range []uint16{14, 42, 72} {
		data := serialize(t, ethernet(0x8864), counted(60))
		m := frame.Meta{Flags: frame.NeedsChecksum, CsumStart: start, CsumOffset: 0}
		if want := slowComplete(data, int(start), 0); !CompleteChecksum(data, &m) || !bytes.Equal(data, want) {
			t.Errorf("start %d:\ngot  %x\nwant %x", start, data, want)
		}
	}
}

func FuzzCompleteChecksum(f *testing.F) {
	for _, data := range seedFrames(f) {
		f.Add(data, uint16(34), uint16(16))
		f.Add(data, uint16(54), uint16(2))
		f.Add(data, uint16(14), uint16(12))
	}
	f.Fuzz(func(t *testing.T, in []byte, start, offset uint16) {
		data := exact(in)
		m := frame.Meta{Flags: frame.NeedsChecksum, CsumStart: start, CsumOffset: offset}
		var before, after Header
		sane := Parse(in, &before)
		if !CompleteChecksum(data, &m) {
			if !bytes.Equal(data, in) || m.Flags != frame.NeedsChecksum {
				t.Fatal("refused, and changed")
			}
			return
		}
		if m.Flags != 0 || !bytes.Equal(data, slowComplete(in, int(start), int(offset))) {
			t.Fatalf("\ngot  %x\nslow %x", data, slowComplete(in, int(start), int(offset)))
		}
		checkSameLook(t, sane, &before, data, &after)
	})
}

// checkSameLook: what the source check has seen, it would see again. A checksum
// that is completed may make an ND message good or bad, but not another.
func checkSameLook(t *testing.T, sane bool, before *Header, data []byte, after *Header) {
	t.Helper()
	if Parse(data, after) != sane {
		t.Fatal("a sane frame became malformed, or the other way round")
	}
	if before.ND != NDNone && after.ND != NDNone {
		if before.ND != after.ND && before.ND != NDBad && after.ND != NDBad {
			t.Fatalf("ND %d became %d", before.ND, after.ND)
		}
		for _, h := range []*Header{before, after} {
			h.ND, h.Target, h.LLAddr, h.HasLLAddr, h.MLDSolicitedOnly = NDNone, [16]byte{}, MAC{}, false, false
		}
	}
	if *after != *before {
		t.Fatalf("\nbefore %+v\nafter  %+v", before, after)
	}
}
