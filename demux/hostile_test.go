package demux

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// snap is IEEE 802.2 LLC with SNAP, which carries an EtherType in a frame that
// has a length in its place (RFC 1042).
func snap(f []byte) []byte {
	n := len(f) - 12 + 6
	out := append(append([]byte{}, f[:12]...), byte(n>>8), byte(n), 0xaa, 0xaa, 3, 0, 0, 0)
	return append(out, f[12:]...)
}

// TestDisguised is a MAC identity, which may speak other protocols, that hides
// an address, a tag or a bridge's message in one of them.
func TestDisguised(t *testing.T) {
	shaped := func(src, dst mac, typ uint16) []byte { return other(src, dst, typ, 60) }
	isis := append(append([]byte{}, macM[:]...), 0) // any LLC frame of another kind
	llc := serialize(&layers.Ethernet{SrcMAC: hw(macM), DstMAC: hw(mac{1, 0x80, 0xc2, 0, 0, 0x14}), EthernetType: layers.EthernetTypeLLC, Length: 40})
	llc = append(append(llc, 0xfe, 0xfe, 3), append(isis, make([]byte, 37)...)...)
	newWorld(t).checkAll(t, []rule{
		{name: "another's IPv4 in SNAP", from: "M", f: snap(udp(macM, peerMAC, a4, far4, 10)), drop: NotAllowed},
		{name: "another's IPv6 in SNAP", from: "M", f: snap(udp(macM, peerMAC, a6, far6, 10)), drop: NotAllowed},
		{name: "another's ARP in SNAP", from: "M", f: snap(arp(2, peerMAC, macM, a4, peerMAC, far4)), drop: NotAllowed},
		{name: "a tag in SNAP", from: "M", f: snap(tag(udp(macM, peerMAC, m4, far4, 10), 7)), drop: NotAllowed},
		{name: "an old tag", from: "M", f: shaped(macM, peerMAC, 0x9100), drop: BadVLAN},
		{name: "an older tag", from: "M", f: shaped(macM, peerMAC, 0x9200), drop: BadVLAN},
		{name: "a pause frame to one station", from: "M", f: shaped(macM, peerMAC, 0x8808), drop: NotAllowed},
		{name: "LACP to one station", from: "M", f: shaped(macM, peerMAC, 0x8809), drop: NotAllowed},
		{name: "Cisco's VTP, DTP, CDP", from: "M", f: shaped(macM, mac{1, 0, 0x0c, 0xcc, 0xcc, 0xcc}, 0x100), drop: NotAllowed},
		{name: "Cisco's spanning tree", from: "M", f: shaped(macM, mac{1, 0, 0x0c, 0xcc, 0xcc, 0xcd}, 0x100), drop: NotAllowed},
		{name: "MVRP", from: "M", f: shaped(macM, mac{1, 0x80, 0xc2, 0, 0, 0x21}, 0x88f5), drop: NotAllowed},
		{name: "IS-IS", from: "M", f: llc, to: "wire"},
	})
}

// TestChecksumIntoSNAP has a checksum completed where it turns an innocent LLC
// frame into a disguised one, after the source check.
func TestChecksumIntoSNAP(t *testing.T) {
	w := newWorld(t)
	f := snap(udp(macM, peerMAC, a4, far4, 10))
	binary.BigEndian.PutUint16(f[20:], 0x88b5)
	w.ports["M"].lanes[0].SendFrame(frame.Frame{Data: f, Meta: frame.Meta{Flags: frame.NeedsChecksum, CsumStart: 14, CsumOffset: 6}})
	w.settle()
	wantFrames(t, "wire", w.links[0].Sent())
}

// TestLoopbackAddresses is what must never leave a host (RFC 1122, section
// 3.2.1.3; RFC 4291, section 2.5.3), sent to a MAC, where no rule looks at the
// IP address. A host with route_localnet would take it for its own.
func TestLoopbackAddresses(t *testing.T) {
	lo4, lo6 := ip("127.0.0.1"), ip("::1")
	newWorld(t).checkAll(t, []rule{
		{name: "to the host's loopback", from: "A", f: udp(nicMAC, hostMAC, a4, lo4, 10), drop: NotAllowed},
		{name: "to the host's other loopback", from: "M", f: udp(macM, hostMAC, m4, ip("127.9.9.9"), 10), drop: NotAllowed},
		{name: "to the host's IPv6 loopback", from: "A", f: udp(nicMAC, hostMAC, a6, lo6, 10), drop: NotAllowed},
		{name: "to the host's loopback under the NIC's MAC", from: "A", f: udp(nicMAC, nicMAC, a4, lo4, 10), drop: NoPort},
		{name: "from loopback, unchecked", from: "N", f: udp(macN, hostMAC, lo4, host4, 10), drop: NotAllowed},
		{name: "from IPv6 loopback, unchecked", from: "N", f: udp(macN, hostMAC, lo6, host6, 10), drop: NotAllowed},
		{name: "to a neighbour's loopback", from: "A", f: udp(nicMAC, macM, a4, lo4, 10), drop: NotAllowed},
		{name: "from the wire to a loopback", from: "wire", f: udp(peerMAC, macM, far4, lo4, 10), drop: NotAllowed},
		{name: "from the wire, IPv6", from: "wire", f: udp(peerMAC, macM, far6, lo6, 10), drop: NotAllowed},
		{name: "to a group at the host", from: "A", f: udp(nicMAC, hostMAC, a4, ip("224.0.0.251"), 10), drop: NotAllowed},
		{name: "to everybody at the host", from: "A", f: udp(nicMAC, hostMAC, a4, ip("255.255.255.255"), 10), drop: NotAllowed},
		{name: "to an IPv6 group at the host", from: "A", f: udp(nicMAC, hostMAC, a6, ip("ff02::fb"), 10), drop: NotAllowed},
		{name: "by the host as a router", from: "A", f: udp(nicMAC, hostMAC, a4, ip("198.51.100.7"), 10), to: "host"},
		{name: "by the host as a router, IPv6", from: "A", f: udp(nicMAC, hostMAC, a6, ip("2001:db8:9::1"), 10), to: "host"},
	})
}

// TestClaimsFromWire is a machine on the wire that says to a container that
// one of its neighbours on this host, the host, or itself is elsewhere.
func TestClaimsFromWire(t *testing.T) {
	twice := na(peerMAC, macM, "fe80::99", "2001:db8::20", "2001:db8::10", &peerMAC)
	twice = append(twice, twice[78:86]...)
	binary.BigEndian.PutUint16(twice[18:], 40)
	putICMP6Sum(twice, 54)
	newWorld(t).checkAll(t, []rule{
		{name: "ARP: a neighbour is here", from: "wire", f: arp(2, nicMAC, peerMAC, b4, nicMAC, a4), drop: Conflict},
		{name: "ARP: a neighbour is here, by broadcast", from: "wire", f: arp(2, bcastMAC, peerMAC, b4, bcastMAC, a4), drop: Conflict},
		{name: "ARP: the host is here", from: "wire", f: arp(2, nicMAC, peerMAC, host4, nicMAC, a4), drop: Conflict},
		{name: "ARP: to a MAC identity", from: "wire", f: arp(2, macM, peerMAC, host4, macM, m4), drop: Conflict},
		{name: "ARP: a question that claims", from: "wire", f: arp(1, macM, peerMAC, a4, zeroMAC, none), drop: Conflict},
		{name: "ARP: you are not you", from: "wire", f: arp(2, macM, peerMAC, m4, macM, far4), drop: Conflict},
		{name: "ARP: another VLAN's address is no claim", from: "wire", f: tag(arp(2, macW, peerMAC, host4, macW, m4), 7), to: "W",
			bare: arp(2, macW, peerMAC, host4, macW, m4)},
		{name: "NA: a neighbour is here", from: "wire", f: na(peerMAC, nicMAC, "2001:db8::99", "2001:db8::10", "2001:db8::11", &peerMAC), drop: Conflict},
		{name: "NA: the host is here", from: "wire", f: na(peerMAC, nicMAC, "2001:db8::99", "2001:db8::10", "2001:db8::1", &peerMAC), drop: Conflict},
		{name: "NA: your address is mine", from: "wire", f: na(peerMAC, nicMAC, "fe80::99", "fe80::10", "2001:db8::10", &peerMAC), drop: Conflict},
		{name: "NA with two addresses", from: "wire", f: twice, drop: Malformed},
		{name: "NS of a neighbour for a stranger", from: "wire", f: nsTo(peerMAC, macM, b6, m6, "2001:db8::77", &peerMAC), drop: Conflict},
		{name: "RS of a neighbour", from: "wire", f: icmp6(peerMAC, macM, ip("fe80::10"), m6, 133,
			&layers.ICMPv6RouterSolicitation{Options: llOption(1, &peerMAC)}), drop: Conflict},
		{name: "a stranger's RS", from: "wire", f: icmp6(peerMAC, macM, ip("fe80::99"), m6, 133,
			&layers.ICMPv6RouterSolicitation{Options: llOption(1, &peerMAC)}), to: "M"},
	})
}

// TestHopClaimedFromWire: nobody on the wire moves a next hop that is here.
func TestHopClaimedFromWire(t *testing.T) {
	w := newWorld(t)
	w.add(PortConfig{Name: "G", NextHops: ipsOf("10.0.0.1", "2001:db8::20", "10.0.0.253")}, "10.0.0.40")
	w.links[0].Arrive(
		whoHas(peerMAC, "10.0.0.1", "10.0.0.10"),
		ns(peerMAC, "2001:db8::20", "2001:db8::10", &peerMAC),
		na(peerMAC, nicMAC, "2001:db8::20", "2001:db8::10", "2001:db8::20", &peerMAC),
		whoHas(peerMAC, "10.0.0.253", "10.0.0.10"))
	w.settle()
	if n := <-w.sw.Neighbours(); n.IP != ip("10.0.0.253") {
		t.Errorf("heard of %v", n)
	}
	if n := len(w.sw.Neighbours()); n != 0 {
		t.Errorf("heard of %d more", n)
	}
}

// TestErrorsAreEachPorts: a port that sends nothing but frames that are too
// long does not use up what others are told of the path MTU.
func TestErrorsAreEachPorts(t *testing.T) {
	w := newWorld(t)
	now := int64(1)
	w.sw.clock = func() int64 { return now }
	w.add(PortConfig{Name: "small", MTU: 1280}, "10.0.0.30")
	long := udp(nicMAC, nicMAC, a4, ip("10.0.0.30"), 1400)
	for range 2000 {
		w.ports["A"].send(long)
	}
	w.settle()
	if n := len(w.ports["A"].got()); n == 0 || n > 2*errorBurst {
		t.Errorf("the flooding port got %d messages", n)
	}
	w.ports["B"].send(udp(nicMAC, nicMAC, b4, ip("10.0.0.30"), 1400))
	w.links[0].Arrive(udp(peerMAC, nicMAC, far4, ip("10.0.0.30"), 1400))
	w.settle()
	if n := len(w.ports["B"].got()); n != 1 {
		t.Errorf("its neighbour got %d messages, want 1", n)
	}
	if n := len(w.links[0].Sent()); n != 1 {
		t.Errorf("the wire got %d messages, want 1", n)
	}
}

// TestTinySegments is a port whose super-frames of a kilobyte ask for a
// thousand segments each: what one visit cuts is bounded, and others go on.
func TestTinySegments(t *testing.T) {
	for _, c := range []struct {
		name string
		dst  mac
		to   string
	}{{"to the wire", peerMAC, "10.0.0.99"}, {"to a port that takes none whole", nicMAC, "10.0.0.11"}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			bad := w.portWith(PortConfig{Name: "bad"}, demuxtest.LaneConfig{Offloads: allOffloads}, "10.0.0.40")
			w.settle()
			f := tcp(nicMAC, c.dst, ip("10.0.0.40"), ip(c.to), 1000)
			meta := frame.Meta{Flags: frame.NeedsChecksum, GSO: frame.GSOTCPv4, GSOSize: 1, HdrLen: 54, CsumStart: 34, CsumOffset: 16}
			for range batch {
				bad.lanes[0].SendFrame(frame.Frame{Data: append([]byte{}, f...), Meta: meta})
			}
			worker := w.sw.workers[0]
			worker.chores(w.waits[0].Wait(worker.ready[:], 0))
			worker.breath()
			n := len(w.links[0].Sent()) + len(w.ports["B"].got())
			if n > maxCuts {
				t.Errorf("%d segments in one breath", n)
			}
			w.settle()
		})
	}
}

// TestHonestSegments: a port that sends super-frames of a usual segment size
// as fast as a visit takes them loses none.
func TestHonestSegments(t *testing.T) {
	w := newWorld(t)
	good := w.portWith(PortConfig{Name: "good"}, demuxtest.LaneConfig{Offloads: allOffloads}, "10.0.0.40")
	w.settle()
	f := tcp(nicMAC, nicMAC, ip("10.0.0.40"), b4, 60000)
	meta := frame.Meta{Flags: frame.NeedsChecksum, GSO: frame.GSOTCPv4, GSOSize: 536, HdrLen: 54, CsumStart: 34, CsumOffset: 16}
	for range 20 {
		good.lanes[0].SendFrame(frame.Frame{Data: append([]byte{}, f...), Meta: meta})
	}
	w.settle()
	if n := len(w.ports["B"].got()); n != 20*112 {
		t.Errorf("%d segments came, want %d", n, 20*112)
	}
}

// TestAddressesNobodyHas: no port may be given what its source check should
// refuse.
func TestAddressesNobodyHas(t *testing.T) {
	w := newWorld(t)
	for _, a := range []string{"127.0.0.1/32", "126.0.0.0/7", "192.0.0.0/2", "255.255.255.255/32", "::1/128", "8000::/1"} {
		p := w.newPort(PortConfig{Name: "bad"}, demuxtest.LaneConfig{})
		p.cfg.Addrs = append(p.cfg.Addrs, pfx(a))
		if _, err := w.sw.Attach(p.cfg); err == nil {
			t.Errorf("a port may own %s", a)
		}
	}
}

func ipsOf(addrs ...string) (out []netip.Addr) {
	for _, a := range addrs {
		out = append(out, ip(a))
	}
	return out
}
