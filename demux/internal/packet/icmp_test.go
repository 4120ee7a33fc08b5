package packet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/gopacket/layers"
)

func TestBuildFragNeeded(t *testing.T) {
	tests := map[string]struct {
		data  []byte
		mtu   int
		says  int
		quote int // bytes from the IP header on
	}{
		"long":          {udp4(t, 1472), 1400, 1400, 548},
		"exact":         {udp4(t, 520), 500, 500, 548},
		"short":         {tcp4(t, 40), 60, 68, 92},
		"padding":       {append(tcp4(t, 40), 1, 2, 3), 700, 700, 92},
		"super-frame":   {tcp4(t, 60000), 70000, 65535, 548},
		"tagged":        {tagged(udp4(t, 1472), 0x81000064), 1400, 1400, 548},
		"echo request":  {echo4(t, 8, 1400), 1300, 1300, 548},
		"echo reply":    {echo4(t, 0, 1400), 1300, 1300, 548},
		"timestamp":     {echo4(t, 13, 1400), 1300, 1300, 548},
		"its reply":     {echo4(t, 14, 1400), 1300, 1300, 548},
		"extended":      {echo4(t, 42, 1400), 1300, 1300, 548},
		"its reply too": {echo4(t, 43, 1400), 1300, 1300, 548},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data := exact(tt.data)
			var h Header
			if !Parse(data, &h) {
				t.Fatal("malformed")
			}
			got := BuildFragNeeded(dirty(FragNeededMax), data, &h, macNIC, tt.mtu)
			if got == nil {
				t.Fatal("nothing built")
			}
			checkFragNeeded(t, got, data[h.L3:], tt.says, tt.quote)
			if BuildFragNeeded(make([]byte, len(got)-1), data, &h, macNIC, tt.mtu) != nil {
				t.Error("built into too little room")
			}
		})
	}
}

func checkFragNeeded(t *testing.T, got, original []byte, mtu, quote int) {
	t.Helper()
	p := decode(t, got)
	eth, ip := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet), p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	icmp := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if MAC(eth.DstMAC) != macA || MAC(eth.SrcMAC) != macNIC || !ip.SrcIP.Equal(netIP(ip4B)) || !ip.DstIP.Equal(netIP(ip4A)) {
		t.Errorf("addressed %+v %+v", eth, ip)
	}
	if ip.TTL != 64 || ip.TOS != 0xc0 || ip.Id != 0 || int(ip.Length) != len(got)-14 || ip.Flags != layers.IPv4DontFragment || slowSum(got[14:34]) != 0xffff {
		t.Errorf("header %+v", ip)
	}
	if icmp.TypeCode != layers.CreateICMPv4TypeCode(3, 4) || int(icmp.Seq) != mtu || icmp.Id != 0 || slowSum(got[34:]) != 0xffff {
		t.Errorf("message %+v", icmp)
	}
	if !bytes.Equal(icmp.Payload, original[:quote]) {
		t.Errorf("quotes %d bytes, want %d", len(icmp.Payload), quote)
	}
	var h Header
	if !Parse(exact(got), &h) {
		t.Error("Parse finds it malformed")
	}
}

func TestNoFragNeeded(t *testing.T) {
	from := func(a, b string) []byte {
		ip := ipv4Layer(layers.IPProtocolUDP)
		ip.SrcIP, ip.DstIP = netIP(netip.MustParseAddr(a)), netIP(netip.MustParseAddr(b))
		return serialize(t, ethernet(layers.EthernetTypeIPv4), ip, counted(1000))
	}
	flags := func(f layers.IPv4Flag, offset uint16) []byte {
		ip := ipv4Layer(layers.IPProtocolUDP)
		ip.Flags, ip.FragOffset = f, offset
		return serialize(t, ethernet(layers.EthernetTypeIPv4), ip, counted(1000))
	}
	macs := func(dst, src MAC) []byte {
		b := udp4(t, 1000)
		copy(b, dst[:])
		copy(b[6:], src[:])
		return b
	}
	tests := map[string][]byte{
		"may be fragmented":    flags(0, 0),
		"later fragment":       flags(layers.IPv4DontFragment, 3),
		"ICMP unreachable":     echo4(t, 3, 1000),
		"ICMP redirect":        echo4(t, 5, 1000),
		"ICMP time exceeded":   echo4(t, 11, 1000),
		"ICMP unknown":         echo4(t, 200, 1000),
		"from this network":    from("0.0.0.0", "10.0.0.1"),
		"from loopback":        from("127.0.0.1", "10.0.0.1"),
		"from a group":         from("224.0.0.1", "10.0.0.1"),
		"from reserved":        from("240.0.0.1", "10.0.0.1"),
		"to all":               from("10.0.0.1", "255.255.255.255"),
		"to a group":           from("10.0.0.1", "239.1.2.3"),
		"to the broadcast MAC": macs(everyMA, macA),
		"from a group MAC":     macs(macB, MAC{0x01, 0, 0x5e, 1, 2, 3}),
		"IPv6":                 udp6(t, 1000),
		"ARP":                  arpFrame(t, 1, ip4A, ip4B),
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			var h Header
			if !Parse(data, &h) {
				t.Fatal("malformed")
			}
			if BuildFragNeeded(make([]byte, 2000), data, &h, macNIC, 900) != nil {
				t.Error("built one")
			}
		})
	}
	bare := ipv4Layer(layers.IPProtocolICMPv4)
	data := serialize(t, ethernet(layers.EthernetTypeIPv4), bare)
	var h Header
	if !Parse(data, &h) || BuildFragNeeded(make([]byte, 2000), data, &h, macNIC, 900) != nil {
		t.Error("built one about an ICMP message without a type")
	}
}

func TestBuildPacketTooBig(t *testing.T) {
	echo := icmp6Frame{src: ip6A, dst: ip6B, hopLimit: 64, icmpType: 128, rest: counted(1400)}
	tests := map[string]struct {
		data  []byte
		mtu   int
		quote int
	}{
		"long":        {udp6(t, 1452), 1280, 1232},
		"short":       {tcp6(t, 40), 1400, 112},
		"padding":     {append(tcp6(t, 40), 1, 2, 3), 1400, 112},
		"super-frame": {tcp6(t, 60000), 70000, 1232},
		"tagged":      {tagged(udp6(t, 1452), 0x81000064), 1400, 1232},
		"echo":        {echo.build(), 1400, 1232},
		"fragment":    {ip6Ext(44, append([]byte{17, 0, 0, 1, 0, 0, 0, 9}, counted(1400)...)), 1400, 1232},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data := exact(tt.data)
			var h Header
			if !Parse(data, &h) {
				t.Fatal("malformed")
			}
			got := BuildPacketTooBig(dirty(PacketTooBigMax), data, &h, macNIC, tt.mtu)
			if got == nil {
				t.Fatal("nothing built")
			}
			checkPacketTooBig(t, got, data[h.L3:], tt.mtu, tt.quote)
			if BuildPacketTooBig(make([]byte, len(got)-1), data, &h, macNIC, tt.mtu) != nil {
				t.Error("built into too little room")
			}
		})
	}
}

func checkPacketTooBig(t *testing.T, got, original []byte, mtu, quote int) {
	t.Helper()
	p := decode(t, got)
	eth, ip := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet), p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	icmp := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if MAC(eth.DstMAC) != macA || MAC(eth.SrcMAC) != macNIC || !ip.SrcIP.Equal(netIP(ip6B)) || !ip.DstIP.Equal(netIP(ip6A)) {
		t.Errorf("addressed %+v %+v", eth, ip)
	}
	body := icmp.LayerPayload()
	if ip.HopLimit != 64 || icmp.TypeCode != layers.CreateICMPv6TypeCode(2, 0) || len(got) > 14+1280 || int(binary.BigEndian.Uint32(body)) != mtu {
		t.Errorf("message %+v", icmp)
	}
	if !bytes.Equal(body[4:], original[:quote]) {
		t.Errorf("quotes %d bytes, want %d", len(body)-4, quote)
	}
	var h Header
	if !Parse(exact(got), &h) || h.ND != NDNone {
		t.Errorf("Parse says %+v", h)
	}
	if ok, known := VerifyTransport(got, &h); !ok || !known {
		t.Error("the checksum does not hold")
	}
}

func TestNoPacketTooBig(t *testing.T) {
	icmp := func(kind uint8) []byte {
		return icmp6Frame{src: ip6A, dst: ip6B, hopLimit: 64, icmpType: kind, rest: counted(1400)}.build()
	}
	from := func(a, b netip.Addr) []byte {
		return icmp6Frame{src: a, dst: b, hopLimit: 64, icmpType: 128, rest: counted(1400)}.build()
	}
	group := udp6(t, 1400)
	copy(group, everyMA[:])
	tests := map[string][]byte{
		"unreachable":     icmp(1),
		"too big":         icmp(2),
		"unknown error":   icmp(127),
		"redirect":        redirectFrame().build(),
		"later fragment":  ip6Ext(44, append([]byte{17, 0, 5, 0, 0, 0, 0, 9}, counted(1400)...)),
		"no end of it":    ip6Ext(60, append([]byte{17, 250}, counted(1400)...)),
		"no type":         ip6Ext(58, nil),
		"from nobody":     from(unspec6, ip6B),
		"from loopback":   from(netip.IPv6Loopback(), ip6B),
		"from a group":    from(allNodes, ip6B),
		"to a group":      from(ip6A, allNodes),
		"to a group MAC":  group,
		"IPv4":            udp4(t, 1400),
		"too small a MTU": nil,
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			mtu := 1300
			if data == nil {
				data, mtu = udp6(t, 1400), 1279
			}
			var h Header
			if !Parse(data, &h) {
				t.Fatal("malformed")
			}
			if BuildPacketTooBig(make([]byte, 2000), data, &h, macNIC, mtu) != nil {
				t.Error("built one")
			}
		})
	}
}

// TestReportForeignHeader: a header that belongs to a longer frame is not followed
// out of a shorter one.
func TestReportForeignHeader(t *testing.T) {
	for _, data := range [][]byte{tcp4(t, 1400), tcp6(t, 1400)} {
		var h Header
		if !Parse(data, &h) {
			t.Fatal("malformed")
		}
		for n := range len(data) {
			if short := exact(data[:n]); BuildFragNeeded(make([]byte, 2000), short, &h, macNIC, 1300) != nil ||
				BuildPacketTooBig(make([]byte, 2000), short, &h, macNIC, 1300) != nil {
				t.Fatalf("built one about %d bytes of %d", n, len(data))
			}
		}
	}
}

// FuzzBuild lets the builders of answers loose on any frame, also with a header
// that belongs to another one.
func FuzzBuild(f *testing.F) {
	for _, data := range seedFrames(f) {
		f.Add(data, data, 1400)
		f.Add(data, tcp4(f, 1400), 1280)
	}
	f.Fuzz(func(t *testing.T, a, b []byte, mtu int) {
		var h, back Header
		Parse(a, &h)
		room := make([]byte, PacketTooBigMax)
		for _, data := range [][]byte{exact(a), exact(b)} {
			for _, got := range [][]byte{
				BuildFragNeeded(room, data, &h, macNIC, mtu),
				BuildPacketTooBig(room, data, &h, macNIC, mtu),
			} {
				if got != nil && !Parse(exact(got), &back) {
					t.Errorf("built a malformed frame %x", got)
				}
			}
		}
		checkAnswers(t, room, &h)
	})
}

// checkAnswers: what answers a valid question is valid itself and goes to one.
func checkAnswers(t *testing.T, room []byte, h *Header) {
	t.Helper()
	var back Header
	if h.ND == NDSolicit {
		if !Parse(BuildNA(room, h, macNIC, false), &back) || back.ND != NDAdvert || back.Target != h.Target {
			t.Errorf("answer to %+v is %+v", h, back)
		}
		if IsGroup(back.Dst) && h.SrcIP6 != unspec6.As16() {
			t.Errorf("an answer to everybody: %+v", back)
		}
	}
	if h.Kind == KindARP {
		if !Parse(BuildARPReply(room, h, macNIC, h.DstIP4), &back) || back.Kind != KindARP || back.DstIP4 != h.SrcIP4 || IsGroup(back.Dst) {
			t.Errorf("answer to %+v is %+v", h, back)
		}
	}
}
