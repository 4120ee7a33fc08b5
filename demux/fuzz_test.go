package demux

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// dice makes choices out of a fuzzer's bytes; when they are used up it always
// chooses the first.
type dice []byte

func (d *dice) roll(n int) int {
	if len(*d) == 0 {
		return 0
	}
	v := int((*d)[0]) % n
	*d = (*d)[1:]
	return v
}

func pick[T any](d *dice, from []T) T { return from[d.roll(len(from))] }

// What rules and frames are made of: few values, so that they meet.
var (
	diceMACs = []mac{nicMAC, macM, macW, macN, hostMAC, gateMAC, hopMAC, peerMAC, bcastMAC, {0x33, 0x33, 0xff, 0, 0, 0x10}, {1, 0x80, 0xc2, 0, 0, 2}}
	dice4    = []string{"10.0.0.1", "10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.20", "10.0.0.99", "10.0.1.1", "10.0.1.9", "0.0.0.0", "224.0.0.5"}
	dice6    = []string{"2001:db8::1", "2001:db8::10", "2001:db8::11", "fe80::20", "2001:db8:1::1", "2001:db8::99", "::", "ff02::1"}
	diceRule = []string{"10.0.0.10/32", "10.0.0.11/32", "10.0.0.12/30", "10.0.0.0/28", "10.0.1.0/24", "10.0.1.8/29", "10.0.0.20/32", "10.0.0.1/32",
		"2001:db8::10/128", "2001:db8::11/128", "fe80::20/128", "2001:db8:1::/64", "2001:db8::/32", "2001:db8::/124", "2001:db8::1/128"}
	diceVLAN = []uint16{0, 0, 7, 9}
	diceHops = []netip.Addr{ip("10.0.0.254"), ip("fe80::fe")}
)

// twins is the fast classifier and the slow one, with the same ports.
type twins struct {
	sw    *Switch
	slow  reference
	ports []*refPort
}

func newTwins(t testing.TB, d *dice) *twins {
	sw, err := New(Config{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	w := &twins{sw: sw, slow: reference{nic: nicMAC, gateway: gateMAC, hopMACs: map[netip.Addr]mac{}}}
	host := []netip.Addr{ip("10.0.0.1"), ip("2001:db8::1")}
	lane := demuxtest.NewLane(t, nil, demuxtest.LaneConfig{})
	if err := sw.SetHost(HostConfig{NICMAC: nicMAC, HostMAC: hostMAC, GatewayMAC: gateMAC, Addrs: host, Lanes: []Lane{lane}}); err != nil {
		t.Fatal(err)
	}
	w.slow.ports = []refPort{{name: "host", slot: HostSlot, mac: hostMAC, addrs: []netip.Prefix{pfx("10.0.0.1/32"), pfx("2001:db8::1/128")}}}
	sw.SetNextHop(0, diceHops[0], hopMAC)
	w.slow.hopMACs[diceHops[0]] = hopMAC
	for range 1 + d.roll(7) {
		w.attach(d, lane)
	}
	if n := d.roll(4); n < len(w.slow.ports)-1 && n > 0 {
		w.detach(t, 1+n%(len(w.slow.ports)-1))
		w.attach(d, lane) // takes the slot that was given back
	}
	return w
}

// attach tries a port of random rules; one that conflicts is left out.
func (w *twins) attach(d *dice, lane Lane) {
	p := refPort{vlan: pick(d, diceVLAN), trusted: d.roll(4) == 3}
	if d.roll(2) == 1 {
		p.mac = pick(d, diceMACs[1:4])
	}
	for range 1 + d.roll(3) {
		p.addrs = append(p.addrs, pfx(pick(d, diceRule)).Masked())
	}
	if d.roll(2) == 1 {
		p.nextHops = diceHops
	}
	ids, err := w.sw.Attach(PortConfig{MAC: p.mac, VLAN: p.vlan, Addrs: p.addrs, NextHops: p.nextHops, NoSourceCheck: p.trusted, Lanes: []Lane{lane}})
	if err == nil {
		p.slot = ids[0].Slot
		w.slow.ports = append(w.slow.ports, p)
	}
}

func (w *twins) detach(t testing.TB, i int) {
	slot := w.slow.ports[i].slot
	if err := w.sw.Detach(PortID{slot, 1}); err != nil {
		t.Fatal(err)
	}
	w.slow.ports = append(w.slow.ports[:i:i], w.slow.ports[i+1:]...)
}

// diceFrame makes a frame of any kind that the rules tell apart.
func diceFrame(d *dice) []byte {
	src, dst := pick(d, diceMACs[:8]), pick(d, diceMACs) // nobody is a group
	f := diceBody(d, src, dst)
	for n := d.roll(6); n > 3; n-- {
		f = tag(f, pick(d, diceVLAN))
	}
	return f
}

func diceBody(d *dice, src, dst mac) []byte {
	v4 := func() netip.Addr { return ip(pick(d, dice4)) }
	v6 := func() netip.Addr { return ip(pick(d, dice6)) }
	ll := func() *mac {
		if d.roll(2) == 0 {
			return nil
		}
		m := pick(d, diceMACs[:4])
		return &m
	}
	switch d.roll(10) {
	case 0, 1:
		return udp(src, dst, v4(), v4(), d.roll(30))
	case 2, 3:
		return udp(src, dst, v6(), v6(), d.roll(30))
	case 4, 5:
		f := arp(uint16(d.roll(4)), dst, pick(d, diceMACs[:8]), v4(), zeroMAC, v4())
		copy(f[6:], src[:])
		return f
	case 6:
		return diceSolicit(d, src, dst, from6(d), ll)
	case 7:
		target := unicast6(d)
		return icmp6(src, dst, nonZero(from6(d)), v6(), 136, &layers.ICMPv6NeighborAdvertisement{TargetAddress: target.AsSlice(), Options: llOption(2, ll())})
	case 8:
		return diceRare(d, src, dst, from6(d))
	}
	return other(src, dst, pick(d, []uint16{0x88b5, 0x88cc, 0x26}), 60)
}

// diceSolicit follows RFC 4861, section 7.1.1: what breaks it is another
// room's matter.
func diceSolicit(d *dice, src, dst mac, from netip.Addr, ll func() *mac) []byte {
	target := unicast6(d)
	if from == ip("::") {
		g, _ := solicited(target)
		return nsTo(src, dst, from, g, target.String(), nil)
	}
	return nsTo(src, dst, from, ip(pick(d, dice6)), target.String(), ll())
}

func unicast6(d *dice) netip.Addr { return ip(pick(d, dice6[:6])) }

func from6(d *dice) netip.Addr { return ip(pick(d, dice6[:7])) }

func nonZero(a netip.Addr) netip.Addr {
	if a == ip("::") {
		return ip("fe80::1")
	}
	return a
}

func diceRare(d *dice, src, dst mac, from netip.Addr) []byte {
	switch d.roll(3) {
	case 0:
		f := mldReport(src, linkLocal(from), pick(d, []string{"ff02::1:ff00:10", "ff02::fb"}), "ff02::1:ff00:11")
		return withDst(f, dst)
	case 1:
		return icmp6(src, dst, ip("fe80::20"), ip("ff02::1"), 134, &layers.ICMPv6RouterAdvertisement{HopLimit: 1})
	}
	return icmp6(src, dst, nonZero(from), ip("ff02::2"), 133, &layers.ICMPv6RouterSolicitation{Options: llOption(1, &src)})
}

// linkLocal keeps to RFC 3810, section 5.2.13.
func linkLocal(a netip.Addr) string {
	if a.IsLinkLocalUnicast() || a == ip("::") {
		return a.String()
	}
	return "fe80::20"
}

// said puts a verdict into the reference's words.
func said(v verdict) string {
	switch v.act {
	case actPort:
		if v.mac != 0 {
			return fmt.Sprintf("port %d as %x", v.slot, macBytes(v.mac))
		}
		return fmt.Sprintf("port %d", v.slot)
	case actWire:
		return "wire"
	case actAnswer:
		return refAnswer(macBytes(v.mac))
	case actSwallow:
		return "swallow"
	}
	return refDrop(v.reason)
}

// compare shows one frame to both, as if it came from the wire, from the host
// and from every port.
func (w *twins) compare(t *testing.T, f []byte) {
	t.Helper()
	fast := w.sw.workers[0]
	fast.table, fast.lanes = w.sw.table.Load(), &w.sw.table.Load().lanes[0]
	lent := func() *frame.Frame { return &frame.Frame{Data: append([]byte(nil), f...)} }
	same := func(from, got, want string) {
		if got != want {
			t.Errorf("from %s: %s, want %s\n% x\n%v", from, got, want, f, w.slow.ports)
		}
	}
	same("wire", said(fast.judgeWire(lent())), w.slow.fromWire(f))
	fast.plain.lookAt(fast.table, fast.lanes, []frame.Frame{*lent()})
	if slot := fast.plain.slot[0]; slot != 0 {
		same("wire, at a glance", said(toPort(slot)), w.slow.fromWire(f))
	}
	for i := range w.slow.ports {
		p := &w.slow.ports[i]
		got := said(fast.judgePort(w.sw.ports[p.slot], lent()))
		if p.name == "host" {
			same("host", got, w.slow.fromHost(f))
		} else {
			same(fmt.Sprint("port ", p.slot), got, w.slow.fromPort(p, f))
		}
		fast.lookFrom(w.sw.ports[p.slot], []frame.Frame{*lent()})
		if slot := fast.plain.slot[0]; slot != 0 {
			same(fmt.Sprint("port ", p.slot, ", at a glance"), said(verdictOf(slot)), w.slow.fromPort(p, f))
		}
	}
}

func compareOne(t *testing.T, data []byte) {
	d := dice(data)
	w := newTwins(t, &d)
	for range 4 {
		w.compare(t, diceFrame(&d))
	}
}

// FuzzClassify has the fast classifier agree with the slow one, over rules and
// frames alike.
func FuzzClassify(f *testing.F) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 64 {
		f.Add(randomBytes(rnd, 200))
	}
	f.Fuzz(compareOne)
}

// TestClassifyLikeReference is a fixed share of what the fuzzer does.
func TestClassifyLikeReference(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 4000 {
		if compareOne(t, randomBytes(rnd, 200)); t.Failed() {
			return
		}
	}
}

func randomBytes(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// FuzzSwitch throws arbitrary bytes at a whole switch from the wire, the host
// and the ports, with arbitrary notes about checksums and super-frames beside
// them. Nothing may panic, and every frame is accounted for.
func FuzzSwitch(f *testing.F) {
	for _, data := range [][]byte{
		udp(peerMAC, nicMAC, far4, a4, 1600), tag(udp(peerMAC, nicMAC, far4, a4, 20), 7), whoHas(peerMAC, "10.0.0.99", "10.0.0.10"),
		ns(nicMAC, "2001:db8::10", "2001:db8::11", &nicMAC), udp(nicMAC, nicMAC, a4, b4, 3000), mldReport(nicMAC, "fe80::10", "ff02::1:ff00:10"),
		udp(nicMAC, nicMAC, a6, b6, 100), tcp(nicMAC, nicMAC, a4, b4, 4000), tcp(nicMAC, peerMAC, a6, far6, 4000), {},
	} {
		f.Add(data, uint16(0), uint8(0), uint8(0), uint16(0), uint16(34), uint16(16))
		f.Add(data, uint16(7), uint8(1), uint8(1), uint16(1400), uint16(34), uint16(16))
		f.Add(data, uint16(0), uint8(3), uint8(2), uint16(1), uint16(54), uint16(16))
	}
	f.Fuzz(func(t *testing.T, data []byte, vlan uint16, flags, gso uint8, size, start, off uint16) {
		if len(data) > 65000 {
			return
		}
		w := gsoWorld(t)
		fr := frame.Frame{Data: data, Meta: frame.Meta{
			VLAN: vlan % 4096, Flags: flags, GSO: gso % 4, GSOSize: size, HdrLen: off, CsumStart: start, CsumOffset: off, Hint: uint32(size) % 9, Gen: 1}}
		w.links[0].ArriveFrame(fr)
		for _, p := range w.ports {
			p.lanes[0].SendFrame(fr)
		}
		w.settle()
		n := w.sw.Stats().All.Received
		if want := uint64(1 + len(w.ports)); n != want {
			t.Errorf("%d frames were received, %d were sent", n, want)
		}
		w.reopen()
		w.links[0].Idle()
	})
}
