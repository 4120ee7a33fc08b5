package packet

import "encoding/binary"

func isMLD(icmpType uint8) bool {
	return icmpType <= icmp6MLDDone || icmpType == icmp6MLDReport2
}

// mld judges one MLD message; b is the ICMPv6 message with a right checksum. Its
// hop limit is 1 and its source link-local or unspecified (RFC 2710, section 3;
// RFC 3810, sections 5.2.13 and 5.2.14).
func (h *Header) mld(b []byte, hopLimit uint8) {
	if hopLimit != 1 || !isLinkLocal6(&h.SrcIP6) && h.SrcIP6 != [16]byte{} {
		return
	}
	var solicited, ok bool
	if b[0] == icmp6MLDReport2 {
		solicited, ok = mldRecords(b)
	} else {
		solicited, ok = mldGroup(b)
	}
	if ok {
		h.ND, h.MLDSolicitedOnly = NDMLDReport, solicited
	}
}

// mldGroup looks at the one group of an MLDv1 report or done.
func mldGroup(b []byte) (solicited, ok bool) {
	if len(b) < 24 {
		return false, false
	}
	g := (*[16]byte)(b[8:24])
	return isSolicitedNode(g), isMulticast6(g)
}

// mldRecords looks at the multicast address records of an MLDv2 report (RFC 3810,
// section 5.2). What stands behind the last one is ignored, as section 5.2.11
// asks.
func mldRecords(b []byte) (solicited, ok bool) {
	records := int(binary.BigEndian.Uint16(b[6:8]))
	b = b[8:]
	solicited = records > 0
	for range records {
		if len(b) < 20 {
			return false, false
		}
		sources, aux := int(binary.BigEndian.Uint16(b[2:4])), int(b[1])
		g := (*[16]byte)(b[4:20])
		n := 20 + sources*16 + aux*4
		if n > len(b) || !isMulticast6(g) {
			return false, false
		}
		solicited = solicited && isSolicitedNode(g)
		b = b[n:]
	}
	return solicited, true
}
