package packet

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket/layers"
)

func TestND(t *testing.T) {
	tests := map[string]struct {
		frame icmp6Frame
		want  Header // ND, Target, LLAddr, HasLLAddr
	}{
		"solicit":         {solicitFrame(), Header{ND: NDSolicit, Target: ip6B.As16(), LLAddr: macA, HasLLAddr: true}},
		"advert":          {advertFrame(), Header{ND: NDAdvert, Target: ip6A.As16(), LLAddr: macA, HasLLAddr: true}},
		"router advert":   {routerAdvertFrame(), Header{ND: NDRouterAdvert, LLAddr: macA, HasLLAddr: true}},
		"router solicit":  {routerSolicitFrame(), Header{ND: NDRouterSolicit, LLAddr: macA, HasLLAddr: true}},
		"redirect":        {redirectFrame(), Header{ND: NDRedirect, Target: linkA.As16(), LLAddr: macA, HasLLAddr: true}},
		"unicast solicit": {icmp6Frame{src: ip6A, dst: ip6B, hopLimit: 255, icmpType: 135, rest: ndRest(0, ip6B)}, Header{ND: NDSolicit, Target: ip6B.As16()}},
		"detection":       {icmp6Frame{src: unspec6, dst: solNodeB, hopLimit: 255, icmpType: 135, rest: ndRest(0, ip6B)}, Header{ND: NDSolicit, Target: ip6B.As16()}},
		"detection, nonce": {icmp6Frame{src: unspec6, dst: solNodeB, hopLimit: 255, icmpType: 135, rest: ndRest(0, ip6B, 14, 1, 1, 2, 3, 4, 5, 6)},
			Header{ND: NDSolicit, Target: ip6B.As16()}},
		"advert to all": {icmp6Frame{src: ip6A, dst: allNodes, hopLimit: 255, icmpType: 136, rest: ndRest(0x20, ip6A, llOption(2, macA)...)},
			Header{ND: NDAdvert, Target: ip6A.As16(), LLAddr: macA, HasLLAddr: true}},
		"other options first": {icmp6Frame{src: ip6A, dst: solNodeB, hopLimit: 255, icmpType: 135,
			rest: ndRest(0, ip6B, append([]byte{200, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, llOption(1, macB)...)...)},
			Header{ND: NDSolicit, Target: ip6B.As16(), LLAddr: macB, HasLLAddr: true}},
		"the other message's option": {icmp6Frame{src: ip6A, dst: solNodeB, hopLimit: 255, icmpType: 135, rest: ndRest(0, ip6B, llOption(2, macB)...)},
			Header{ND: NDSolicit, Target: ip6B.As16()}},
		"echo": {icmp6Frame{src: ip6A, dst: ip6B, hopLimit: 64, icmpType: 128, rest: []byte{0, 1, 0, 1}, badSum: true}, Header{}},
		"MLD query": {icmp6Frame{src: linkA, dst: allNodes, hopLimit: 1, icmpType: 130, rest: ndRest(0, unspec6), ext: routerAlert()},
			Header{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data := tt.frame.build()
			decode(t, data)
			var h Header
			if !Parse(data, &h) || h.Kind != KindIPv6 {
				t.Fatal("malformed")
			}
			if got := (Header{ND: h.ND, Target: h.Target, LLAddr: h.LLAddr, HasLLAddr: h.HasLLAddr}); got != tt.want {
				t.Errorf("\ngot  %+v\nwant %+v", got, tt.want)
			}
			data = append(data, 0xff, 0xff, 0xff) // padding changes nothing
			var padded Header
			if Parse(data, &padded); padded != h {
				t.Errorf("with padding:\ngot  %+v\nwant %+v", padded, h)
			}
		})
	}
}

func TestNDBad(t *testing.T) {
	change := func(f icmp6Frame, c func(*icmp6Frame)) icmp6Frame { c(&f); return f }
	rest := func(f icmp6Frame, r []byte) icmp6Frame { f.rest = r; return f }
	from := func(f icmp6Frame, a netip.Addr) icmp6Frame { f.src = a; return f }
	ff := allNodes
	tests := map[string]icmp6Frame{
		"hop limit":                  change(solicitFrame(), func(f *icmp6Frame) { f.hopLimit = 254 }),
		"checksum":                   change(solicitFrame(), func(f *icmp6Frame) { f.badSum = true }),
		"code":                       change(advertFrame(), func(f *icmp6Frame) { f.code = 1 }),
		"solicit too short":          change(solicitFrame(), func(f *icmp6Frame) { f.truncateBy = 9 }),
		"advert too short":           change(advertFrame(), func(f *icmp6Frame) { f.truncateBy = 9 }),
		"router advert too short":    change(routerAdvertFrame(), func(f *icmp6Frame) { f.truncateBy = 9 }),
		"router solicit too short":   change(routerSolicitFrame(), func(f *icmp6Frame) { f.truncateBy = 9 }),
		"redirect too short":         change(redirectFrame(), func(f *icmp6Frame) { f.truncateBy = 9 }),
		"type alone":                 change(solicitFrame(), func(f *icmp6Frame) { f.truncateBy = 31 }),
		"nothing at all":             change(solicitFrame(), func(f *icmp6Frame) { f.truncateBy = 32 }),
		"option of length 0":         rest(solicitFrame(), ndRest(0, ip6B, 14, 0, 0, 0, 0, 0, 0, 0)),
		"option too long":            rest(solicitFrame(), ndRest(0, ip6B, 14, 2, 0, 0, 0, 0, 0, 0)),
		"option cut":                 rest(solicitFrame(), ndRest(0, ip6B, 14, 1, 0, 0)),
		"one byte of an option":      rest(solicitFrame(), ndRest(0, ip6B, 14)),
		"router advert from site":    from(routerAdvertFrame(), netip.MustParseAddr("fec0::1")),
		"router advert from 2080":    from(routerAdvertFrame(), netip.MustParseAddr("2080::1")),
		"two source addresses":       rest(solicitFrame(), ndRest(0, ip6B, append(llOption(1, macA), llOption(1, macB)...)...)),
		"two target addresses":       rest(advertFrame(), ndRest(0, ip6A, append(llOption(2, macA), llOption(2, macA)...)...)),
		"address of 14 bytes":        rest(solicitFrame(), ndRest(0, ip6B, append([]byte{1, 2}, make([]byte, 14)...)...)),
		"address of a group":         rest(advertFrame(), ndRest(0, ip6A, llOption(2, everyMA)...)),
		"from a group MAC":           change(solicitFrame(), func(f *icmp6Frame) { f.ethernet = everyMA }),
		"from a group":               from(solicitFrame(), ff),
		"solicits a group":           rest(solicitFrame(), ndRest(0, ff)),
		"advertises a group":         rest(advertFrame(), ndRest(0, ff)),
		"solicited advert to all":    change(advertFrame(), func(f *icmp6Frame) { f.dst = ff }),
		"detection with an address":  from(solicitFrame(), unspec6),
		"detection to one":           {src: unspec6, dst: ip6B, hopLimit: 255, icmpType: 135, rest: ndRest(0, ip6B)},
		"router advert not from ll":  from(routerAdvertFrame(), ip6A),
		"redirect not from ll":       from(redirectFrame(), ip6A),
		"redirect of a group":        rest(redirectFrame(), append(ndRest(0, linkA), ff.AsSlice()...)),
		"router solicit from nobody": from(routerSolicitFrame(), unspec6),
		"in an atomic fragment":      change(advertFrame(), func(f *icmp6Frame) { f.first, f.ext = 44, []byte{58, 0, 0, 0, 0, 0, 0, 1} }),
		"in a first fragment":        change(advertFrame(), func(f *icmp6Frame) { f.first, f.ext = 44, []byte{58, 0, 0, 1, 0, 0, 0, 1} }),
		"behind a routing header":    change(advertFrame(), func(f *icmp6Frame) { f.first, f.ext = 43, []byte{58, 0, 2, 1, 0, 0, 0, 0} }),
		"report hop limit":           change(mld2Frame(solNodeB), func(f *icmp6Frame) { f.hopLimit = 255 }),
		"report checksum":            change(mld1Frame(131, solNodeB), func(f *icmp6Frame) { f.badSum = true }),
		"report from afar":           from(mld2Frame(solNodeB), ip6A),
		"report cut":                 change(mld2Frame(solNodeB), func(f *icmp6Frame) { f.truncateBy = 1 }),
		"MLDv1 report cut":           change(mld1Frame(131, solNodeB), func(f *icmp6Frame) { f.truncateBy = 1 }),
		"MLDv1 of no group":          mld1Frame(132, ip6B),
		"MLDv2 of no group":          mld2Frame(solNodeB, ip6B),
		"sources cut":                rest(mld2Frame(), append([]byte{0, 0, 0, 1, 4, 0, 0, 1}, solNodeB.AsSlice()...)),
		"auxiliary data cut":         rest(mld2Frame(), append([]byte{0, 0, 0, 1, 4, 1, 0, 0}, solNodeB.AsSlice()...)),
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			var h, quick Header
			if data := f.build(); !Parse(data, &h) || !ParseFast(data, &quick) {
				t.Fatal("malformed")
			}
			if h.Kind != KindIPv6 || h.ND != NDBad || h.MLDSolicitedOnly {
				t.Errorf("ND %d, solicited %v", h.ND, h.MLDSolicitedOnly)
			}
			if quick.ND != NDLook {
				t.Error("ParseFast does not say that it must be looked at")
			}
		})
	}
}

func TestMLD(t *testing.T) {
	sources := append([]byte{0, 0, 0, 2, 6, 1, 0, 2}, solNodeB.AsSlice()...)
	sources = append(append(sources, make([]byte, 36)...), 4, 0, 0, 0)
	sources = append(append(sources, solNodeB.AsSlice()...), 9, 9, 9) // and what is to be ignored
	withSources := mld2Frame()
	withSources.rest = sources
	fromNobody := mld2Frame(solNodeB)
	fromNobody.src = unspec6
	notSolicited := netip.MustParseAddr("ff02::1:fe00:1234")
	wider := netip.MustParseAddr("ff05::1:ff00:1234")
	tests := map[string]struct {
		frame icmp6Frame
		only  bool
	}{
		"v1 report":           {mld1Frame(131, solNodeB), true},
		"v1 done":             {mld1Frame(132, solNodeB), true},
		"v1 of another":       {mld1Frame(131, allRouters), false},
		"v2 report":           {mld2Frame(solNodeB), true},
		"v2 from nobody":      {fromNobody, true},
		"v2 of three":         {mld2Frame(solNodeB, solNodeB, solNodeB), true},
		"v2 with another":     {mld2Frame(solNodeB, allRouters), false},
		"v2 another first":    {mld2Frame(allRouters, solNodeB), false},
		"v2 next to it":       {mld2Frame(notSolicited), false},
		"v2 of another scope": {mld2Frame(wider), false},
		"v2 of none":          {mld2Frame(), false},
		"v2 sources and more": {withSources, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data := tt.frame.build()
			var h Header
			if !Parse(data, &h) || h.ND != NDMLDReport {
				t.Fatalf("ND %d", h.ND)
			}
			if h.MLDSolicitedOnly != tt.only {
				t.Errorf("solicited only: %v", h.MLDSolicitedOnly)
			}
		})
	}
}

func TestBuildNA(t *testing.T) {
	detect := icmp6Frame{src: unspec6, dst: solNodeB, hopLimit: 255, icmpType: 135, rest: ndRest(0, ip6B)}
	bare := icmp6Frame{src: ip6A, dst: ip6B, hopLimit: 255, icmpType: 135, rest: ndRest(0, ip6B)}
	elsewhere := solicitFrame()
	elsewhere.rest = ndRest(0, ip6B, llOption(1, macNIC)...)
	allNodesMAC := MAC{0x33, 0x33, 0, 0, 0, 1}
	tests := map[string]struct {
		solicit icmp6Frame
		router  bool
		to      MAC
		dst     netip.Addr
		flags   uint8
	}{
		"with an address":    {solicitFrame(), false, macA, ip6A, 0x60},
		"router":             {solicitFrame(), true, macA, ip6A, 0xe0},
		"without an address": {bare, false, macA, ip6A, 0x60},
		"address elsewhere":  {elsewhere, false, macNIC, ip6A, 0x60},
		"detection":          {detect, false, allNodesMAC, allNodes, 0x20},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var h Header
			if !Parse(tt.solicit.build(), &h) || h.ND != NDSolicit {
				t.Fatal("not a solicitation")
			}
			na := BuildNA(dirty(NAFrameLen), &h, macNIC, tt.router)
			checkAdvert(t, na, tt.to, tt.dst, ip6B, tt.flags)
			if BuildNA(make([]byte, NAFrameLen-1), &h, macNIC, false) != nil {
				t.Error("built into too little room")
			}
		})
	}
}

// dirty is a buffer as buffers are: full of something else, and empty as a slice.
func dirty(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 0xa5
	}
	return b[:0]
}

// checkAdvert reads an advertisement of macNIC with gopacket and with Parse.
func checkAdvert(t *testing.T, na []byte, to MAC, dst, target netip.Addr, flags uint8) {
	t.Helper()
	p := decode(t, na)
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	ip := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	adv := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	if MAC(eth.DstMAC) != to || MAC(eth.SrcMAC) != macNIC || !netIP(dst).Equal(ip.DstIP) || !netIP(target).Equal(ip.SrcIP) || ip.HopLimit != 255 {
		t.Errorf("addressed %+v %+v", eth, ip)
	}
	if !netIP(target).Equal(adv.TargetAddress) || adv.Flags != flags || len(adv.Options) != 1 ||
		adv.Options[0].Type != layers.ICMPv6OptTargetAddress || MAC(adv.Options[0].Data) != macNIC {
		t.Errorf("says %+v", adv)
	}
	var h Header
	if !Parse(exact(na), &h) || h.ND != NDAdvert || h.Target != target.As16() || h.LLAddr != macNIC {
		t.Errorf("parsed %+v", h)
	}
}

func TestBuildUnsolicitedNA(t *testing.T) {
	checkAdvert(t, BuildUnsolicitedNA(dirty(NAFrameLen), macNIC, ip6A), MAC{0x33, 0x33, 0, 0, 0, 1}, allNodes, ip6A, 0x20)
	for _, a := range []netip.Addr{ip4A, {}, netip.MustParseAddr("::ffff:10.0.0.1")} {
		if BuildUnsolicitedNA(make([]byte, NAFrameLen), macNIC, a) != nil {
			t.Errorf("built for %v", a)
		}
	}
}
