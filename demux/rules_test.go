package demux

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

var (
	macM = mac{0x02, 0xcc, 0, 0, 0, 0x20}
	macW = mac{0x02, 0xcc, 0, 0, 0, 0x21}
	macN = mac{0x02, 0xcc, 0, 0, 0, 0x22}
)

// Addresses of the wire's machine and of the ports.
var (
	far4, far6 = ip("10.0.0.99"), ip("2001:db8::99")
	a4, a6     = ip("10.0.0.10"), ip("2001:db8::10")
	b4, b6     = ip("10.0.0.11"), ip("2001:db8::11")
	m4, m6     = ip("10.0.0.20"), ip("2001:db8::20")
	n4         = ip("10.0.0.22")
	host4      = ip("10.0.0.1")
	host6      = ip("2001:db8::1")
	none       = ip("10.0.0.77")
)

func TestFromWire(t *testing.T) {
	short := udp(peerMAC, nicMAC, far4, a4, 10)[:30]
	lying := udp(peerMAC, nicMAC, far4, a4, 10)
	lying[16] = 0xff
	newWorld(t).checkAll(t, []rule{
		{name: "IPv4 to an IP identity", from: "wire", f: udp(peerMAC, nicMAC, far4, a4, 10), to: "A"},
		{name: "IPv6 to an IP identity", from: "wire", f: udp(peerMAC, nicMAC, far6, b6, 10), to: "B"},
		{name: "to an IP identity under another MAC", from: "wire", f: udp(peerMAC, hopMAC, far4, a4, 10), drop: NoPort},
		{name: "to a prefix", from: "wire", f: udp(peerMAC, nicMAC, far4, ip("10.1.0.7"), 10), to: "P"},
		{name: "to an exact address within another's prefix", from: "wire", f: udp(peerMAC, nicMAC, far4, ip("10.1.0.65"), 10), to: "Q"},
		{name: "to the longer of two prefixes", from: "wire", f: udp(peerMAC, nicMAC, far4, ip("10.1.0.67"), 10), to: "P"},
		{name: "to an IPv6 prefix", from: "wire", f: udp(peerMAC, nicMAC, far6, ip("2001:db8:1::5"), 10), to: "P"},
		{name: "to a MAC identity", from: "wire", f: udp(peerMAC, macM, far4, m4, 10), to: "M"},
		{name: "to a MAC identity, any address", from: "wire", f: udp(peerMAC, macM, far4, a4, 10), to: "M"},
		{name: "to a MAC identity, no IP", from: "wire", f: other(peerMAC, macM, 0x88b5, 50), to: "M"},
		{name: "a MAC identity's address under the NIC's MAC", from: "wire", f: udp(peerMAC, nicMAC, far4, m4, 10), drop: NoPort},
		{name: "nobody's address", from: "wire", f: udp(peerMAC, nicMAC, far4, none, 10), drop: NoPort},
		{name: "nobody's MAC", from: "wire", f: udp(peerMAC, hopMAC, far4, none, 10), drop: NoPort},
		{name: "the host's address", from: "wire", f: udp(peerMAC, nicMAC, far4, host4, 10), drop: NoPort},
		{name: "the host port's MAC", from: "wire", f: udp(peerMAC, hostMAC, far4, host4, 10), drop: NoPort},
		{name: "broadcast", from: "wire", f: udp(peerMAC, bcastMAC, far4, a4, 10), drop: NoPort},
		{name: "multicast", from: "wire", f: udp(peerMAC, mac{1, 0, 0x5e, 0, 0, 1}, far4, ip("224.0.0.1"), 10), drop: NoPort},
		{name: "no IP to the NIC", from: "wire", f: other(peerMAC, nicMAC, 0x88b5, 50), drop: NoPort},
		{name: "runt", from: "wire", f: []byte{1, 2, 3}, drop: Malformed},
		{name: "short header", from: "wire", f: short, drop: Malformed},
		{name: "total length beyond the frame", from: "wire", f: lying, drop: Malformed},
	})
}

func TestVLANFromWire(t *testing.T) {
	v := udp(peerMAC, nicMAC, far4, a4, 10)
	m := udp(peerMAC, macW, far4, m4, 10)
	newWorld(t).checkAll(t, []rule{
		{name: "to an IP identity in the VLAN", from: "wire", f: tag(v, 7), to: "V", bare: v},
		{name: "to a MAC identity in the VLAN", from: "wire", f: tag(m, 7), to: "W", bare: m},
		{name: "the same, untagged", from: "wire", f: m, drop: NoPort},
		{name: "another VLAN", from: "wire", f: tag(v, 8), drop: NoPort},
		{name: "a priority tag is no VLAN", from: "wire", f: tag(v, 0), to: "A", bare: v},
		{name: "priority bits do not matter", from: "wire", f: tag(v, 7|0xe000), to: "V", bare: v},
		{name: "two tags", from: "wire", f: tag(tag(v, 9), 7), drop: BadVLAN},
		{name: "ARP in the VLAN", from: "wire", f: tag(whoHas(peerMAC, "10.0.0.99", "10.0.0.20"), 7), answer: macW, vlan: 7},
		{name: "ARP for an address of another VLAN", from: "wire", f: tag(whoHas(peerMAC, "10.0.0.99", "10.0.0.11"), 7), drop: NoPort},
		{name: "solicitation in the VLAN", from: "wire", f: tag(ns(peerMAC, "2001:db8::99", "2001:db8::10", &peerMAC), 7), answer: nicMAC, vlan: 7},
	})
}

// TestVLANOffload is a tag that the NIC took off and told beside the frame.
func TestVLANOffload(t *testing.T) {
	w := newWorld(t)
	f := udp(peerMAC, nicMAC, far4, a4, 10)
	w.links[0].ArriveFrame(frame.Frame{Data: f, Meta: frame.Meta{VLAN: 7}})
	w.settle()
	wantFrames(t, "V", w.ports["V"].got(), f)
	w.links[0].ArriveFrame(frame.Frame{Data: tag(f, 7), Meta: frame.Meta{VLAN: 7}})
	w.settle()
	if n := w.sw.Stats().Wire.Drops[BadVLAN]; n != 1 {
		t.Errorf("a tag in the bytes beside one in the meta: bad_vlan is %d, want 1", n)
	}
}

func TestNeighboursFromWire(t *testing.T) {
	unicastARP := func(dst mac, tpa netip.Addr) []byte { return arp(1, dst, peerMAC, far4, zeroMAC, tpa) }
	newWorld(t).checkAll(t, []rule{
		{name: "who has an IP identity", from: "wire", f: whoHas(peerMAC, "10.0.0.99", "10.0.0.10"), answer: nicMAC},
		{name: "who has a MAC identity", from: "wire", f: whoHas(peerMAC, "10.0.0.99", "10.0.0.20"), answer: macM},
		{name: "who has an address of a prefix", from: "wire", f: whoHas(peerMAC, "10.0.0.99", "10.1.0.3"), answer: nicMAC},
		{name: "unicast request to a MAC identity", from: "wire", f: unicastARP(macM, m4), answer: macM},
		{name: "unicast request to a MAC identity for a stranger", from: "wire", f: unicastARP(macM, none), to: "M"},
		{name: "who has nobody", from: "wire", f: whoHas(peerMAC, "10.0.0.99", "10.0.0.77"), drop: NoPort},
		{name: "who has the host", from: "wire", f: whoHas(peerMAC, "10.0.0.99", "10.0.0.1"), drop: NoPort},
		{name: "a probe is answered", from: "wire", f: whoHas(peerMAC, "0.0.0.0", "10.0.0.10"), answer: nicMAC},
		{name: "our own probe, come back", from: "wire", f: whoHas(nicMAC, "0.0.0.0", "10.0.0.10"), drop: Conflict},
		{name: "somebody announces our address", from: "wire", f: whoHas(peerMAC, "10.0.0.10", "10.0.0.10"), drop: Conflict},
		{name: "our own announcement, come back", from: "wire", f: whoHas(macM, "10.0.0.20", "10.0.0.20"), drop: Conflict},
		{name: "reply to an IP identity", from: "wire", f: arp(2, nicMAC, peerMAC, far4, nicMAC, a4), to: "A"},
		{name: "reply to a MAC identity", from: "wire", f: arp(2, macM, peerMAC, far4, macM, m4), to: "M"},
		{name: "reply to a MAC identity under the NIC's MAC", from: "wire", f: arp(2, nicMAC, peerMAC, far4, nicMAC, m4), drop: NoPort},
		{name: "reply by broadcast", from: "wire", f: arp(2, bcastMAC, peerMAC, far4, bcastMAC, m4), to: "M"},
		{name: "reply to the host", from: "wire", f: arp(2, nicMAC, peerMAC, far4, nicMAC, host4), drop: NoPort},
		{name: "announcement of a stranger", from: "wire", f: whoHas(peerMAC, "10.0.0.99", "10.0.0.99"), drop: NoPort},
		{name: "truncated ARP", from: "wire", f: whoHas(peerMAC, "10.0.0.99", "10.0.0.10")[:30], drop: Malformed},
		{name: "solicitation of an IP identity", from: "wire", f: ns(peerMAC, "2001:db8::99", "2001:db8::10", &peerMAC), answer: nicMAC},
		{name: "solicitation of its link-local", from: "wire", f: ns(peerMAC, "fe80::99", "fe80::11", &peerMAC), answer: nicMAC},
		{name: "solicitation of a MAC identity", from: "wire", f: ns(peerMAC, "2001:db8::99", "2001:db8::20", &peerMAC), answer: macM},
		{name: "unicast solicitation", from: "wire", f: nsTo(peerMAC, macM, far6, m6, "2001:db8::20", &peerMAC), answer: macM},
		{name: "solicitation of nobody", from: "wire", f: ns(peerMAC, "2001:db8::99", "2001:db8::77", &peerMAC), drop: NoPort},
		{name: "solicitation of the host", from: "wire", f: ns(peerMAC, "2001:db8::99", "2001:db8::1", &peerMAC), drop: NoPort},
		{name: "somebody's duplicate detection is answered", from: "wire", f: ns(peerMAC, "::", "2001:db8::10", nil), answer: nicMAC},
		{name: "our own duplicate detection, come back", from: "wire", f: ns(nicMAC, "::", "2001:db8::10", nil), drop: Conflict},
		{name: "advertisement to an IP identity", from: "wire", f: na(peerMAC, nicMAC, "2001:db8::99", "2001:db8::10", "2001:db8::99", &peerMAC), to: "A"},
		{name: "advertisement to a MAC identity", from: "wire", f: na(peerMAC, macM, "2001:db8::99", "2001:db8::20", "2001:db8::99", &peerMAC), to: "M"},
		{name: "advertisement to all", from: "wire", f: na(peerMAC, allNodesMAC, "2001:db8::99", "ff02::1", "2001:db8::99", &peerMAC), drop: NoPort},
	})
}

func TestPortToWire(t *testing.T) {
	newWorld(t).checkAll(t, []rule{
		{name: "IPv4", from: "A", f: udp(nicMAC, peerMAC, a4, far4, 10), to: "wire"},
		{name: "IPv6", from: "A", f: udp(nicMAC, peerMAC, a6, far6, 10), to: "wire"},
		{name: "a MAC identity's", from: "M", f: udp(macM, peerMAC, m4, far4, 10), to: "wire"},
		{name: "from a prefix", from: "P", f: udp(nicMAC, peerMAC, ip("10.1.0.9"), far4, 10), to: "wire"},
		{name: "from the second address", from: "P", f: udp(nicMAC, peerMAC, ip("10.1.9.9"), far4, 10), to: "wire"},
		{name: "by a next hop", from: "A", f: udp(nicMAC, hopMAC, a4, ip("198.51.100.1"), 10), to: "wire"},
		{name: "multicast", from: "A", f: udp(nicMAC, mac{1, 0, 0x5e, 0, 0, 5}, a4, ip("224.0.0.5"), 10), to: "wire"},
		{name: "broadcast", from: "A", f: udp(nicMAC, bcastMAC, a4, ip("255.255.255.255"), 10), to: "wire"},
		{name: "tagged in its VLAN", from: "V", f: udp(nicMAC, peerMAC, a4, far4, 10), to: "wire", vlan: 7},
		{name: "tagged by the container", from: "A", f: tag(udp(nicMAC, peerMAC, a4, far4, 10), 7), drop: BadVLAN},
		{name: "tagged by the container in a VLAN", from: "V", f: tag(udp(nicMAC, peerMAC, a4, far4, 10), 7), drop: BadVLAN},
		{name: "a MAC identity's own protocol", from: "M", f: other(macM, peerMAC, 0x88b5, 50), to: "wire"},
		{name: "an IP identity's own protocol", from: "A", f: other(nicMAC, peerMAC, 0x88b5, 50), drop: NotAllowed},
		{name: "spanning tree", from: "M", f: other(macM, mac{1, 0x80, 0xc2, 0, 0, 0}, 0x26, 60), drop: NotAllowed},
		{name: "LLDP", from: "M", f: other(macM, mac{1, 0x80, 0xc2, 0, 0, 0x0e}, 0x88cc, 60), drop: NotAllowed},
		{name: "next to the reserved addresses", from: "M", f: other(macM, mac{1, 0x80, 0xc2, 0, 0, 0x10}, 0x88b5, 60), to: "wire"},
		{name: "runt", from: "A", f: []byte{1, 2, 3, 4}, drop: Malformed},
		{name: "short IP", from: "A", f: udp(nicMAC, peerMAC, a4, far4, 10)[:25], drop: Malformed},
		{name: "unchecked source", from: "N", f: udp(peerMAC, hopMAC, far4, none, 10), to: "wire"},
		{name: "unchecked protocol", from: "N", f: other(macN, peerMAC, 0x88b5, 50), to: "wire"},
	})
}

func TestSourceCheck(t *testing.T) {
	group, groupMAC := solicited(a6)
	rs := icmp6(nicMAC, mac{0x33, 0x33, 0, 0, 0, 2}, ip("fe80::10"), ip("ff02::2"), 133, &layers.ICMPv6RouterSolicitation{Options: llOption(1, &nicMAC)})
	badRS := icmp6(nicMAC, mac{0x33, 0x33, 0, 0, 0, 2}, ip("fe80::10"), ip("ff02::2"), 133, &layers.ICMPv6RouterSolicitation{Options: llOption(1, &peerMAC)})
	ra := icmp6(nicMAC, allNodesMAC, ip("fe80::10"), ip("ff02::1"), 134, &layers.ICMPv6RouterAdvertisement{HopLimit: 64})
	redirect := icmp6(nicMAC, peerMAC, ip("fe80::10"), far6, 137, &layers.ICMPv6Redirect{TargetAddress: far6.AsSlice(), DestinationAddress: far6.AsSlice()})
	weakNS := ns(nicMAC, "2001:db8::10", "2001:db8::99", &nicMAC)
	weakNS[21] = 64 // hop limit
	newWorld(t).checkAll(t, []rule{
		{name: "another's IPv4", from: "A", f: udp(nicMAC, peerMAC, b4, far4, 10), drop: Spoofed},
		{name: "nobody's IPv4", from: "A", f: udp(nicMAC, peerMAC, none, far4, 10), drop: Spoofed},
		{name: "the host's IPv4", from: "A", f: udp(nicMAC, peerMAC, host4, far4, 10), drop: Spoofed},
		{name: "no IPv4", from: "A", f: udp(nicMAC, peerMAC, ip("0.0.0.0"), far4, 10), drop: Spoofed},
		{name: "another's IPv6", from: "A", f: udp(nicMAC, peerMAC, b6, far6, 10), drop: Spoofed},
		{name: "no IPv6", from: "A", f: udp(nicMAC, peerMAC, ip("::"), far6, 10), drop: Spoofed},
		{name: "another's MAC", from: "A", f: udp(macM, peerMAC, a4, far4, 10), drop: Spoofed},
		{name: "the NIC's MAC from a MAC identity", from: "M", f: udp(nicMAC, peerMAC, m4, far4, 10), drop: Spoofed},
		{name: "the address in another VLAN", from: "V", f: udp(nicMAC, peerMAC, b4, far4, 10), drop: Spoofed},
		{name: "another's hole in a prefix", from: "P", f: udp(nicMAC, peerMAC, ip("10.1.0.65"), far4, 10), drop: Spoofed},
		{name: "to a neighbour with another's address", from: "A", f: udp(nicMAC, nicMAC, m4, b4, 10), drop: Spoofed},
		{name: "to the host with another's address", from: "A", f: udp(nicMAC, hostMAC, b4, host4, 10), drop: Spoofed},
		{name: "ARP with another's address", from: "A", f: whoHas(nicMAC, "10.0.0.11", "10.0.0.99"), drop: Spoofed},
		{name: "ARP body with another's MAC", from: "A", f: arpLying(nicMAC, peerMAC, a4, far4), drop: Spoofed},
		{name: "ARP reply with another's address", from: "A", f: arp(2, peerMAC, nicMAC, b4, peerMAC, far4), drop: Spoofed},
		{name: "ARP reply without address", from: "A", f: arp(2, peerMAC, nicMAC, ip("0.0.0.0"), peerMAC, far4), drop: Spoofed},
		{name: "ARP of another kind", from: "A", f: arp(8, peerMAC, nicMAC, a4, peerMAC, far4), drop: NotAllowed},
		{name: "solicitation with another's MAC", from: "A", f: ns(nicMAC, "2001:db8::10", "2001:db8::99", &peerMAC), drop: Spoofed},
		{name: "solicitation from another's address", from: "A", f: ns(nicMAC, "2001:db8::11", "2001:db8::99", &nicMAC), drop: Spoofed},
		{name: "duplicate detection for another's address", from: "A", f: ns(nicMAC, "::", "2001:db8::77", nil), drop: Spoofed},
		{name: "advertisement of another's address", from: "A", f: na(nicMAC, peerMAC, "2001:db8::10", "2001:db8::99", "2001:db8::11", &nicMAC), drop: Spoofed},
		{name: "advertisement of another's MAC", from: "A", f: na(nicMAC, peerMAC, "2001:db8::10", "2001:db8::99", "2001:db8::10", &peerMAC), drop: Spoofed},
		{name: "router advertisement", from: "A", f: ra, drop: Spoofed},
		{name: "redirect", from: "A", f: redirect, drop: Spoofed},
		{name: "solicitation with a low hop limit", from: "A", f: weakNS, drop: Spoofed},
		{name: "router solicitation", from: "A", f: rs, to: "wire"},
		{name: "router solicitation with another's MAC", from: "A", f: badRS, drop: Spoofed},
		{name: "own duplicate detection", from: "A", f: nsTo(nicMAC, groupMAC, ip("::"), group, "2001:db8::10", nil), to: "wire"},
		{name: "own announcement", from: "A", f: na(nicMAC, allNodesMAC, "2001:db8::10", "ff02::1", "2001:db8::10", &nicMAC), to: "wire"},
		{name: "solicited-node report", from: "A", f: mldReport(nicMAC, "fe80::10", group.String()), quiet: true},
		{name: "solicited-node report without address", from: "A", f: mldReport(nicMAC, "::", group.String()), quiet: true},
		{name: "report of another group", from: "A", f: mldReport(nicMAC, "fe80::10", group.String(), "ff02::fb"), to: "wire"},
		{name: "report from another's address", from: "A", f: mldReport(nicMAC, "fe80::11", group.String()), drop: Spoofed},
	})
}

// arpLying is a request whose body names another MAC than its Ethernet header.
func arpLying(src, sha mac, spa, tpa netip.Addr) []byte {
	f := arp(1, bcastMAC, sha, spa, zeroMAC, tpa)
	copy(f[6:], src[:])
	return f
}

func TestNeighboursFromPort(t *testing.T) {
	newWorld(t).checkAll(t, []rule{
		{name: "an IP identity asks for another", from: "A", f: whoHas(nicMAC, "10.0.0.10", "10.0.0.11"), answer: nicMAC},
		{name: "an IP identity asks for a MAC identity", from: "A", f: whoHas(nicMAC, "10.0.0.10", "10.0.0.20"), answer: macM},
		{name: "a MAC identity asks for an IP identity", from: "M", f: whoHas(macM, "10.0.0.20", "10.0.0.10"), answer: nicMAC},
		{name: "for the host", from: "A", f: whoHas(nicMAC, "10.0.0.10", "10.0.0.1"), answer: hostMAC},
		{name: "for the host from a VLAN", from: "V", f: whoHas(nicMAC, "10.0.0.10", "10.0.0.1"), to: "wire", vlan: 7},
		{name: "in a VLAN", from: "V", f: whoHas(nicMAC, "10.0.0.10", "10.0.0.20"), answer: macW},
		{name: "for a neighbour of another VLAN", from: "V", f: whoHas(nicMAC, "10.0.0.10", "10.0.0.11"), to: "wire", vlan: 7},
		{name: "for a stranger", from: "A", f: whoHas(nicMAC, "10.0.0.10", "10.0.0.99"), to: "wire"},
		{name: "announces itself", from: "A", f: whoHas(nicMAC, "10.0.0.10", "10.0.0.10"), to: "wire"},
		{name: "probes for itself", from: "A", f: whoHas(nicMAC, "0.0.0.0", "10.0.0.10"), to: "wire"},
		{name: "probes for a neighbour", from: "A", f: whoHas(nicMAC, "0.0.0.0", "10.0.0.11"), answer: nicMAC},
		{name: "announces itself by reply", from: "A", f: arp(2, bcastMAC, nicMAC, a4, bcastMAC, a4), to: "wire"},
		{name: "replies to the wire", from: "A", f: arp(2, peerMAC, nicMAC, a4, peerMAC, far4), to: "wire"},
		{name: "replies to an IP identity", from: "M", f: arp(2, nicMAC, macM, m4, nicMAC, a4), to: "A"},
		{name: "replies to a MAC identity", from: "A", f: arp(2, macM, nicMAC, a4, macM, m4), to: "M"},
		{name: "replies to the host", from: "A", f: arp(2, hostMAC, nicMAC, a4, hostMAC, host4), to: "host"},
		{name: "replies to the host under the NIC's MAC", from: "A", f: arp(2, nicMAC, nicMAC, a4, nicMAC, host4), to: "host", dst: hostMAC},
		{name: "replies to a neighbour by broadcast", from: "A", f: arp(2, bcastMAC, nicMAC, a4, bcastMAC, m4), to: "M"},
		{name: "solicits another", from: "A", f: ns(nicMAC, "2001:db8::10", "2001:db8::11", &nicMAC), answer: nicMAC},
		{name: "solicits a MAC identity", from: "A", f: ns(nicMAC, "fe80::10", "fe80::20", &nicMAC), answer: macM},
		{name: "solicits the host", from: "A", f: ns(nicMAC, "fe80::10", "fe80::1", &nicMAC), answer: hostMAC},
		{name: "solicits a stranger", from: "A", f: ns(nicMAC, "fe80::10", "fe80::77", &nicMAC), to: "wire"},
		{name: "solicits by unicast", from: "A", f: nsTo(nicMAC, macM, a6, m6, "2001:db8::20", &nicMAC), answer: macM},
		{name: "advertises to a MAC identity", from: "A", f: na(nicMAC, macM, "2001:db8::10", "2001:db8::20", "2001:db8::10", &nicMAC), to: "M"},
		{name: "advertises to an IP identity", from: "M", f: na(macM, nicMAC, "2001:db8::20", "2001:db8::10", "2001:db8::20", &macM), to: "A"},
		{name: "advertises to the host", from: "A", f: na(nicMAC, hostMAC, "2001:db8::10", "2001:db8::1", "2001:db8::10", &nicMAC), to: "host"},
		{name: "advertises to the wire", from: "A", f: na(nicMAC, peerMAC, "2001:db8::10", "2001:db8::99", "2001:db8::10", &nicMAC), to: "wire"},
	})
}

func TestPortToPort(t *testing.T) {
	newWorld(t).checkAll(t, []rule{
		{name: "IP identity to IP identity", from: "A", f: udp(nicMAC, nicMAC, a4, b4, 10), to: "B"},
		{name: "IPv6", from: "A", f: udp(nicMAC, nicMAC, a6, b6, 10), to: "B"},
		{name: "IP identity to MAC identity", from: "A", f: udp(nicMAC, macM, a4, m4, 10), to: "M"},
		{name: "MAC identity to IP identity", from: "M", f: udp(macM, nicMAC, m4, a4, 10), to: "A"},
		{name: "to a prefix", from: "A", f: udp(nicMAC, nicMAC, a4, ip("10.1.0.8"), 10), to: "P"},
		{name: "a MAC identity's address under the NIC's MAC", from: "A", f: udp(nicMAC, nicMAC, a4, m4, 10), drop: NoPort},
		{name: "nobody under the NIC's MAC", from: "A", f: udp(nicMAC, nicMAC, a4, none, 10), drop: NoPort},
		{name: "itself under the NIC's MAC", from: "A", f: udp(nicMAC, nicMAC, a4, a4, 10), drop: NoPort},
		{name: "a MAC identity itself", from: "M", f: udp(macM, macM, m4, m4, 10), drop: NoPort},
		{name: "no IP between MAC identities", from: "M", f: other(macM, macN, 0x88b5, 50), to: "N"},
		{name: "by a next hop to an IP identity", from: "A", f: udp(nicMAC, hopMAC, a4, b4, 10), to: "B", dst: nicMAC},
		{name: "by a next hop to a MAC identity", from: "A", f: udp(nicMAC, hopMAC, a4, m4, 10), to: "M", dst: macM},
		{name: "by a next hop to a MAC identity, IPv6", from: "A", f: udp(nicMAC, hopMAC, a6, m6, 10), to: "M", dst: macM},
		{name: "by a next hop to the host", from: "A", f: udp(nicMAC, hopMAC, a4, host4, 10), to: "host", dst: hostMAC},
		{name: "by a next hop to itself", from: "A", f: udp(nicMAC, hopMAC, a4, a4, 10), drop: NoPort},
		{name: "by somebody else's next hop", from: "B", f: udp(nicMAC, hopMAC, b4, a4, 10), to: "wire"},
		{name: "to the host", from: "A", f: udp(nicMAC, hostMAC, a4, host4, 10), to: "host"},
		{name: "to the host, IPv6", from: "M", f: udp(macM, hostMAC, m6, host6, 10), to: "host"},
		{name: "to the host under the NIC's MAC", from: "A", f: udp(nicMAC, nicMAC, a4, host4, 10), to: "host", dst: hostMAC},
		{name: "within a VLAN", from: "V", f: udp(nicMAC, macW, a4, m4, 10), to: "W"},
		{name: "within a VLAN, back", from: "W", f: udp(macW, nicMAC, m4, a4, 10), to: "V"},
		{name: "from a VLAN to another's MAC", from: "V", f: udp(nicMAC, macM, a4, m4, 10), to: "wire", vlan: 7},
		{name: "from a VLAN to another's address", from: "V", f: udp(nicMAC, nicMAC, a4, b4, 10), drop: NoPort},
		{name: "from a VLAN to the host", from: "V", f: udp(nicMAC, nicMAC, a4, host4, 10), drop: NoPort},
		{name: "from a VLAN to the host's MAC", from: "V", f: udp(nicMAC, hostMAC, a4, host4, 10), to: "wire", vlan: 7},
	})
}

func TestFromHost(t *testing.T) {
	newWorld(t).checkAll(t, []rule{
		{name: "to an IP identity", from: "host", f: udp(hostMAC, gateMAC, host4, a4, 10), to: "A", dst: nicMAC},
		{name: "to a MAC identity", from: "host", f: udp(hostMAC, gateMAC, host4, m4, 10), to: "M", dst: macM},
		{name: "to a MAC identity, IPv6", from: "host", f: udp(hostMAC, gateMAC, host6, m6, 10), to: "M", dst: macM},
		{name: "under the NIC's MAC", from: "host", f: udp(hostMAC, nicMAC, host4, a4, 10), to: "A"},
		{name: "under the port's MAC", from: "host", f: udp(hostMAC, macM, host4, m4, 10), to: "M"},
		{name: "any source", from: "host", f: udp(peerMAC, gateMAC, far4, a4, 10), to: "A", dst: nicMAC},
		{name: "to a VLAN's MAC", from: "host", f: udp(hostMAC, macW, host4, m4, 10), drop: NoPort},
		{name: "to nobody", from: "host", f: udp(hostMAC, gateMAC, host4, none, 10), drop: NoPort},
		{name: "to itself", from: "host", f: udp(hostMAC, gateMAC, host4, host4, 10), drop: NoPort},
		{name: "to its own MAC", from: "host", f: udp(hostMAC, hostMAC, host4, host4, 10), drop: NoPort},
		{name: "to a stranger's MAC", from: "host", f: udp(hostMAC, peerMAC, host4, a4, 10), drop: NoPort},
		{name: "multicast", from: "host", f: udp(hostMAC, mac{1, 0, 0x5e, 0, 0, 251}, host4, ip("224.0.0.251"), 10), drop: NoPort},
		{name: "broadcast", from: "host", f: udp(hostMAC, bcastMAC, host4, a4, 10), drop: NoPort},
		{name: "tagged", from: "host", f: tag(udp(hostMAC, gateMAC, host4, a4, 10), 7), drop: BadVLAN},
		{name: "malformed", from: "host", f: []byte{9}, drop: Malformed},
		{name: "asks for an IP identity", from: "host", f: whoHas(hostMAC, "10.0.0.1", "10.0.0.10"), answer: nicMAC},
		{name: "asks for a MAC identity", from: "host", f: whoHas(hostMAC, "10.0.0.1", "10.0.0.20"), answer: macM},
		{name: "asks for nobody", from: "host", f: whoHas(hostMAC, "10.0.0.1", "10.0.0.77"), drop: NoPort},
		{name: "solicits a MAC identity", from: "host", f: ns(hostMAC, "fe80::1", "fe80::20", &hostMAC), answer: macM},
		{name: "solicits nobody", from: "host", f: ns(hostMAC, "fe80::1", "fe80::77", &hostMAC), drop: NoPort},
	})
}

// TestNoHostPort is a switch that does not join the host.
func TestNoHostPort(t *testing.T) {
	r := newRig(t, Config{Workers: 1})
	r.ok(r.sw.SetHost(HostConfig{NICMAC: nicMAC, Addrs: []netip.Addr{host4}}))
	w := &world{r, map[string]*testPort{}}
	r.begin()
	w.add(PortConfig{Name: "A"}, "10.0.0.10")
	w.settle()
	w.checkAll(t, []rule{
		{name: "asks for the host", from: "A", f: whoHas(nicMAC, "10.0.0.10", "10.0.0.1"), to: "wire"},
		{name: "sends to the host", from: "A", f: udp(nicMAC, nicMAC, a4, host4, 10), drop: NoPort},
		{name: "from the wire", from: "wire", f: udp(peerMAC, nicMAC, far4, a4, 10), to: "A"},
	})
	if _, err := r.sw.PortStats(r.sw.HostID()); err != ErrNoPort {
		t.Errorf("PortStats of no host port: %v", err)
	}
}

// TestNextHopMoves is a next hop whose MAC becomes known, changes and is
// forgotten, while its ports stay.
func TestNextHopMoves(t *testing.T) {
	w := newWorld(t)
	moved := mac{0x02, 0xaa, 0, 0, 0, 0xfd}
	w.sw.SetNextHop(0, ip("10.0.0.254"), moved)
	w.sw.SetNextHop(0, ip("fe80::fe"), mac{})
	w.checkAll(t, []rule{
		{name: "the new MAC", from: "A", f: udp(nicMAC, moved, a4, b4, 10), to: "B", dst: nicMAC},
		{name: "the old MAC", from: "A", f: udp(nicMAC, hopMAC, a4, b4, 10), to: "wire"},
	})
}

// TestNeighbourEvents is what the switch tells of next hops on the wire.
func TestNeighbourEvents(t *testing.T) {
	w := newWorld(t)
	moved := mac{0x02, 0xaa, 0, 0, 0, 0xfd}
	w.links[0].Arrive(
		arp(2, nicMAC, hopMAC, ip("10.0.0.254"), nicMAC, a4),
		whoHas(moved, "10.0.0.254", "10.0.0.254"),
		na(moved, nicMAC, "fe80::fe", "2001:db8::10", "fe80::fe", &moved),
		arp(2, nicMAC, peerMAC, far4, nicMAC, a4),                      // no next hop
		whoHas(hopMAC, "10.0.0.254", "10.0.0.10"),                      // asks
		ns(hopMAC, "fe80::fe", "2001:db8::10", &hopMAC),                // asks
		whoHas(hopMAC, "0.0.0.0", "10.0.0.254"),                        // probes: has it not yet
		tag(arp(2, nicMAC, peerMAC, ip("10.0.0.254"), nicMAC, a4), 7),  // no next hop there
		na(moved, nicMAC, "fe80::fe", "2001:db8::10", "fe80::fe", nil), // says no MAC
	)
	w.settle()
	for _, want := range []Neighbour{
		{0, ip("10.0.0.254"), hopMAC}, {0, ip("10.0.0.254"), moved}, {0, ip("fe80::fe"), moved},
		{0, ip("10.0.0.254"), hopMAC}, {0, ip("fe80::fe"), hopMAC},
	} {
		select {
		case got := <-w.sw.Neighbours():
			if got != want {
				t.Errorf("told %v, want %v", got, want)
			}
		default:
			t.Errorf("nothing was told of %v", want)
		}
	}
	if n := len(w.sw.Neighbours()); n != 0 {
		t.Errorf("%d more neighbours were told of", n)
	}
}

// TestRefusals is a lane that refuses, and how that is counted.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		lane demuxtest.LaneConfig
		gone bool
		want []int // indices of the frames that arrive
		drop Reason
	}{
		{name: "full", lane: demuxtest.LaneConfig{Depth: 2}, want: []int{0, 1}, drop: Full},
		{name: "too big for the queue", lane: demuxtest.LaneConfig{MaxFrame: 200}, want: []int{0, 2, 3}, drop: TooBig},
		{name: "gone", gone: true, drop: Gone},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := stepped(t)
			p := r.portWith(PortConfig{Name: "p"}, c.lane, "10.0.0.10")
			p.lanes[0].SetGone(c.gone)
			frames := [][]byte{}
			for _, n := range []int{1, 300, 2, 3} {
				frames = append(frames, udp(peerMAC, nicMAC, far4, a4, n))
			}
			r.links[0].Arrive(frames...)
			r.settle()
			var want [][]byte
			for _, i := range c.want {
				want = append(want, frames[i])
			}
			wantFrames(t, "port", p.got(), want...)
			st, _ := r.sw.PortStats(p.id)
			lost := uint64(len(frames) - len(want))
			if w := r.sw.Stats().Wire; w.Drops[c.drop] != lost || w.Dropped() != lost || st.RxDrops[c.drop] != lost {
				t.Errorf("drops %v and the port's %v, want %d as %v", w.Drops, st.RxDrops, lost, c.drop)
			}
			if st.RxFrames != uint64(len(want)) || st.RxBytes != bytesIn(want) {
				t.Errorf("the port received %d frames, %d bytes", st.RxFrames, st.RxBytes)
			}
		})
	}
}

func bytesIn(frames [][]byte) (n uint64) {
	for _, f := range frames {
		n += uint64(len(f))
	}
	return n
}
