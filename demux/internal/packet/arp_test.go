package packet

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/gopacket/layers"
)

func checkARPFrame(t *testing.T, data []byte, to MAC, want layers.ARP) {
	t.Helper()
	p := decode(t, data)
	eth, a := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet), p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if MAC(eth.DstMAC) != to || MAC(eth.SrcMAC) != macNIC {
		t.Errorf("addressed %+v", eth)
	}
	same := a.AddrType == layers.LinkTypeEthernet && a.Protocol == layers.EthernetTypeIPv4 && a.HwAddressSize == 6 && a.ProtAddressSize == 4 &&
		a.Operation == want.Operation && bytes.Equal(a.SourceHwAddress, want.SourceHwAddress) && bytes.Equal(a.DstHwAddress, want.DstHwAddress) &&
		bytes.Equal(a.SourceProtAddress, want.SourceProtAddress) && bytes.Equal(a.DstProtAddress, want.DstProtAddress)
	if !same || len(data) != ARPFrameLen {
		t.Errorf("%d bytes say %+v", len(data), a)
	}
}

func TestBuildARPReply(t *testing.T) {
	for name, spa := range map[string]netip.Addr{"request": ip4A, "probe": netip.IPv4Unspecified()} {
		t.Run(name, func(t *testing.T) {
			var h Header
			if !Parse(arpFrame(t, 1, spa, ip4B), &h) {
				t.Fatal("malformed")
			}
			checkARPFrame(t, BuildARPReply(dirty(ARPFrameLen), &h, macNIC, h.DstIP4), macA, layers.ARP{
				Operation: 2, SourceHwAddress: macNIC[:], SourceProtAddress: ip4B.AsSlice(),
				DstHwAddress: macA[:], DstProtAddress: spa.AsSlice(),
			})
			if BuildARPReply(make([]byte, ARPFrameLen-1), &h, macNIC, 1) != nil {
				t.Error("built into too little room")
			}
		})
	}
}

func TestBuildGratuitousARP(t *testing.T) {
	checkARPFrame(t, BuildGratuitousARP(dirty(ARPFrameLen), macNIC, ip4A), everyMA, layers.ARP{
		Operation: 1, SourceHwAddress: macNIC[:], SourceProtAddress: ip4A.AsSlice(),
		DstHwAddress: make([]byte, 6), DstProtAddress: ip4A.AsSlice(),
	})
	for _, a := range []netip.Addr{ip6A, {}} {
		if BuildGratuitousARP(make([]byte, ARPFrameLen), macNIC, a) != nil {
			t.Errorf("built for %v", a)
		}
	}
}
