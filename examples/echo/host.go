package main

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

// The formats are those of RFC 826 (ARP), 791, 792, 768, 8200, 4443 and 4861.
const (
	ethLen  = 14
	arpLen  = 28
	ip4Len  = 20
	ip6Len  = 40
	icmpLen = 8
	udpLen  = 8

	typeIP4 = 0x0800
	typeARP = 0x0806
	typeIP6 = 0x86DD

	protoICMP4 = 1
	protoUDP   = 17
	protoICMP6 = 58

	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
	solicitation, advert     = 135, 136
)

// host is who answers. It does not change, so any number of rings share it.
type host struct {
	mac  [6]byte
	ips  []netip.Prefix
	port uint16 // of UDP
	room int    // of the largest frame, with what an answer may add
}

func newHost(e client.Endpoint, port uint16) *host {
	h := &host{mac: [6]byte(e.MAC), port: port, room: e.MaxFrame() + icmpLen}
	for _, p := range e.IPs {
		h.ips = append(h.ips, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
	}
	h.ips = append(h.ips, e.Prefixes...)
	if e.LinkLocal.IsValid() {
		h.ips = append(h.ips, netip.PrefixFrom(e.LinkLocal, 128))
	}
	return h
}

// owns says whether we answer for the address in b, of 4 or 16 bytes.
func (h *host) owns(b []byte) bool {
	ip, _ := netip.AddrFromSlice(b)
	for _, p := range h.ips {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// answer turns a frame into its answer, in place, and returns that, or nil. The
// answer may be longer than the frame by one option, within its capacity.
func (h *host) answer(f []byte) []byte {
	if len(f) < ethLen || f[6]&1 != 0 {
		return nil
	}
	switch binary.BigEndian.Uint16(f[12:]) {
	case typeARP:
		return h.arp(f)
	case typeIP4:
		return h.ip4(f)
	case typeIP6:
		return h.ip6(f)
	}
	return nil
}

// back sends the frame to whom it came from.
func (h *host) back(f []byte) {
	copy(f, f[6:12])
	copy(f[6:], h.mac[:])
}

func (h *host) mine(f []byte) bool { return bytes.Equal(f[:6], h.mac[:]) }

func (h *host) arp(f []byte) []byte {
	a := f[ethLen:]
	request := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	broadcast := []byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}
	if len(a) < arpLen || !bytes.Equal(a[:8], request) || !h.owns(a[24:28]) || !h.mine(f) && !bytes.Equal(f[:6], broadcast) {
		return nil
	}
	var target [4]byte
	copy(target[:], a[24:28])
	a[7] = 2                  // a reply
	copy(a[18:28], a[8:18])   // to the sender
	copy(a[8:14], h.mac[:])   // from us
	copy(a[14:18], target[:]) // as whom it asked for
	h.back(f)
	return f
}

func (h *host) ip4(f []byte) []byte {
	p := f[ethLen:]
	if !h.mine(f) || len(p) < ip4Len || p[0] != 0x45 || !h.owns(p[16:20]) || h.owns(p[12:16]) {
		return nil // headers with options are nobody's any more
	}
	size := int(binary.BigEndian.Uint16(p[2:]))
	if size < ip4Len+icmpLen || size > len(p) || binary.BigEndian.Uint16(p[6:])&0x3FFF != 0 {
		return nil // a fragment
	}
	p = p[:size]
	if !h.turn(p[9], p[ip4Len:]) {
		return nil
	}
	swap(p[12:16], p[16:20])
	p[8] = 64 // hops
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], ^sum(p[:ip4Len]))
	h.back(f)
	return f[:ethLen+size]
}

// turn makes an answer of what an IP packet carries, and says whether there is
// one. The addresses change places, which leaves their sum alone.
func (h *host) turn(proto byte, b []byte) bool {
	switch {
	case proto == protoICMP4 && b[0] == echoRequest4 && b[1] == 0:
		retype(b, echoReply4)
	case proto == protoICMP6 && b[0] == echoRequest6 && b[1] == 0:
		retype(b, echoReply6)
	case proto == protoUDP:
		src, dst := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		if dst != h.port || src == h.port { // two echoes would never end
			return false
		}
		swap(b[:2], b[2:4])
	default:
		return false
	}
	return true
}

func (h *host) ip6(f []byte) []byte {
	p := f[ethLen:]
	if len(p) < ip6Len+icmpLen || p[0]>>4 != 6 {
		return nil
	}
	size := ip6Len + int(binary.BigEndian.Uint16(p[4:]))
	if size < ip6Len+icmpLen || size > len(p) {
		return nil
	}
	p = p[:size]
	if p[6] == protoICMP6 && p[ip6Len] == solicitation {
		return h.advertise(f, p)
	}
	if !h.mine(f) || !h.owns(p[24:40]) || h.owns(p[8:24]) || !h.turn(p[6], p[ip6Len:]) {
		return nil
	}
	swap(p[8:24], p[24:40])
	p[7] = 64
	h.back(f)
	return f[:ethLen+size]
}

// advertise answers a neighbour solicitation in packet p of frame f.
func (h *host) advertise(f, p []byte) []byte {
	const length = icmpLen + 16 + 8 // with one option
	if p[7] != 255 || len(p) < ip6Len+24 || !h.owns(p[48:64]) || cap(f) < ethLen+ip6Len+length {
		return nil
	}
	f = f[:ethLen+ip6Len+length]
	p = f[ethLen:]
	h.back(f)
	src, dst, a := p[8:24], p[24:40], p[ip6Len:]
	flags := byte(0x60) // solicited, override
	if bytes.Equal(src, make([]byte, 16)) {
		flags = 0x20 // a node that looks for duplicates hears it with all others
		copy(src, []byte{0xFF, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
		copy(f, []byte{0x33, 0x33, 0, 0, 0, 1})
	}
	copy(dst, src)
	copy(src, a[8:24])
	binary.BigEndian.PutUint16(p[4:], length)
	copy(a, []byte{advert, 0, 0, 0, flags, 0, 0, 0})
	copy(a[24:], []byte{2, 1}) // target link-layer address
	copy(a[26:], h.mac[:])
	binary.BigEndian.PutUint16(a[2:], ^fold(uint32(sum(p[8:]))+length+protoICMP6))
	return f
}

// retype changes an ICMP type, and the checksum by the difference (RFC 1624).
func retype(b []byte, to byte) {
	check := ^binary.BigEndian.Uint16(b[2:])
	diff := uint32(^(uint16(b[0]) << 8)) + uint32(to)<<8
	b[0] = to
	binary.BigEndian.PutUint16(b[2:], ^fold(uint32(check)+diff))
}

// sum is the ones' complement sum of b (RFC 1071).
func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) > 1; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) > 0 {
		s += uint32(b[0]) << 8
	}
	return fold(s)
}

func fold(s uint32) uint16 {
	for s > 0xFFFF {
		s = s>>16 + s&0xFFFF
	}
	return uint16(s)
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}
