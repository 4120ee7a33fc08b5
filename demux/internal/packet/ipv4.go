package packet

import "encoding/binary"

// The fragment field of an IPv4 header (RFC 791, section 3.1).
const (
	ipv4DF     = 0x4000
	ipv4MF     = 0x2000
	ipv4Offset = 0x1fff
)

// ipv4 checks the header at the start of b and takes its addresses.
func (h *Header) ipv4(b []byte) bool {
	if len(b) < ipv4Len {
		return h.malformed()
	}
	ihl := int(b[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(b[2:4]))
	if b[0]>>4 != 4 || ihl < ipv4Len || total < ihl || total > len(b) {
		return h.malformed()
	}
	h.Kind = KindIPv4
	h.SrcIP4 = binary.BigEndian.Uint32(b[12:16])
	h.DstIP4 = binary.BigEndian.Uint32(b[16:20])
	return true
}

// upper4 finds the upper protocol behind a header that ipv4 has checked.
func (h *Header) upper4(data []byte) {
	b := data[h.L3:]
	frag := binary.BigEndian.Uint16(b[6:8])
	h.Proto = b[9]
	h.End = uint32(h.L3) + uint32(binary.BigEndian.Uint16(b[2:4]))
	h.Frag = frag&(ipv4MF|ipv4Offset) != 0
	if frag&ipv4Offset == 0 {
		h.L4 = h.L3 + uint16(b[0]&0x0f)*4
	}
}
