package packet

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// fast is what ParseFast promises of a header.
func fast(h *Header) Header {
	f := Header{Dst: h.Dst, Src: h.Src, VLAN: h.VLAN, EtherType: h.EtherType, L3: h.L3, Tags: h.Tags, Kind: h.Kind}
	switch h.Kind {
	case KindIPv4:
		f.SrcIP4, f.DstIP4 = h.SrcIP4, h.DstIP4
	case KindIPv6:
		f.SrcIP6, f.DstIP6 = h.SrcIP6, h.DstIP6
	}
	return f
}

func TestParseKinds(t *testing.T) {
	v4 := Header{Dst: macB, Src: macA, EtherType: EtherTypeIPv4, L3: 14, Kind: KindIPv4, SrcIP4: num4(ip4A), DstIP4: num4(ip4B)}
	v6 := Header{Dst: macB, Src: macA, EtherType: EtherTypeIPv6, L3: 14, Kind: KindIPv6, SrcIP6: ip6A.As16(), DstIP6: ip6B.As16()}
	with := func(h Header, change func(*Header)) Header { change(&h); return h }
	bare := exact(serialize(t, ethernet(layers.EthernetTypeIPv4), ipv4Layer(layers.IPProtocolTCP))[:34])
	padded := append(udp4(t, 4), 1, 2, 3, 4, 5, 6, 7, 8, 9)
	tests := map[string]struct {
		data []byte
		want Header
	}{
		"udp4":        {udp4(t, 30), with(v4, func(h *Header) { h.Proto, h.L4, h.End = 17, 34, 72 })},
		"tcp4":        {tcp4(t, 10), with(v4, func(h *Header) { h.Proto, h.L4, h.End = 6, 34, 76 })},
		"no payload":  {bare, with(v4, func(h *Header) { h.Proto, h.L4, h.End = 6, 34, 34 })},
		"padding":     {padded, with(v4, func(h *Header) { h.Proto, h.L4, h.End = 17, 34, 46 })},
		"udp6":        {udp6(t, 30), with(v6, func(h *Header) { h.Proto, h.L4, h.End = 17, 54, 92 })},
		"no next":     {ip6Ext(59, nil), with(v6, func(h *Header) { h.Proto, h.L4, h.End = 59, 54, 54 })},
		"one tag":     {tagged(udp4(t, 30), 0x8100e064), with(v4, func(h *Header) { h.Tags, h.VLAN, h.L3, h.Proto, h.L4, h.End = 1, 100, 18, 17, 38, 76 })},
		"two tags":    {tagged(udp6(t, 30), 0x88a80fff, 0x81000005), with(v6, func(h *Header) { h.Tags, h.VLAN, h.L3, h.Proto, h.L4, h.End = 2, 4095, 22, 17, 62, 100 })},
		"priority":    {tagged(udp4(t, 30), 0x8100e000), with(v4, func(h *Header) { h.Tags, h.L3, h.Proto, h.L4, h.End = 1, 18, 17, 38, 76 })},
		"three tags":  {tagged(udp4(t, 30), 0x81000001, 0x81000002, 0x81000003), Header{Dst: macB, Src: macA, Tags: 2, VLAN: 1, L3: 22, EtherType: EtherTypeVLAN}},
		"tag only":    {tagged(counted(14), 0x81000007), Header{Dst: MAC(counted(6)), Src: MAC(counted(12)[6:]), EtherType: 0x545b, L3: 18, Tags: 1, VLAN: 7}},
		"lldp":        {serialize(t, ethernet(0x88cc), counted(46)), Header{Dst: macB, Src: macA, EtherType: 0x88cc, L3: 14}},
		"802.3":       {serialize(t, ethernet(46), counted(46)), Header{Dst: macB, Src: macA, EtherType: 46, L3: 14}},
		"header only": {counted(14), Header{Dst: MAC(counted(6)), Src: MAC(counted(12)[6:]), EtherType: 0x545b, L3: 14}},
		"arp": {arpFrame(t, 1, ip4A, ip4B), Header{Dst: everyMA, Src: macA, EtherType: EtherTypeARP, L3: 14, Kind: KindARP,
			SrcIP4: num4(ip4A), DstIP4: num4(ip4B), ARPOp: 1, LLAddr: macA, HasLLAddr: true, ARPTargetMAC: macB}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var quick Header
			got := Header{Tags: 7, SrcIP4: 99, Frag: true, ND: NDBad, L4: 9, routed: true, MLDSolicitedOnly: true}
			if !Parse(exact(tt.data), &got) || got != tt.want {
				t.Errorf("Parse:\ngot  %+v\nwant %+v", got, tt.want)
			}
			if !ParseFast(exact(tt.data), &quick) || fast(&quick) != fast(&tt.want) || quick.ND != NDNone {
				t.Errorf("ParseFast:\ngot  %+v\nwant %+v", quick, tt.want)
			}
		})
	}
}

func TestParseMalformed(t *testing.T) {
	change := func(b []byte, at int, v ...byte) []byte { copy(b[at:], v); return b }
	tests := map[string]struct {
		data    []byte
		bodyARP bool // ParseFast does not look so far
	}{
		"empty":              {nil, false},
		"runt":               {make([]byte, 13), false},
		"tag cut":            {tagged(udp4(t, 0), 0x81000001)[:17], false},
		"second tag cut":     {tagged(udp4(t, 0), 0x81000001, 0x81000001)[:21], false},
		"v4 header cut":      {udp4(t, 0)[:33], false},
		"v4 version 6":       {change(udp4(t, 8), 14, 0x65), false},
		"v4 header length 4": {change(udp4(t, 8), 14, 0x44), false},
		"v4 options cut":     {change(udp4(t, 0), 14, 0x4f), false},
		"v4 total < header":  {change(udp4(t, 8), 16, 0, 19), false},
		"v4 total 0":         {change(udp4(t, 8), 16, 0, 0), false},
		"v4 total > frame":   {change(udp4(t, 32), 16, 0, 61), false},
		"v6 header cut":      {udp6(t, 0)[:53], false},
		"v6 version 4":       {change(udp6(t, 8), 14, 0x46), false},
		"v6 length > frame":  {change(udp6(t, 8), 18, 0, 17), false},
		"arp cut":            {arpFrame(t, 1, ip4A, ip4B)[:41], true},
		"arp of 802":         {change(arpFrame(t, 1, ip4A, ip4B), 14, 0, 6), true},
		"arp of IPv6":        {change(arpFrame(t, 1, ip4A, ip4B), 16, 0x86, 0xdd), true},
		"arp MAC length 8":   {change(arpFrame(t, 1, ip4A, ip4B), 18, 8), true},
		"arp IP length 16":   {change(arpFrame(t, 1, ip4A, ip4B), 19, 16), true},
		"arp from a group":   {change(arpFrame(t, 1, ip4A, ip4B), 22, 0x33), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var h Header
			if Parse(exact(tt.data), &h) || h.Kind != KindMalformed || h.ND != NDNone {
				t.Errorf("Parse took it: %+v", h)
			}
			if ok := ParseFast(exact(tt.data), &h); ok != tt.bodyARP || (h.Kind == KindMalformed) == tt.bodyARP {
				t.Errorf("ParseFast said %v, kind %d", ok, h.Kind)
			}
		})
	}
}

func TestParseFragments4(t *testing.T) {
	tests := map[string]struct {
		flags  layers.IPv4Flag
		offset uint16
		frag   bool
		l4     uint16
	}{
		"whole": {layers.IPv4DontFragment, 0, false, 34},
		"first": {layers.IPv4MoreFragments, 0, true, 34},
		"inner": {layers.IPv4MoreFragments, 1, true, 0},
		"last":  {0, 0x1fff, true, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ip := ipv4Layer(layers.IPProtocolTCP)
			ip.Flags, ip.FragOffset = tt.flags, tt.offset
			var h Header
			if !Parse(serialize(t, ethernet(layers.EthernetTypeIPv4), ip, counted(32)), &h) {
				t.Fatal("malformed")
			}
			if h.Frag != tt.frag || h.L4 != tt.l4 || h.Proto != ProtoTCP {
				t.Errorf("got frag %v, l4 %d, proto %d", h.Frag, h.L4, h.Proto)
			}
		})
	}
}

// checkAgainstGopacket compares what Parse says of a frame with what gopacket
// says, as far as gopacket can decode it. (It also lists a layer in which it
// failed, without contents.)
func checkAgainstGopacket(t *testing.T, data []byte, h *Header) {
	t.Helper()
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
	checkEthernet(t, p, h)
	checkIPv4(t, p, h, len(data))
	checkIPv6(t, p, h, len(data))
	checkARP(t, p, h)
}

func checkEthernet(t *testing.T, p gopacket.Packet, h *Header) {
	t.Helper()
	eth, ok := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if !ok || h.Kind == KindMalformed {
		return
	}
	if MAC(eth.DstMAC) != h.Dst || MAC(eth.SrcMAC) != h.Src {
		t.Errorf("MACs: %x %x, gopacket %v %v", h.Dst, h.Src, eth.DstMAC, eth.SrcMAC)
	}
	if ls := p.Layers(); len(ls) > 1 { // deeper ones are tunnelled
		if q, ok := ls[1].(*layers.Dot1Q); ok && q.VLANIdentifier != h.VLAN {
			t.Errorf("VLAN %d, gopacket %d", h.VLAN, q.VLANIdentifier)
		}
	}
}

// outermost says whether l is the first network layer: frames carry IP in IP.
func outermost(p gopacket.Packet, l gopacket.Layer, h *Header) bool {
	at := 0
	for _, o := range p.Layers() {
		if o == l {
			return at == int(h.L3)
		}
		at += len(o.LayerContents())
	}
	return false
}

func checkIPv4(t *testing.T, p gopacket.Packet, h *Header, n int) {
	t.Helper()
	ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok || len(ip.Contents) < 20 || h.EtherType != EtherTypeIPv4 {
		return
	}
	if h.Kind == KindMalformed {
		if sane4(ip, n-int(h.L3)) && outermost(p, ip, h) {
			t.Error("gopacket finds the IPv4 header sane, Parse does not")
		}
		return
	}
	if !outermost(p, ip, h) {
		return
	}
	frag := ip.Flags&layers.IPv4MoreFragments != 0 || ip.FragOffset != 0
	if netIP4(h.SrcIP4) != string(ip.SrcIP) || netIP4(h.DstIP4) != string(ip.DstIP) || h.Proto != uint8(ip.Protocol) ||
		h.Frag != frag || int(h.End) != int(h.L3)+int(ip.Length) {
		t.Errorf("%+v, gopacket %+v", h, ip)
	}
	if ip.FragOffset == 0 && int(h.L4) != int(h.L3)+int(ip.IHL)*4 {
		t.Errorf("L4 %d, gopacket header of %d", h.L4, ip.IHL)
	}
}

// sane4 judges a header by what gopacket has read, save that it makes a total
// length of zero the length of what is there.
func sane4(ip *layers.IPv4, room int) bool {
	zero := ip.Contents[2]|ip.Contents[3] == 0
	return ip.Version == 4 && ip.IHL >= 5 && !zero && int(ip.Length) >= int(ip.IHL)*4 && int(ip.Length) <= room
}

func netIP4(a uint32) string {
	return string([]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

func checkIPv6(t *testing.T, p gopacket.Packet, h *Header, n int) {
	t.Helper()
	ip, ok := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	if !ok || len(ip.Contents) < 40 || h.EtherType != EtherTypeIPv6 || ip.Length == 0 || !outermost(p, ip, h) {
		return
	}
	if h.Kind == KindMalformed {
		if ip.Version == 6 && int(h.L3)+40+int(ip.Length) <= n {
			t.Error("gopacket finds the IPv6 header sane, Parse does not")
		}
		return
	}
	if string(h.SrcIP6[:]) != string(ip.SrcIP) || string(h.DstIP6[:]) != string(ip.DstIP) || int(h.End) != int(h.L3)+40+int(ip.Length) {
		t.Errorf("%+v, gopacket %+v", h, ip)
	}
	if nd, ok := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation); ok && h.ND == NDSolicit {
		if string(h.Target[:]) != string(nd.TargetAddress) {
			t.Errorf("target %x, gopacket %v", h.Target, nd.TargetAddress)
		}
	}
}

func checkARP(t *testing.T, p gopacket.Packet, h *Header) {
	t.Helper()
	a, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if !ok || len(a.Contents) < 28 || h.Kind != KindARP {
		return
	}
	if MAC(a.SourceHwAddress) != h.LLAddr || MAC(a.DstHwAddress) != h.ARPTargetMAC || a.Operation != h.ARPOp ||
		netIP4(h.SrcIP4) != string(a.SourceProtAddress) || netIP4(h.DstIP4) != string(a.DstProtAddress) {
		t.Errorf("%+v, gopacket %+v", h, a)
	}
}

func TestParseAgreesWithGopacket(t *testing.T) {
	for _, data := range seedFrames(t) {
		var h Header
		Parse(data, &h)
		checkAgainstGopacket(t, data, &h)
	}
}

func FuzzParse(f *testing.F) {
	for _, data := range seedFrames(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		data := exact(in)
		var h, quick Header
		ok, okFast := Parse(data, &h), ParseFast(data, &quick)
		if ok != (h.Kind != KindMalformed) || ok && !okFast || !ok && okFast && quick.Kind != KindARP {
			t.Fatalf("Parse %v, ParseFast %v, kinds %d %d", ok, okFast, h.Kind, quick.Kind)
		}
		if ok && fast(&h) != fast(&quick) {
			t.Fatalf("they differ:\n%+v\n%+v", fast(&h), fast(&quick))
		}
		if h.ND == NDLook || h.ND != NDNone && quick.ND != NDLook {
			t.Fatalf("ND %d, of ParseFast %d", h.ND, quick.ND)
		}
		if ok {
			checkOffsets(t, data, &h)
		}
		checkAgainstGopacket(t, data, &h)
		if string(data) != string(in) {
			t.Fatal("the frame was changed")
		}
	})
}

// checkOffsets holds the offsets of a parsed frame against its length, and the
// header chain against the slow walk.
func checkOffsets(t *testing.T, data []byte, h *Header) {
	t.Helper()
	if int(h.L3) > len(data) {
		t.Fatalf("L3 %d of %d", h.L3, len(data))
	}
	if h.Kind != KindIPv4 && h.Kind != KindIPv6 {
		return
	}
	if int(h.End) > len(data) || h.L4 != 0 && (uint32(h.L4) > h.End || h.L4 < h.L3+20) {
		t.Fatalf("L3 %d, L4 %d, end %d of %d", h.L3, h.L4, h.End, len(data))
	}
	if h.Kind == KindIPv6 {
		checkChain(t, data[h.L3:h.End], h)
	}
}

func checkChain(t *testing.T, p []byte, h *Header) {
	t.Helper()
	proto, at, frag, later, reached := slowChain(p)
	l4 := 0
	if reached {
		l4 = int(h.L3) + at
	}
	if h.Proto != proto || h.Frag != frag || int(h.L4) != l4 {
		t.Fatalf("proto %d frag %v L4 %d; slow: %d %v %d", h.Proto, h.Frag, h.L4, proto, frag, l4)
	}
	if !reached && (h.ND == NDBad) == later {
		t.Fatalf("ND %d of a chain that ends early (later fragment: %v)", h.ND, later)
	}
}
