package e2e

import (
	endian "encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// party is somebody whom a liar can address, and in whose name it can speak.
type party struct {
	name   string
	ns     *nictest.NS
	dev    string // that its lies would come in by
	mac    mac
	v4, v6 string
	ll     string // link-local
}

// evil is a MAC that nobody has.
var evil = mac{2, 0x66, 0x66, 0x66, 0x66, 0x66}

func (m *machine) parties(t *testing.T) map[string]party {
	t.Helper()
	own := m.Host.MAC(t, m.NIC)
	all := map[string]party{
		"wire": m.wireParty(t),
		"host": {"host", m.Host, "xdmx0", m.Host.MAC(t, "xdmx0"), host4, host6, m.Host.LinkLocal(t, m.NIC).String()},
		"a":    {"a", m.Containers[0], "eth0", own, a4, a6, m.Containers[0].LinkLocal(t, "eth0").String()},
		"b":    {"b", m.Containers[1], "eth0", own, b4, b6, m.Containers[1].LinkLocal(t, "eth0").String()},
		"m":    {"m", m.Containers[2], "eth0", m.Containers[2].MAC(t, "eth0"), m4, m6, m.Containers[2].LinkLocal(t, "eth0").String()},
	}
	return all
}

// wireParty is the wire's end; without IPv6, it has a link-local address of
// nobody's.
func (m *machine) wireParty(t *testing.T) party {
	t.Helper()
	p := party{"wire", m.Wire, m.WireNIC, m.Wire.MAC(t, m.WireNIC), wire4, wire6, "fe80::1"}
	if m.Wire.Sysctl(t, "net/ipv6/conf/"+m.WireNIC+"/disable_ipv6") == "0" {
		p.ll = m.Wire.LinkLocal(t, m.WireNIC).String()
	}
	return p
}

// TestSpoofing: a container whose root sends from another's address, IP or MAC,
// or lies in the body of ARP or Neighbour Discovery, reaches nobody: neither
// the wire, nor the host, nor a container, nor anybody's cache. Each lie is
// counted as spoofed, exactly.
func TestSpoofing(t *testing.T) {
	m := usual(t, nictest.Config{})
	reachAll(t, m.nodes())
	for _, name := range []string{"a", "m"} {
		t.Run(name, func(t *testing.T) { spoof(t, m, name) })
	}
	reachAll(t, m.nodes())
}

func spoof(t *testing.T, m *machine, name string) {
	parties := m.parties(t)
	liar := parties[name]
	delete(parties, name)
	caches, ears := map[string]map[string]string{}, map[string]*rawSocket{}
	for _, p := range parties {
		caches[p.name], ears[p.name] = neighbours(t, p.ns), openRaw(t, p.ns, p.dev)
	}
	lies := liesOf(t, liar, slices.SortedFunc(maps.Values(parties), func(a, b party) int { return strings.Compare(a.name, b.name) }))
	mouth := openRaw(t, liar.ns, liar.dev)
	before := m.spoofed(name)
	for i, l := range lies {
		mouth.send(t, marked(l.frame, i))
	}
	// What comes after the lies, and is true, reaches everybody: the lies would
	// have been there before.
	for _, p := range parties {
		mouth.send(t, marked(honest(liar, p).udp(t, 32), len(lies)))
		nictest.Eventually(t, "the truth to reach "+p.name, func() bool { return ears[p.name].numbers()[len(lies)] == 1 })
		for number := range ears[p.name].numbers() {
			if number < len(lies) {
				t.Errorf("a lie reached %s: %s", p.name, lies[number].name)
			}
		}
		checkCache(t, p, caches[p.name])
	}
	if got := m.spoofed(name) - before; got != uint64(len(lies)) {
		t.Errorf("%d lies, %d counted as spoofed", len(lies), got)
	}
	t.Logf("%d lies", len(lies))
}

// checkCache requires that nobody believes anything new.
func checkCache(t *testing.T, p party, before map[string]string) {
	t.Helper()
	for who, mac := range neighbours(t, p.ns) {
		if was, known := before[who]; mac == fmtMAC(evil) || known && was != mac {
			t.Errorf("%s believes that %s is at %s, it was at %s", p.name, who, mac, was)
		}
	}
}

func (m *machine) spoofed(port string) uint64 {
	m.t.Helper()
	for _, p := range m.stats().Ports {
		if p.Name == port {
			return p.Tx.Drops["spoofed"]
		}
	}
	m.t.Fatalf("no port %s", port)
	return 0
}

func honest(from, to party) path { return path{src: from.mac, dst: to.mac}.between(from.v4, to.v4) }

func honest6(from, to party) path { return path{src: from.mac, dst: to.mac}.between(from.v6, to.v6) }

// lie is a frame that must not get anywhere.
type lie struct {
	name  string
	frame []byte
}

// liesOf are all lies that this one tells to and about the others.
func liesOf(t *testing.T, liar party, others []party) (lies []lie) {
	t.Helper()
	everybody := party{name: "everybody", mac: mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, v4: "10.9.255.255", v6: "ff02::1"}
	for _, to := range append(slices.Clone(others), everybody) {
		add := func(frame []byte, format string, args ...any) {
			lies = append(lies, lie{fmt.Sprintf(format, args...) + " to " + to.name, frame})
		}
		lieInHeaders(t, liar, others, to, add)
		lieInARP(t, liar, others, to, add)
		if to.name == "everybody" {
			to.mac = mac{0x33, 0x33, 0, 0, 0, 1}
		}
		lieInND(t, liar, others, to, add)
	}
	return lies
}

type adder = func(frame []byte, format string, args ...any)

// lieInHeaders: another's IP address under the own MAC, and another's MAC over
// the own address.
func lieInHeaders(t *testing.T, liar party, others []party, to party, add adder) {
	p, p6 := honest(liar, to), honest6(liar, to)
	v4 := []string{"10.9.7.7", "0.0.0.0", "127.0.0.1", "255.255.255.255", "224.0.0.1"}
	v6 := []string{"fd09::77", "::", "::1", "ff02::1", "::ffff:" + liar.v4}
	macs := []mac{evil, {}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	for _, o := range others {
		v4, v6 = append(v4, o.v4), append(v6, o.v6, o.ll)
		if o.mac != liar.mac {
			macs = append(macs, o.mac)
		}
	}
	for _, from := range v4 {
		add(p.between(from, to.v4).udp(t, 32), "from %s", from)
	}
	for _, from := range v6 {
		add(p6.between(from, to.v6).udp(t, 32), "from %s", from)
		add(p6.between(from, to.v6).extended(t), "extended from %s", from)
	}
	for _, from := range macs {
		p.src, p6.src = from, from
		add(p.udp(t, 32), "from MAC %x", from)
		add(p6.udp(t, 32), "v6 from MAC %x", from)
		add(p.other(t, 46), "of another protocol from MAC %x", from)
		add(p.arp(t, layers.ARPRequest, liar.mac), "ARP from MAC %x", from)
		add(p6.solicit(t, wire6), "NS from MAC %x", from)
	}
}

// lieInARP: that another's address is here, and that the own one is elsewhere;
// as a question, as an answer, and unasked.
func lieInARP(t *testing.T, liar party, others []party, to party, add adder) {
	p := honest(liar, to)
	about := to.v4
	if to.name == "everybody" {
		about = wire4
	}
	for _, op := range []uint16{layers.ARPRequest, layers.ARPReply} {
		add(p.between(liar.v4, about).arp(t, op, evil), "ARP %d: the own address is elsewhere", op)
		add(p.between(liar.v4, liar.v4).arp(t, op, evil), "ARP %d unasked: the own address is elsewhere", op)
		for _, o := range others {
			for _, at := range []mac{liar.mac, evil} {
				add(p.between(o.v4, about).arp(t, op, at), "ARP %d: %s is at %x", op, o.name, at)
				add(p.between(o.v4, o.v4).arp(t, op, at), "ARP %d unasked: %s is at %x", op, o.name, at)
			}
		}
	}
	add(p.between("0.0.0.0", about).arp(t, layers.ARPReply, liar.mac), "ARP reply of nobody")
	add(p.between("0.0.0.0", about).arp(t, layers.ARPRequest, evil), "ARP probe from elsewhere")
}

// lieInND: the same in Neighbour Discovery, and what only routers may say; plain
// and behind each extension header that a receiver would step over.
func lieInND(t *testing.T, liar party, others []party, to party, add adder) {
	p := honest6(liar, to)
	const override, solicited, router = 0x20, 0x40, 0x80
	tell := func(frame []byte, format string, args ...any) {
		what := fmt.Sprintf(format, args...)
		add(frame, "%s", what)
		for _, behind := range extensions() {
			add(extend(frame, behind.kinds...), "%s behind %s", what, behind.name)
		}
	}
	elsewhere := p
	elsewhere.src = evil
	tell(put(elsewhere.solicit(t, wire6), 6, liar.mac[:]...), "NS: I am elsewhere")
	tell(p.advertise(t, liar.v6, override, evil), "NA: the own address is elsewhere")
	tell(p.advertise(t, liar.ll, override, evil), "NA: the own link-local is elsewhere")
	tell(put(p.advertise(t, liar.v6, override, liar.mac), 14+40+24+1, 0), "NA with a broken option")
	for _, o := range others {
		for _, target := range []string{o.v6, o.ll} {
			tell(p.advertise(t, target, override, liar.mac), "NA: %s is here", target)
			tell(p.advertise(t, target, override|router|solicited, evil), "NA: %s is elsewhere", target)
			tell(p.between(target, to.v6).advertise(t, target, override, liar.mac), "NA of %s: it is here", target)
			tell(p.between(target, to.v6).solicit(t, wire6), "NS of %s", target)
		}
		tell(path{src: liar.mac, dst: groupOf(o.v6)}.between("::", "ff02::1:ff00:1").bareSolicit(t, o.v6), "DAD for %s", o.v6)
	}
	for _, from := range []string{liar.ll, liar.v6} {
		tell(p.between(from, to.v6).routerAdvert(t), "RA of %s", from)
		tell(p.between(from, to.v6).redirect(t, liar.ll, wire6), "redirect of %s", from)
	}
	tell(p.between(others[0].ll, to.v6).routerAdvert(t), "RA of another")
}

// bareSolicit is a solicitation without options, as duplicate address detection
// sends it.
func (p path) bareSolicit(t testing.TB, target string) []byte {
	t.Helper()
	return p.icmp6(t, layers.ICMPv6TypeNeighborSolicitation, &layers.ICMPv6NeighborSolicitation{TargetAddress: net.ParseIP(target)})
}

// routerAdvert says that the sender is a router for everything.
func (p path) routerAdvert(t testing.TB) []byte {
	t.Helper()
	return p.icmp6(t, layers.ICMPv6TypeRouterAdvertisement, &layers.ICMPv6RouterAdvertisement{
		HopLimit: 64, RouterLifetime: 1800,
		Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: p.src[:]}},
	})
}

// redirect says that dst is better reached through target.
func (p path) redirect(t testing.TB, target, dst string) []byte {
	t.Helper()
	return p.icmp6(t, layers.ICMPv6TypeRedirect, &layers.ICMPv6Redirect{
		TargetAddress: net.ParseIP(target), DestinationAddress: net.ParseIP(dst),
		Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: p.src[:]}},
	})
}

// extension is one or more IPv6 extension headers, outermost first.
type extension struct {
	name  string
	kinds []layers.IPProtocol
}

func extensions() []extension {
	const hop, opts, route, frag = layers.IPProtocolIPv6HopByHop, layers.IPProtocolIPv6Destination, layers.IPProtocolIPv6Routing, layers.IPProtocolIPv6Fragment
	return []extension{
		{"hop-by-hop options", []layers.IPProtocol{hop}},
		{"destination options", []layers.IPProtocol{opts}},
		{"a routing header", []layers.IPProtocol{route}},
		{"a fragment header", []layers.IPProtocol{frag}},
		{"many headers", []layers.IPProtocol{hop, opts, route, opts, frag, opts}},
	}
}

// extend puts extension headers with nothing but padding between the IPv6
// header of a frame and what follows (RFC 8200, section 4); the checksums of
// upper layers do not cover them.
func extend(frame []byte, kinds ...layers.IPProtocol) []byte {
	const next, length, end = 14 + 6, 14 + 4, 14 + 40
	out := slices.Clone(frame)
	for _, kind := range slices.Backward(kinds) {
		header := []byte{out[next], 0, 1, 4, 0, 0, 0, 0} // PadN of 6 bytes
		if kind != layers.IPProtocolIPv6HopByHop && kind != layers.IPProtocolIPv6Destination {
			header = []byte{out[next], 0, 0, 0, 0, 0, 0, 0} // the whole datagram; no segment left
		}
		out[next] = byte(kind)
		endian.BigEndian.PutUint16(out[length:], endian.BigEndian.Uint16(out[length:])+uint16(len(header)))
		out = slices.Insert(out, end, header...)
	}
	return out
}

// TestExtensionsAreWhatTheyClaim: an independent decoder finds the message
// behind the headers that extend puts in front of it; else the lies behind
// them would prove nothing.
func TestExtensionsAreWhatTheyClaim(t *testing.T) {
	p := path{src: mac{2, 0, 0, 0, 0, 1}, dst: mac{2, 0, 0, 0, 0, 2}}
	p.from, p.to = netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2")
	plain := p.advertise(t, "fe80::3", 0x20, evil)
	for _, e := range extensions() {
		packet := gopacket.NewPacket(extend(plain, e.kinds...), layers.LayerTypeEthernet, gopacket.Default)
		na, ok := packet.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
		if packet.ErrorLayer() != nil || !slices.Contains(e.kinds, layers.IPProtocolIPv6Fragment) && (!ok || !na.TargetAddress.Equal(net.ParseIP("fe80::3"))) {
			t.Errorf("behind %s: %v", e.name, packet)
		}
	}
}
