package packet

import (
	"bytes"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// gso describes a super-frame whose sender leaves the checksum alone.
func gso(kind uint8, size uint16) frame.Meta {
	return frame.Meta{GSO: kind, GSOSize: size}
}

// gsoPartial describes one as senders do: with a partial checksum at start.
func gsoPartial(kind uint8, size, start, offset uint16) frame.Meta {
	return frame.Meta{GSO: kind, GSOSize: size, Flags: frame.NeedsChecksum, CsumStart: start, CsumOffset: offset, HdrLen: 9999}
}

// extended6 is a TCP super-frame behind a destination options header.
func extended6(t testing.TB, n int) []byte {
	tcp := tcp6(t, n)
	return ip6Ext(60, append([]byte{6, 0, 1, 4, 0, 0, 0, 0}, tcp[54:]...))
}

func TestSegment(t *testing.T) {
	optioned := ipv4Layer(layers.IPProtocolTCP)
	optioned.Options = []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
	tests := map[string]struct {
		data  []byte
		m     frame.Meta
		count int
		max   int
	}{
		"tcp4":          {tcp4(t, 4000), gso(frame.GSOTCPv4, 1448), 3, 66 + 1448},
		"tcp4 exact":    {tcp4(t, 2896), gso(frame.GSOTCPv4, 1448), 2, 66 + 1448},
		"tcp4 64 KiB":   {tcp4(t, 65535-52), gso(frame.GSOTCPv4, 1448), 46, 66 + 1448},
		"tcp4 odd size": {tcp4(t, 4000), gso(frame.GSOTCPv4, 333), 13, 66 + 333},
		"tcp4 one":      {tcp4(t, 1000), gso(frame.GSOTCPv4, 1448), 1, 1066},
		"tcp4 empty":    {tcp4(t, 0), gso(frame.GSOTCPv4, 1448), 1, 66},
		"tcp4 options":  {serialize(t, ethernet(layers.EthernetTypeIPv4), optioned, tcpLayer(optioned), counted(3000)), gso(frame.GSOTCPv4, 1000), 3, 1070},
		"tcp4 tagged":   {tagged(tcp4(t, 4000), 0x81000064), gso(frame.GSOTCPv4, 1448), 3, 70 + 1448},
		"tcp6":          {tcp6(t, 65535-32), gso(frame.GSOTCPv6, 1428), 46, 86 + 1428},
		"tcp6 extended": {extended6(t, 4000), gso(frame.GSOTCPv6, 1400), 3, 94 + 1400},
		"udp4":          {udp4(t, 4000), gso(frame.GSOUDP, 1000), 4, 1042},
		"udp6":          {udp6(t, 4001), gso(frame.GSOUDP, 1000), 5, 1062},
		"tcp4 partial":  {tcp4(t, 4000), gsoPartial(frame.GSOTCPv4, 1448, 34, 16), 3, 66 + 1448},
		"tcp6 partial":  {tcp6(t, 4000), gsoPartial(frame.GSOTCPv6, 1428, 54, 16), 3, 86 + 1428},
		"udp4 partial":  {udp4(t, 4000), gsoPartial(frame.GSOUDP, 1000, 34, 6), 4, 1042},
		"tcp4 bare":     {bare4(t, ProtoTCP, 20)[:54], gso(frame.GSOTCPv4, 1), 1, 54},
		"udp4 empty":    {udp4(t, 0)[:42], gso(frame.GSOUDP, 10), 1, 42},
		"most of UDP":   {udp4(t, MaxSegments), gso(frame.GSOUDP, 1), MaxSegments, 43},
		"most":          {tcp4(t, 65536-64), gso(frame.GSOTCPv4, 64), 1023, 130},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data := exact(tt.data)
			checkSegments(t, data, &tt.m, tt.count)
			padded := exact(append(append([]byte{}, tt.data...), 1, 2, 3))
			checkSegments(t, padded, &tt.m, tt.count)
			var s Segmenter
			if s.Init(data, &tt.m); s.MaxLen() != tt.max || tt.count > 1 && s.HeaderLen() != tt.max-int(tt.m.GSOSize) {
				t.Errorf("MaxLen %d, want %d; HeaderLen %d", s.MaxLen(), tt.max, s.HeaderLen())
			}
		})
	}
}

// checkSegments compares with the slow version, in every order and room.
func checkSegments(t *testing.T, data []byte, m *frame.Meta, count int) {
	t.Helper()
	want := slowSegments(data, m)
	var s Segmenter
	if !s.Init(data, m) || s.Count() != count || SegmentCount(data, m) != count || len(want) != count {
		t.Fatalf("%d segments, slow %d, want %d", s.Count(), len(want), count)
	}
	for i := count - 1; i >= 0; i-- {
		dst := make([]byte, s.MaxLen(), s.MaxLen()+10)
		n := s.At(dst, i)
		if !bytes.Equal(dst[:n], want[i]) {
			t.Fatalf("segment %d:\ngot  %x\nwant %x", i, dst[:n], want[i])
		}
		clear(dst)
		if SegmentAt(dst[:n], data, m, i) != n || !bytes.Equal(dst[:n], want[i]) {
			t.Fatalf("segment %d by itself differs", i)
		}
		if s.At(dst[:n-1], i) != 0 {
			t.Fatalf("segment %d written into too little room", i)
		}
	}
	if room := make([]byte, 70000); s.At(room, count) != 0 || s.At(room, -1) != 0 || SegmentAt(room, data, m, count) != 0 {
		t.Error("a segment that is not there")
	}
}

// TestSegmentFlags reads the segments with gopacket for what a receiver relies on.
func TestSegmentFlags(t *testing.T) {
	data, m := tcp4(t, 3000), gso(frame.GSOTCPv4, 1000)
	dst := make([]byte, 1500)
	for i := range 3 {
		n := SegmentAt(dst, data, &m, i)
		p := decode(t, dst[:n])
		ip, tcp := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4), p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if tcp.CWR != (i == 0) || tcp.PSH != (i == 2) || tcp.FIN != (i == 2) || !tcp.ACK || tcp.Ack != 7 {
			t.Errorf("segment %d: flags of %+v", i, tcp)
		}
		if start := uint32(0xfffffff0); tcp.Seq != start+uint32(1000*i) || ip.Id != uint16(0xfffe+i) || int(ip.Length) != n-14 {
			t.Errorf("segment %d: seq %#x id %#x length %d", i, tcp.Seq, ip.Id, ip.Length)
		}
		var h Header
		Parse(dst[:n], &h)
		if ok, known := VerifyTransport(dst[:n], &h); !ok || !known || slowSum(dst[14:34]) != 0xffff {
			t.Errorf("segment %d: a checksum does not hold", i)
		}
	}
}

// TestSegmentUDPZero: a checksum that comes out as zero is written as 0xffff.
func TestSegmentUDPZero(t *testing.T) {
	m, dst := gso(frame.GSOUDP, 10), make([]byte, 100)
	data := udp4(t, 20)
	for v := range 0x10000 {
		data[42], data[43] = byte(v>>8), byte(v)
		if SegmentAt(dst, data, &m, 0); dst[40] == 0 && dst[41] == 0 {
			t.Fatalf("payload %#x has checksum zero", v)
		}
	}
}

func TestSegmentRefuses(t *testing.T) {
	change := func(b []byte, at int, v ...byte) []byte { copy(b[at:], v); return b }
	frag := ip6Ext(44, append([]byte{6, 0, 0, 1, 0, 0, 0, 9}, tcp6(t, 200)[54:]...))
	routed := ip6Ext(43, append([]byte{6, 0, 2, 1, 0, 0, 0, 0}, tcp6(t, 200)[54:]...))
	tests := map[string]struct {
		data []byte
		m    frame.Meta
	}{
		"no super-frame":      {tcp4(t, 2000), gso(frame.GSONone, 1000)},
		"unknown kind":        {tcp4(t, 2000), gso(77, 1000)},
		"size 0":              {tcp4(t, 2000), gso(frame.GSOTCPv4, 0)},
		"IPv6 as TCPv4":       {tcp6(t, 2000), gso(frame.GSOTCPv4, 1000)},
		"IPv4 as TCPv6":       {tcp4(t, 2000), gso(frame.GSOTCPv6, 1000)},
		"UDP as TCPv4":        {udp4(t, 2000), gso(frame.GSOTCPv4, 1000)},
		"TCP as UDP":          {tcp4(t, 2000), gso(frame.GSOUDP, 1000)},
		"checksum elsewhere":  {tcp4(t, 2000), gsoPartial(frame.GSOTCPv4, 1000, 14, 12)},
		"checksum behind":     {tcp4(t, 2000), gsoPartial(frame.GSOTCPv4, 1000, 35, 16)},
		"TCP's in UDP":        {udp4(t, 2000), gsoPartial(frame.GSOUDP, 1000, 34, 16)},
		"UDP's in TCP":        {tcp6(t, 2000), gsoPartial(frame.GSOTCPv6, 1000, 54, 6)},
		"too many":            {tcp4(t, 65000), gso(frame.GSOTCPv4, 8)},
		"one too many":        {udp4(t, 1025), gso(frame.GSOUDP, 1)},
		"header length 16":    {change(tcp4(t, 2000), 46, 0x40), gso(frame.GSOTCPv4, 1000)},
		"header beyond frame": {change(tcp4(t, 0), 46, 0xf0), gso(frame.GSOTCPv4, 1000)},
		"no room for TCP":     {serialize(t, ethernet(layers.EthernetTypeIPv4), ipv4Layer(6), counted(19)), gso(frame.GSOTCPv4, 1000)},
		"no room for UDP":     {serialize(t, ethernet(layers.EthernetTypeIPv4), ipv4Layer(17), counted(7)), gso(frame.GSOUDP, 1000)},
		"first fragment":      {change(tcp4(t, 2000), 20, 0x20, 0), gso(frame.GSOTCPv4, 1000)},
		"later fragment":      {change(tcp4(t, 2000), 20, 0, 1), gso(frame.GSOTCPv4, 1000)},
		"fragment of IPv6":    {frag, gso(frame.GSOTCPv6, 100)},
		"on its way":          {routed, gso(frame.GSOTCPv6, 100)},
		"length beyond frame": {change(tcp4(t, 2000), 16, 0xff), gso(frame.GSOTCPv4, 1000)},
		"length 0":            {change(tcp4(t, 2000), 16, 0, 0), gso(frame.GSOTCPv4, 1000)},
		"ARP":                 {arpFrame(t, 1, ip4A, ip4B), gso(frame.GSOTCPv4, 1000)},
		"empty":               {nil, gso(frame.GSOTCPv4, 1000)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := Segmenter{count: 3, data: tt.data, size: 1}
			if s.Init(tt.data, &tt.m) || s.Count() != 0 || SegmentCount(tt.data, &tt.m) != 0 {
				t.Error("taken")
			}
			if s.MaxLen() != 0 || s.HeaderLen() != 0 || s.At(make([]byte, 3000), 0) != 0 || SegmentAt(make([]byte, 3000), tt.data, &tt.m, 0) != 0 {
				t.Error("cut")
			}
		})
	}
}

func FuzzSegment(f *testing.F) {
	for _, data := range seedFrames(f) {
		f.Add(data, frame.GSOTCPv4, uint16(40))
		f.Add(data, frame.GSOTCPv6, uint16(40))
		f.Add(data, frame.GSOUDP, uint16(7))
	}
	f.Add(tcp4(f, 3000), frame.GSOTCPv4, uint16(1448))
	f.Add(tagged(extended6(f, 3000), 0x88a80001, 0x81000002), frame.GSOTCPv6, uint16(1000))
	f.Fuzz(func(t *testing.T, in []byte, kind uint8, size uint16) {
		data, m := exact(in), gso(kind, size)
		var s Segmenter
		if !s.Init(data, &m) {
			return
		}
		checkPayload(t, data, &s)
		if want := slowSegments(data, &m); judgeable(data, want) {
			checkSegments(t, data, &m, len(want))
		}
		if !bytes.Equal(data, in) {
			t.Fatal("the super-frame was changed")
		}
	})
}

// judgeable says whether gopacket can be the judge of a super-frame: what it
// writes when nothing is to be cut must be what it has read, but for lengths and
// checksums. It is not where reserved bits are set, or options are odd.
func judgeable(data []byte, slow [][]byte) bool {
	if slow == nil {
		return false
	}
	m := frame.Meta{GSOSize: 65535}
	whole := slowSegments(data, &m)
	if len(whole) != 1 {
		return false
	}
	var a, b Header
	if !Parse(data, &a) || !Parse(whole[0], &b) {
		return false
	}
	x, y := exact(data[:a.End]), exact(whole[0])
	if len(x) != len(y) || a.L4 != b.L4 {
		return false
	}
	for _, f := range [][]byte{x, y} {
		blank(f, &a)
	}
	return bytes.Equal(x, y)
}

// blank clears what a segmenter writes anew even in a single segment.
func blank(f []byte, h *Header) {
	if h.Kind == KindIPv4 {
		clear(f[h.L3+10 : h.L3+12])
	}
	if h.Proto == ProtoTCP {
		clear(f[h.L4+16 : h.L4+18])
	} else {
		clear(f[h.L4+4 : h.L4+8])
	}
}

// checkPayload: whatever the frame is, its segments carry its payload once and in
// order, are sane, and have right checksums.
func checkPayload(t *testing.T, data []byte, s *Segmenter) {
	t.Helper()
	var whole, seg Header
	Parse(data, &whole)
	var payload []byte
	dst := make([]byte, s.MaxLen())
	for i := range s.Count() {
		n := s.At(dst, i)
		if n == 0 || !Parse(exact(dst[:n]), &seg) || seg.L4 != whole.L4 || seg.Proto != whole.Proto || int(seg.End) != n {
			t.Fatalf("segment %d of %d bytes: %+v", i, n, seg)
		}
		if ok, known := VerifyTransport(dst[:n], &seg); !ok || !known {
			t.Fatalf("segment %d: ok %v known %v", i, ok, known)
		}
		payload = append(payload, dst[s.hdr:n]...)
	}
	if !bytes.Equal(payload, data[s.hdr:whole.End]) {
		t.Fatal("the segments do not carry the payload")
	}
}
