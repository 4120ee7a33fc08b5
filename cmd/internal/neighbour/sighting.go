package neighbour

import (
	"encoding/binary"
	"net/netip"
)

// Sighting is what one frame on the wire says about who has an address.
type Sighting struct {
	VLAN uint16
	IP   netip.Addr
	MAC  MAC
	// Unasked: nobody had asked (gratuitous ARP, unsolicited advertisement),
	// so whoever remembers the address wants to hear of it.
	Unasked bool
}

// offsets in an untagged frame
const (
	etherType = 12
	l3        = 14
	arpLen    = 28
	ip6Len    = 40
	naLen     = 24
)

// Look reads an untagged ARP packet (RFC 826) or Neighbour Advertisement (RFC
// 4861, section 4.4) out of hostile bytes. The sighting holds no pointer into
// frame.
func Look(frame []byte) (s Sighting, ok bool) {
	if len(frame) < l3 {
		return s, false
	}
	switch binary.BigEndian.Uint16(frame[etherType:]) {
	case 0x0806:
		return lookARP(frame)
	case 0x86dd:
		return lookNA(frame)
	}
	return s, false
}

func lookARP(frame []byte) (s Sighting, ok bool) {
	if len(frame) < l3+arpLen {
		return s, false
	}
	p := frame[l3 : l3+arpLen]
	if binary.BigEndian.Uint64(p)>>16 != 0x0001_0800_0604 {
		return s, false
	}
	s.IP = netip.AddrFrom4([4]byte(p[14:18]))
	s.MAC = MAC(p[8:14])
	s.Unasked = s.IP == netip.AddrFrom4([4]byte(p[24:28]))
	return s, s.plausible()
}

func lookNA(frame []byte) (s Sighting, ok bool) {
	if len(frame) < l3+ip6Len+naLen {
		return s, false
	}
	ip := frame[l3 : l3+ip6Len]
	icmp := frame[l3+ip6Len:]
	const nextHeader, hopLimit, advert = 58, 255, 136
	if ip[6] != nextHeader || ip[7] != hopLimit || icmp[0] != advert || icmp[1] != 0 {
		return s, false
	}
	s.IP = netip.AddrFrom16([16]byte(icmp[8:24]))
	s.MAC = targetLinkLayer(icmp[naLen:], MAC(frame[6:12]))
	s.Unasked = icmp[4]&0x40 == 0
	return s, s.plausible()
}

// targetLinkLayer walks the options for the target's MAC; without one the
// sender of the frame is the target.
func targetLinkLayer(options []byte, sender MAC) MAC {
	for len(options) >= 8 {
		size := int(options[1]) * 8
		if size == 0 || size > len(options) {
			break
		}
		if options[0] == 2 {
			return MAC(options[2:8])
		}
		options = options[size:]
	}
	return sender
}

// plausible: a probe has no address yet, and a group has no MAC of its own.
func (s Sighting) plausible() bool {
	return !s.IP.IsUnspecified() && !s.IP.IsMulticast() && s.MAC[0]&1 == 0 && s.MAC != (MAC{})
}
