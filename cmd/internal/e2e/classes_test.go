package e2e

import (
	"fmt"
	"testing"

	"github.com/google/gopacket/layers"
)

// wireCase is a class of frames that come from the wire.
type wireCase struct {
	name   string
	frames [][]byte // sent in turn
	via    string   // the program's counter of each
	fate   string   // the switch's counter of each; none: it stays with the host
	port   string   // whose it is
	says   string   // what the daemon answers each with; see ledger.hear
}

func (l *ledger) wireCases(t *testing.T) []wireCase {
	all := l.knownFrames(t)
	all = append(all, l.neighbourFrames(t)...)
	all = append(all, l.unknownFrames(t)...)
	return append(all, l.brokenFrames(t)...)
}

func one(f []byte) [][]byte { return [][]byte{f} }

// knownFrames are for ports, and they get them.
func (l *ledger) knownFrames(t *testing.T) []wireCase {
	a, a6 := l.fromWire(a4), l.fromWire(a6)
	m, m6 := l.fromWire(m4).toMAC(l.macMAC), l.fromWire(m6).toMAC(l.macMAC)
	var pieces4, pieces6 [][]byte
	for id := range uint16(32) {
		p4, p6 := a.pieces(t, id), a6.pieces(t, id)
		pieces4, pieces6 = append(pieces4, p4[:]...), append(pieces6, p6[:]...)
	}
	return []wireCase{
		{"IP identity v4", one(a.udp(t, 64)), "redirected.ip4", "delivered", "a", ""},
		{"IP identity v6", one(a6.udp(t, 64)), "redirected.ip6", "delivered", "a", ""},
		{"IP identity v4, MTU-size", one(a.udp(t, 1472)), "redirected.ip4", "delivered", "a", ""},
		{"IP identity, priority tag", one(a.tagged(0).udp(t, 64)), "redirected.ip4", "delivered", "a", ""},
		{"MAC identity v4", one(m.udp(t, 64)), "redirected.mac", "delivered", "m", ""},
		{"MAC identity v6", one(m6.udp(t, 64)), "redirected.mac", "delivered", "m", ""},
		{"MAC identity, another protocol", one(m.other(t, 46)), "redirected.mac", "delivered", "m", ""},
		{"MAC identity, address of nobody", one(l.fromWire(stranger4).toMAC(l.macMAC).udp(t, 64)), "redirected.mac", "delivered", "m", ""},
		{"VLAN, IP identity v4", one(a.tagged(vlan).udp(t, 64)), "redirected.ip4", "delivered", "v", ""},
		{"VLAN, IP identity v6, MTU-size", one(a6.tagged(vlan).udp(t, 1452)), "redirected.ip6", "delivered", "v", ""},
		{"VLAN, MAC identity", one(m.tagged(vlan).udp(t, 64)), "redirected.mac", "delivered", "w", ""},
		{"fragments v4", pieces4, "redirected.ip4", "delivered", "a", ""},
		{"fragments v6", pieces6, "redirected.ip6", "delivered", "a", ""},
		{"extension headers", one(a6.extended(t)), "redirected.ip6", "delivered", "a", ""},
		{"VLAN, extension headers", one(a6.tagged(vlan).extended(t)), "redirected.ip6", "delivered", "v", ""},
		{"runt", one(a.udp(t, 0)), "redirected.ip4", "delivered", "a", ""},
		{"nothing but a header", one(m.other(t, 0)), "redirected.mac", "delivered", "m", ""},
	}
}

// neighbourFrames are ARP and Neighbour Discovery.
func (l *ledger) neighbourFrames(t *testing.T) []wireCase {
	everybody := mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	ask4 := func(ip string) path { return l.fromWire(ip).toMAC(everybody) }
	ask6 := func(ip string) path {
		g := groupOf(ip)
		return l.fromWire(ip).toMAC(g).between(wire6, fmt.Sprintf("ff02::1:ff%02x:%02x%02x", g[3], g[4], g[5]))
	}
	self, reply := l.wireMAC, uint16(layers.ARPReply)
	at, atMAC, inVLAN := " is at "+fmtMAC(l.nicMAC), " is at "+mMAC, fmt.Sprintf(" in VLAN %d", vlan)
	lie := ask4(a4).between(a4, a4)
	return []wireCase{
		{"ARP request", one(ask4(a4).arp(t, layers.ARPRequest, self)), "redirected.arp", "answered", "a", a4 + at},
		{"ARP request for a MAC identity", one(ask4(m4).arp(t, layers.ARPRequest, self)), "redirected.arp", "answered", "m", m4 + atMAC},
		{"ARP request in a VLAN", one(ask4(a4).tagged(vlan).arp(t, layers.ARPRequest, self)), "redirected.arp", "answered", "v", a4 + at + inVLAN},
		{"ARP request for a stranger", one(ask4(stranger4).arp(t, layers.ARPRequest, self)), "passed.group", "", "", ""},
		{"ARP announcement of a port's address", one(lie.arp(t, layers.ARPRequest, self)), "redirected.arp", "drops.conflict", "", ""},
		{"ARP reply", one(l.fromWire(a4).arp(t, reply, self)), "redirected.arp", "delivered", "a", ""},
		{"solicitation", one(ask6(a6).solicit(t, a6)), "redirected.nd", "answered", "a", a6 + at},
		{"solicitation of a MAC identity", one(ask6(m6).solicit(t, m6)), "redirected.nd", "answered", "m", m6 + atMAC},
		{"solicitation in a VLAN", one(ask6(a6).tagged(vlan).solicit(t, a6)), "redirected.nd", "answered", "v", a6 + at + inVLAN},
		{"solicitation of a stranger", one(ask6(stranger6).solicit(t, stranger6)), "passed.group", "", "", ""},
		{"advertisement", one(l.fromWire(a6).advertise(t, wire6, 0x40, self)), "redirected.ip6", "delivered", "a", ""},
	}
}

// unknownFrames stay with the host.
func (l *ledger) unknownFrames(t *testing.T) []wireCase {
	nobody := mac{2, 9, 9, 9, 9, 9}
	a, a6 := l.fromWire(a4), l.fromWire(a6)
	return []wireCase{
		{"the host's own v4", one(l.fromWire(host4).udp(t, 64)), "passed.unknown", "", "", ""},
		{"the host's own v6", one(l.fromWire(host6).udp(t, 64)), "passed.unknown", "", "", ""},
		{"stranger v4", one(l.fromWire(stranger4).udp(t, 64)), "passed.unknown", "", "", ""},
		{"stranger v6", one(l.fromWire(stranger6).udp(t, 64)), "passed.unknown", "", "", ""},
		{"IP identity under another MAC", one(a.toMAC(nobody).udp(t, 64)), "passed.unknown", "", "", ""},
		{"MAC identity's address under the NIC's MAC", one(l.fromWire(m4).udp(t, 64)), "passed.unknown", "", "", ""},
		{"another VLAN", one(a.tagged(vlan+1).udp(t, 64)), "passed.unknown", "", "", ""},
		{"MAC identity in another VLAN", one(a6.toMAC(l.macMAC).tagged(vlan+1).udp(t, 64)), "passed.unknown", "", "", ""},
		{"two tags", one(a.tagged(7, vlan).udp(t, 64)), "passed.tags", "", "", ""},
		{"another protocol", one(a.other(t, 46)), "passed.protocol", "", "", ""},
		{"broadcast", one(a.toMAC(mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}).udp(t, 64)), "passed.group", "", "", ""},
		{"multicast v6", one(a6.toMAC(mac{0x33, 0x33, 0, 0, 0, 1}).between(wire6, "ff02::1").udp(t, 64)), "passed.group", "", "", ""},
		{"runt of nobody", one(a.other(t, 0)), "passed.protocol", "", "", ""},
	}
}

// brokenFrames contradict themselves, or are larger than their port takes.
func (l *ledger) brokenFrames(t *testing.T) []wireCase {
	const l3 = 14
	a, a6, m := l.fromWire(a4).udp(t, 64), l.fromWire(a6).udp(t, 64), l.fromWire(m4).toMAC(l.macMAC).udp(t, 64)
	big, big6 := l.fromWire(b4).udp(t, smallMTU-27), l.fromWire(b6).udp(t, smallMTU-47)
	return []wireCase{
		{"v4 of another version", one(put(a, l3, 0x65)), "passed.malformed", "", "", ""},
		{"v4 with a short header length", one(put(a, l3, 0x44)), "passed.malformed", "", "", ""},
		{"v4 cut within its header", one(a[:l3+19]), "passed.malformed", "", "", ""},
		{"v4 longer than its frame", one(put(a, l3+2, 5, 0xdc)), "redirected.ip4", "drops.malformed", "", ""},
		{"v4 shorter than its header", one(put(a, l3+2, 0, 19)), "redirected.ip4", "drops.malformed", "", ""},
		{"v6 of another version", one(put(a6, l3, 0x45)), "passed.malformed", "", "", ""},
		{"v6 cut within its header", one(a6[:l3+39]), "passed.malformed", "", "", ""},
		{"v6 longer than its frame", one(put(a6, l3+4, 5, 0xdc)), "redirected.ip6", "drops.malformed", "", ""},
		{"cut, to a MAC identity", one(m[:l3+12]), "redirected.mac", "drops.malformed", "", ""},
		{"two tags, to a MAC identity", one(l.fromWire(m4).toMAC(l.macMAC).tagged(7, vlan).udp(t, 64)), "passed.tags", "", "", ""},
		{"larger than the port v4", one(big), "redirected.ip4", "drops.too_big", "b", ""},
		{"larger than the port v6", one(big6), "redirected.ip6", "drops.too_big", "b", ""},
		{"larger than the NIC", one(l.fromWire(a4).udp(t, 1475)), "redirected.ip4", "drops.too_big", "a", ""},
	}
}

// portCase is a class of frames that a container sends.
type portCase struct {
	from, name string
	frame      []byte
	fate       string // the switch's counter
	to         string // the port that it is for, if any
	says       string // what the wire hears of it; see ledger.hear
}

func (l *ledger) portCases(t *testing.T) []portCase {
	return append(append(l.honestFrames(t), l.askingFrames(t)...), l.badFrames(t)...)
}

// fromPort is a path from the address of a port that shares the NIC's MAC to
// the NIC's MAC.
func (l *ledger) fromPort(from, to string) path {
	return path{src: l.nicMAC, dst: l.nicMAC}.between(from, to)
}

// honestFrames go where they are sent: to the wire, to a neighbour, to the host.
func (l *ledger) honestFrames(t *testing.T) []portCase {
	a, aw6 := l.fromPort(a4, wire4).toMAC(l.wireMAC), l.fromPort(a6, wire6).toMAC(l.wireMAC)
	m := path{src: l.macMAC, dst: l.wireMAC}.between(m4, wire4)
	pieces := a.pieces(t, 1)
	hostMAC := l.Host.MAC(t, hostPortName)
	return []portCase{
		{"a", "to the wire v4", a.udp(t, 64), "to_wire", "", "106 bytes"},
		{"a", "to the wire v6", aw6.udp(t, 64), "to_wire", "", "126 bytes"},
		{"a", "to the wire, MTU-size", a.udp(t, 1472), "to_wire", "", "1514 bytes"},
		{"a", "fragment to the wire", pieces[1], "to_wire", "", "98 bytes"},
		{"a", "extension headers", aw6.extended(t), "to_wire", "", "110 bytes"},
		{"a", "broadcast", a.toMAC(mac{255, 255, 255, 255, 255, 255}).udp(t, 64), "to_wire", "", "106 bytes"},
		{"m", "to the wire", m.udp(t, 64), "to_wire", "", "106 bytes"},
		{"m", "another protocol", m.other(t, 50), "to_wire", "", "64 bytes"},
		{"v", "to the wire", a.udp(t, 64), "to_wire", "", "110 bytes in VLAN 100"},
		{"w", "to the wire, MTU-size", m.udp(t, 1472), "to_wire", "", "1518 bytes in VLAN 100"},
		{"a", "to an IP identity v4", l.fromPort(a4, b4).udp(t, 64), "delivered", "b", ""},
		{"b", "to an IP identity v6", l.fromPort(b6, a6).udp(t, 64), "delivered", "a", ""},
		{"a", "to a MAC identity", l.fromPort(a4, m4).toMAC(l.macMAC).udp(t, 64), "delivered", "m", ""},
		{"m", "to an IP identity", m.toMAC(l.nicMAC).between(m6, b6).udp(t, 64), "delivered", "b", ""},
		{"v", "to the VLAN's other", l.fromPort(a4, m4).toMAC(l.macMAC).udp(t, 64), "delivered", "w", ""},
		{"a", "to the host v4", l.fromPort(a4, host4).toMAC(hostMAC).udp(t, 64), "to_host", "", ""},
		{"m", "to the host v6", m.toMAC(hostMAC).between(m6, host6).udp(t, 64), "to_host", "", ""},
		{"a", "to the host under the NIC's MAC", l.fromPort(a4, host4).udp(t, 64), "to_host", "", ""},
	}
}

// askingFrames are questions, which the switch answers if it can.
func (l *ledger) askingFrames(t *testing.T) []portCase {
	arp := func(to string) []byte {
		return l.fromPort(a4, to).toMAC(mac{255, 255, 255, 255, 255, 255}).arp(t, layers.ARPRequest, l.nicMAC)
	}
	nd := func(from, to string) []byte {
		g := groupOf(to)
		p := l.fromPort(from, fmt.Sprintf("ff02::1:ff%02x:%02x%02x", g[3], g[4], g[5])).toMAC(g)
		return p.solicit(t, to)
	}
	return []portCase{
		{"a", "asks for a neighbour v4", arp(b4), "answered", "", ""},
		{"a", "asks for a MAC identity v4", arp(m4), "answered", "", ""},
		{"a", "asks for the host v4", arp(host4), "answered", "", ""},
		{"a", "asks for the wire v4", arp(wire4), "to_wire", "", "42 bytes"},
		{"a", "announces itself v4", arp(a4), "to_wire", "", "42 bytes"},
		{"a", "asks for a neighbour v6", nd(a6, b6), "answered", "", ""},
		{"b", "asks for the host v6", nd(b6, host6), "answered", "", ""},
		{"a", "asks for the wire v6", nd(a6, wire6), "to_wire", "", "86 bytes"},
	}
}

// badFrames are not for anybody, or lies.
func (l *ledger) badFrames(t *testing.T) []portCase {
	a, m := l.fromPort(a4, b4), path{src: l.macMAC, dst: l.nicMAC}.between(m4, b4)
	everybody := mac{255, 255, 255, 255, 255, 255}
	lldp := mac{1, 0x80, 0xc2, 0, 0, 0x0e}
	lying := mac{2, 6, 6, 6, 6, 6}
	return []portCase{
		{"a", "to nobody", l.fromPort(a4, stranger4).udp(t, 64), "drops.no_port", "", ""},
		{"a", "to itself", l.fromPort(a4, a4).udp(t, 64), "drops.no_port", "", ""},
		{"v", "to another VLAN", l.fromPort(a4, b4).udp(t, 64), "drops.no_port", "", ""},
		{"v", "to the host from a VLAN", l.fromPort(a4, host4).udp(t, 64), "drops.no_port", "", ""},
		{"a", "spoofs an address v4", l.fromPort(b4, wire4).toMAC(l.wireMAC).udp(t, 64), "drops.spoofed", "", ""},
		{"a", "spoofs an address v6", l.fromPort(b6, wire6).toMAC(l.wireMAC).udp(t, 64), "drops.spoofed", "", ""},
		{"a", "spoofs the host", l.fromPort(host4, b4).udp(t, 64), "drops.spoofed", "", ""},
		{"a", "spoofs a MAC", path{src: lying, dst: l.nicMAC}.between(a4, b4).udp(t, 64), "drops.spoofed", "", ""},
		{"m", "spoofs the NIC's MAC", l.fromPort(m4, b4).udp(t, 64), "drops.spoofed", "", ""},
		{"a", "lies in ARP about its address", l.fromPort(b4, wire4).toMAC(everybody).arp(t, layers.ARPRequest, l.nicMAC), "drops.spoofed", "", ""},
		{"a", "lies in ARP about its MAC", l.fromPort(a4, wire4).toMAC(everybody).arp(t, layers.ARPRequest, lying), "drops.spoofed", "", ""},
		{"a", "advertises another's address", l.fromPort(a6, wire6).toMAC(l.wireMAC).advertise(t, b6, 0x60, l.nicMAC), "drops.spoofed", "", ""},
		{"a", "advertises another MAC", l.fromPort(a6, wire6).toMAC(l.wireMAC).advertise(t, a6, 0x60, lying), "drops.spoofed", "", ""},
		{"a", "sends a malformed packet", put(a.udp(t, 64), 16, 5, 0xdc), "drops.malformed", "", ""},
		{"a", "sends a truncated packet", a.udp(t, 64)[:30], "drops.malformed", "", ""},
		{"a", "tags its frames", a.tagged(vlan).udp(t, 64), "drops.bad_vlan", "", ""},
		{"m", "tags its frames", m.tagged(0).udp(t, 64), "drops.bad_vlan", "", ""},
		{"a", "another protocol", a.other(t, 46), "drops.not_allowed", "", ""},
		{"m", "to a bridge's address", m.toMAC(lldp).other(t, 46), "drops.not_allowed", "", ""},
		{"a", "larger than its neighbour takes", a.udp(t, smallMTU-27), "drops.too_big", "b", ""},
	}
}
