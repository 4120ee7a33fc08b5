package packet

import (
	"bytes"
	"testing"

	"github.com/google/gopacket/layers"
)

func TestExtensionHeaders(t *testing.T) {
	opts := func(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
	frag := func(next byte, offset uint16, more bool) []byte {
		o := offset << 3
		if more {
			o |= 1
		}
		return []byte{next, 0xff, byte(o >> 8), byte(o), 1, 2, 3, 4}
	}
	join := func(bs ...[]byte) []byte { return bytes.Join(bs, nil) }
	udp := []byte{3, 232, 7, 208, 0, 8, 0, 0}
	many := func(n int) []byte {
		var b []byte
		for range n - 1 {
			b = append(b, opts(60)...)
		}
		return join(b, opts(17), udp)
	}
	tests := map[string]struct {
		first uint8
		body  []byte
		want  Header // Proto, L4, Frag, ND, routed
	}{
		"hop by hop, destination": {0, join(opts(60), opts(17), udp), Header{Proto: 17, L4: 70}},
		"routing, done":           {43, join([]byte{17, 0, 2, 0, 0, 0, 0, 0}, udp), Header{Proto: 17, L4: 62}},
		"routing, to go":          {43, join([]byte{17, 0, 2, 1, 0, 0, 0, 0}, udp), Header{Proto: 17, L4: 62, routed: true}},
		"authentication":          {51, join([]byte{17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, udp), Header{Proto: 17, L4: 66}},
		"encrypted":               {50, join(udp), Header{Proto: 50, L4: 54}},
		"mobility is an end":      {135, opts(58), Header{Proto: 135, L4: 54}},
		"atomic fragment":         {44, join(frag(17, 0, false), udp), Header{Proto: 17, L4: 62, Frag: true}},
		"first fragment":          {44, join(frag(17, 0, true), udp), Header{Proto: 17, L4: 62, Frag: true}},
		"later fragment":          {44, join(frag(17, 1, true), udp), Header{Proto: 17, Frag: true}},
		"later, more headers":     {44, join(frag(60, 4, false), udp), Header{Proto: 60, Frag: true}},
		"fragment in a fragment":  {44, join(frag(44, 0, false), frag(58, 9, false), udp), Header{Proto: 58, Frag: true}},
		"first, chain cut":        {44, join(frag(60, 0, true), opts(58)[:4]), Header{Proto: 60, Frag: true, ND: NDBad}},
		"first, nothing behind":   {44, frag(60, 0, true), Header{Proto: 60, Frag: true, ND: NDBad}},
		"fragment header cut":     {44, frag(17, 1, true)[:7], Header{Proto: 44, ND: NDBad}},
		"options too long":        {60, []byte{17, 1, 1, 4, 0, 0, 0, 0}, Header{Proto: 60, ND: NDBad}},
		"nothing":                 {0, nil, Header{Proto: 0, ND: NDBad}},
		"eight":                   {60, many(8), Header{Proto: 17, L4: 54 + 64}},
		"nine":                    {60, many(9), Header{Proto: 60, ND: NDBad}},
		"ends at the end":         {60, opts(17), Header{Proto: 17, L4: 62}},
		"a type and no more":      {58, []byte{128}, Header{Proto: 58, L4: 54}},
		"ND ends at the end":      {60, opts(58), Header{Proto: 58, L4: 62, ND: NDBad}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var h Header
			if !Parse(ip6Ext(tt.first, tt.body), &h) {
				t.Fatal("malformed")
			}
			got := Header{Proto: h.Proto, L4: h.L4, Frag: h.Frag, ND: h.ND, routed: h.routed}
			if got != tt.want {
				t.Errorf("\ngot  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// TestLaterFragmentOfICMPv6: nothing is read where there is no upper header, least
// of all the MAC address at offset 0 as an ICMPv6 type.
func TestLaterFragmentOfICMPv6(t *testing.T) {
	data := ip6Ext(44, append([]byte{58, 0, 0, 8, 0, 0, 0, 1}, counted(64)...))
	data[0] = 136
	var h Header
	if !Parse(data, &h) || h.ND != NDNone || h.L4 != 0 || !h.Frag {
		t.Errorf("%+v", h)
	}
}

// TestExtensionHeadersOfGopacket reads a chain that another implementation wrote.
func TestExtensionHeadersOfGopacket(t *testing.T) {
	ip := ipv6Layer(layers.IPProtocolIPv6HopByHop)
	hop := &layers.IPv6HopByHop{}
	hop.NextHeader = layers.IPProtocolIPv6Destination
	hop.Options = []*layers.IPv6HopByHopOption{{OptionType: 5, OptionLength: 4, OptionData: make([]byte, 4)}}
	dst := &layers.IPv6Destination{}
	dst.NextHeader = layers.IPProtocolUDP
	dst.Options = []*layers.IPv6DestinationOption{{OptionType: 1, OptionLength: 12, OptionData: make([]byte, 12)}}
	udp := &layers.UDP{SrcPort: 1, DstPort: 2}
	_ = udp.SetNetworkLayerForChecksum(ip)
	data := serialize(t, ethernet(layers.EthernetTypeIPv6), ip, hop, dst, udp, counted(9))

	var at int
	for _, l := range decode(t, data).Layers() {
		if l.LayerType() == layers.LayerTypeUDP {
			break
		}
		at += len(l.LayerContents())
	}
	var h Header
	if !Parse(data, &h) || int(h.L4) != at || h.Proto != ProtoUDP {
		t.Errorf("L4 %d, proto %d; gopacket has UDP at %d", h.L4, h.Proto, at)
	}
	if ok, known := VerifyTransport(data, &h); !ok || !known {
		t.Error("the checksum does not hold")
	}
}
