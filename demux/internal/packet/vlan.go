package packet

import "encoding/binary"

const (
	vidMask = 0x0fff
	maxVID  = 4094 // 4095 is reserved (IEEE 802.1Q, table 9-2)
)

func isTag(etherType uint16) bool {
	return etherType == EtherTypeVLAN || etherType == EtherTypeQinQ
}

// StripTag takes the outer VLAN tag off: it moves the MAC addresses four bytes
// forward, within data, and returns the frame, which starts there, and the VLAN
// identifier. An untagged frame, or one too short for a tag, comes back as it
// is, with 0; so does the identifier of a priority tag. Offsets that somebody
// holds into data (Header, Meta.CsumStart) are four less afterwards.
func StripTag(data []byte) (untagged []byte, vlan uint16) {
	if len(data) < EthernetLen+TagLen || !isTag(binary.BigEndian.Uint16(data[12:14])) {
		return data, 0
	}
	vlan = binary.BigEndian.Uint16(data[14:16]) & vidMask
	copy(data[TagLen:TagLen+12], data[:12])
	return data[TagLen:], vlan
}

// PushTag puts an IEEE 802.1Q tag with the identifier vlan and priority 0 on the
// frame that starts at buf[start]: it moves the MAC addresses four bytes back,
// into the headroom, so that the frame starts at buf[start-TagLen] and four bytes
// more belong to it. It returns false, and has done nothing, where there is no
// such headroom, no Ethernet header or no such VLAN.
func PushTag(buf []byte, start int, vlan uint16) bool {
	if start < TagLen || start > len(buf)-EthernetLen || vlan > maxVID {
		return false
	}
	b := buf[start-TagLen : start+EthernetLen]
	copy(b[:12], b[TagLen:TagLen+12])
	binary.BigEndian.PutUint16(b[12:14], EtherTypeVLAN)
	binary.BigEndian.PutUint16(b[14:16], vlan)
	return true
}
