package demux

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// reference is the slow, obvious classifier: a list of ports that is looked
// through from the beginning to the end for every question, and frames that
// gopacket decoded. It shares no code with the fast one.
type reference struct {
	nic, gateway mac
	ports        []refPort
	hopMACs      map[netip.Addr]mac // of VLAN 0
}

type refPort struct {
	name     string // "host" is the host port
	slot     uint32
	mac      mac // zero: an IP identity
	vlan     uint16
	addrs    []netip.Prefix
	nextHops []netip.Addr
	trusted  bool
}

// refFrame is what gopacket says about a frame.
type refFrame struct {
	dst, src mac
	tags     []uint16
	arp      *layers.ARP
	from, to netip.Addr // invalid if there is no IP
	icmp6    uint8
	hops     uint8
	target   netip.Addr
	ll       *mac // source or target link-layer option
	groups   []netip.Addr
	mld      bool
}

func addrOf(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

func refDecode(data []byte) refFrame {
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
	var f refFrame
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
			f.dst, f.src = mac(l.DstMAC), mac(l.SrcMAC)
		case *layers.Dot1Q:
			f.tags = append(f.tags, l.VLANIdentifier)
		case *layers.ARP:
			f.arp = l
		case *layers.IPv4:
			f.from, f.to = addrOf(l.SrcIP.To4()), addrOf(l.DstIP.To4())
		case *layers.IPv6:
			f.from, f.to, f.hops = addrOf(l.SrcIP), addrOf(l.DstIP), l.HopLimit
		case *layers.ICMPv6:
			f.icmp6 = l.TypeCode.Type()
		case *layers.ICMPv6NeighborSolicitation:
			f.target = addrOf(l.TargetAddress)
			f.option(l.Options, layers.ICMPv6OptSourceAddress)
		case *layers.ICMPv6NeighborAdvertisement:
			f.target = addrOf(l.TargetAddress)
			f.option(l.Options, layers.ICMPv6OptTargetAddress)
		case *layers.ICMPv6RouterSolicitation:
			f.option(l.Options, layers.ICMPv6OptSourceAddress)
		case *layers.MLDv2MulticastListenerReportMessage:
			f.mld = true
			for _, r := range l.MulticastAddressRecords {
				f.groups = append(f.groups, addrOf(r.MulticastAddress))
			}
		}
	}
	return f
}

func (f *refFrame) option(opts layers.ICMPv6Options, t layers.ICMPv6Opt) {
	for _, o := range opts {
		if o.Type == t {
			m := mac(o.Data)
			f.ll = &m
		}
	}
}

// byMAC is the port with that MAC in that VLAN.
func (r *reference) byMAC(vlan uint16, m mac) *refPort {
	for i := range r.ports {
		if p := &r.ports[i]; p.mac != zeroMAC && p.mac == m && p.vlan == vlan {
			return p
		}
	}
	return nil
}

// owner is the port with the longest prefix around an address in that VLAN.
func (r *reference) owner(vlan uint16, a netip.Addr) (best *refPort) {
	bits := -1
	for i := range r.ports {
		p := &r.ports[i]
		for _, x := range p.addrs {
			if p.vlan == vlan && x.Contains(a) && x.Bits() > bits {
				best, bits = p, x.Bits()
			}
		}
	}
	return best
}

// macOf is by which MAC others reach a port.
func (r *reference) macOf(p *refPort) mac {
	if p.mac == zeroMAC {
		return r.nic
	}
	return p.mac
}

func refDrop(r Reason) string { return "drop " + r.String() }

func refAnswer(m mac) string { return fmt.Sprintf("answer %x", m) }

// deliver says that a port gets the frame, under its own MAC.
func (r *reference) deliver(p *refPort, dst mac) string {
	if m := r.macOf(p); m != dst {
		return fmt.Sprintf("port %d as %x", p.slot, m)
	}
	return fmt.Sprintf("port %d", p.slot)
}

func isContainer(p *refPort) bool { return p != nil && p.name != "host" }

// fromWire is what becomes of a frame from the wire.
func (r *reference) fromWire(data []byte) string {
	f := refDecode(data)
	vlan := uint16(0)
	switch len(f.tags) {
	case 0:
	case 1:
		vlan = f.tags[0]
	default:
		return refDrop(BadVLAN)
	}
	if f.arp != nil {
		spa, tpa, sha := addrOf(f.arp.SourceProtAddress), addrOf(f.arp.DstProtAddress), mac(f.arp.SourceHwAddress)
		if o := r.owner(vlan, tpa); isContainer(o) {
			switch {
			case spa == tpa:
				return refDrop(Conflict)
			case spa == ip("0.0.0.0") && sha == r.macOf(o):
				return refDrop(Conflict)
			case f.arp.Operation == 1:
				return refAnswer(r.macOf(o))
			case f.dst[0]&1 == 1:
				return r.unlessOurs(vlan, fmt.Sprintf("port %d", o.slot), spa)
			}
		}
		return r.unlessOurs(vlan, r.unicastFromWire(vlan, f.dst, tpa), spa)
	}
	if f.icmp6 == 135 {
		if o := r.owner(vlan, f.target); isContainer(o) {
			if f.from == ip("::") && f.src == r.macOf(o) {
				return refDrop(Conflict)
			}
			return refAnswer(r.macOf(o))
		}
	}
	d := r.unicastFromWire(vlan, f.dst, f.to)
	switch {
	case f.icmp6 == 136:
		return r.unlessOurs(vlan, d, f.from, f.target)
	case f.icmp6 >= 133 && f.icmp6 <= 137 || f.mld:
		return r.unlessOurs(vlan, d, f.from)
	}
	return d
}

// unlessOurs is d, unless that would deliver what somebody outside says in the
// name of one of the addresses here.
func (r *reference) unlessOurs(vlan uint16, d string, claimed ...netip.Addr) string {
	for _, a := range claimed {
		if r.owner(vlan, a) != nil && strings.HasPrefix(d, "port") {
			return refDrop(Conflict)
		}
	}
	return d
}

func (r *reference) unicastFromWire(vlan uint16, dst mac, to netip.Addr) string {
	if p := r.byMAC(vlan, dst); isContainer(p) {
		return fmt.Sprintf("port %d", p.slot)
	}
	if dst == r.nic && to.IsValid() {
		if p := r.owner(vlan, to); isContainer(p) && p.mac == zeroMAC {
			return fmt.Sprintf("port %d", p.slot)
		}
	}
	return refDrop(NoPort)
}

// spoofs is the source check.
func (r *reference) spoofs(p *refPort, f *refFrame) (Reason, bool) {
	own := r.macOf(p)
	owns := func(a netip.Addr) bool { return a.IsValid() && r.owner(p.vlan, a) == p }
	if f.src != own {
		return Spoofed, true
	}
	if d := f.dst; d[0] == 1 && d[1] == 0x80 && d[2] == 0xc2 && d[3] == 0 && d[4] == 0 && (d[5] < 16 || d[5] >= 32 && d[5] < 48) {
		return NotAllowed, true
	}
	switch {
	case f.arp != nil:
		spa := addrOf(f.arp.SourceProtAddress)
		probe := f.arp.Operation == 1 && spa == ip("0.0.0.0")
		if f.arp.Operation != 1 && f.arp.Operation != 2 {
			return NotAllowed, true
		}
		return Spoofed, mac(f.arp.SourceHwAddress) != own || !probe && !owns(spa)
	case !f.from.IsValid():
		return NotAllowed, p.mac == zeroMAC
	case f.from == ip("::"):
		return Spoofed, !(f.mld || f.icmp6 == 135 && owns(f.target))
	case !owns(f.from):
		return Spoofed, true
	}
	switch f.icmp6 {
	case 134, 137:
		return Spoofed, true
	case 133, 135:
		return Spoofed, f.ll != nil && *f.ll != own
	case 136:
		return Spoofed, f.ll != nil && *f.ll != own || !owns(f.target)
	}
	return 0, false
}

// fromPort is what becomes of a frame that port p sent.
func (r *reference) fromPort(p *refPort, data []byte) string {
	f := refDecode(data)
	if len(f.tags) > 0 {
		return refDrop(BadVLAN)
	}
	if why, bad := r.spoofs(p, &f); bad && !p.trusted {
		return refDrop(why)
	}
	switch {
	case f.arp != nil && f.arp.Operation == 1:
		return r.asked(p, addrOf(f.arp.DstProtAddress))
	case f.icmp6 == 135:
		return r.asked(p, f.target)
	case f.mld && onlySolicited(f.groups):
		return "swallow"
	case f.arp != nil:
		tpa := addrOf(f.arp.DstProtAddress)
		if o := r.owner(p.vlan, tpa); f.dst[0]&1 == 1 && o != nil && o != p {
			return fmt.Sprintf("port %d", o.slot)
		}
		return r.unicast(p, f.dst, tpa)
	case f.dst == r.macOf(&r.ports[0]) && p.vlan == 0 && (f.to.IsMulticast() || f.to == ip("255.255.255.255")):
		return refDrop(NotAllowed) // the host is the first
	}
	return r.unicast(p, f.dst, f.to)
}

func onlySolicited(groups []netip.Addr) bool {
	for _, g := range groups {
		if !pfx("ff02::1:ff00:0/104").Contains(g) {
			return false
		}
	}
	return len(groups) > 0
}

// asked is p asking for the MAC of an address.
func (r *reference) asked(p *refPort, a netip.Addr) string {
	if o := r.owner(p.vlan, a); o != nil && o != p {
		return refAnswer(r.macOf(o))
	}
	return "wire"
}

func (r *reference) unicast(p *refPort, dst mac, to netip.Addr) string {
	if dst == r.nic {
		o := r.owner(p.vlan, to)
		if o == nil || o == p || isContainer(o) && o.mac != zeroMAC {
			return refDrop(NoPort)
		}
		return r.deliver(o, dst)
	}
	if dst[0]&1 == 1 {
		return "wire"
	}
	if o := r.byMAC(p.vlan, dst); o != nil {
		if o == p {
			return refDrop(NoPort)
		}
		return r.deliver(o, dst)
	}
	for _, h := range p.nextHops {
		if m, ok := r.hopMACs[h]; ok && p.vlan == 0 && m == dst {
			if o := r.owner(p.vlan, to); o == p {
				return refDrop(NoPort)
			} else if o != nil {
				return r.deliver(o, dst)
			}
		}
	}
	return "wire"
}

// fromHost is what becomes of a frame of the host.
func (r *reference) fromHost(data []byte) string {
	f := refDecode(data)
	question := netip.Addr{}
	to := f.to
	switch {
	case len(f.tags) > 0:
		return refDrop(BadVLAN)
	case f.arp != nil && f.arp.Operation == 1:
		question = addrOf(f.arp.DstProtAddress)
	case f.arp != nil:
		to = addrOf(f.arp.DstProtAddress)
	case f.icmp6 == 135:
		question = f.target
	}
	if question.IsValid() {
		if o := r.owner(0, question); isContainer(o) {
			return refAnswer(r.macOf(o))
		}
		return refDrop(NoPort)
	}
	if f.dst == r.gateway || f.dst == r.nic {
		if o := r.owner(0, to); to.IsValid() && isContainer(o) {
			return r.deliver(o, f.dst)
		}
		return refDrop(NoPort)
	}
	if p := r.byMAC(0, f.dst); isContainer(p) {
		return r.deliver(p, f.dst)
	}
	return refDrop(NoPort)
}
