package tap

import (
	"encoding/binary"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// hdrLen is the length of struct virtio_net_hdr in bytes. Its fields are in
// the machine's own byte order, as a TAP has it by default.
const hdrLen = 10

// Offsets into struct virtio_net_hdr.
const (
	hdrFlags      = 0
	hdrGSOType    = 1
	hdrHdrLen     = 2
	hdrGSOSize    = 4
	hdrCsumStart  = 6
	hdrCsumOffset = 8
)

// Values of the fields flags and gso_type (virtio 1.2, section 5.1.6).
const (
	vnetNeedsCsum = 1
	vnetDataValid = 2

	vnetGSONone  = 0
	vnetGSOTCPv4 = 1
	vnetGSOTCPv6 = 4
	vnetGSOUDPL4 = 5
)

// superFrames are the offloads that let super-frames pass.
const superFrames = frame.OffloadTCPv4 | frame.OffloadTCPv6 | frame.OffloadUDP

// offloadOf is the offload that a kind of super-frame needs; 0 for no kind.
func offloadOf(gso uint8) frame.Offload {
	switch gso {
	case frame.GSOTCPv4:
		return frame.OffloadTCPv4
	case frame.GSOTCPv6:
		return frame.OffloadTCPv6
	case frame.GSOUDP:
		return frame.OffloadUDP
	}
	return 0
}

// putHeader writes the header that says what m says. That a checksum is
// verified the kernel's TAP, up to 6.18 at least, does not want to know: it
// verifies again.
func putHeader(h *[hdrLen]byte, m *frame.Meta) {
	*h = [hdrLen]byte{}
	if m.Flags&frame.NeedsChecksum != 0 {
		h[hdrFlags] = vnetNeedsCsum
		binary.NativeEndian.PutUint16(h[hdrCsumStart:], m.CsumStart)
		binary.NativeEndian.PutUint16(h[hdrCsumOffset:], m.CsumOffset)
	} else if m.Flags&frame.ChecksumVerified != 0 {
		h[hdrFlags] = vnetDataValid
	}
	if m.GSO == frame.GSONone {
		return
	}
	h[hdrGSOType] = gsoType(m.GSO)
	binary.NativeEndian.PutUint16(h[hdrHdrLen:], m.HdrLen)
	binary.NativeEndian.PutUint16(h[hdrGSOSize:], m.GSOSize)
}

func gsoType(gso uint8) byte {
	switch gso {
	case frame.GSOTCPv4:
		return vnetGSOTCPv4
	case frame.GSOTCPv6:
		return vnetGSOTCPv6
	}
	return vnetGSOUDPL4
}

// getMeta reads a header and reports whether it fits the frame behind it. The
// container can write it (AF_PACKET with PACKET_VNET_HDR), so nothing in it is
// believed: every offset lies within data, and the length of the headers is
// read from the frame, since the field is but a hint.
func getMeta(h *[hdrLen]byte, data []byte, m *frame.Meta) bool {
	*m = frame.Meta{}
	if h[hdrFlags]&vnetNeedsCsum != 0 {
		m.Flags = frame.NeedsChecksum
		m.CsumStart = binary.NativeEndian.Uint16(h[hdrCsumStart:])
		m.CsumOffset = binary.NativeEndian.Uint16(h[hdrCsumOffset:])
		if m.CsumStart < 14 || int(m.CsumStart)+int(m.CsumOffset)+2 > len(data) {
			return false
		}
	} else if h[hdrFlags]&vnetDataValid != 0 {
		m.Flags = frame.ChecksumVerified
	}
	if h[hdrGSOType] == vnetGSONone {
		return true
	}
	m.GSOSize = binary.NativeEndian.Uint16(h[hdrGSOSize:])
	return m.GSOSize > 0 && m.Flags == frame.NeedsChecksum && getGSO(h[hdrGSOType], data, m)
}

// getGSO fills GSO and HdrLen. CsumStart is known to lie within data, and is
// where the transport header begins.
func getGSO(kind byte, data []byte, m *frame.Meta) bool {
	switch kind {
	case vnetGSOTCPv4:
		m.GSO = frame.GSOTCPv4
	case vnetGSOTCPv6:
		m.GSO = frame.GSOTCPv6
	case vnetGSOUDPL4:
		m.GSO = frame.GSOUDP
		return setHdrLen(m, data, 8, 6)
	default:
		return false
	}
	doff := int(m.CsumStart) + 12
	if doff >= len(data) {
		return false
	}
	return data[doff]>>4 >= 5 && setHdrLen(m, data, int(data[doff]>>4)*4, 16)
}

// setHdrLen checks that a transport header of l4 bytes, its checksum at
// csum, leaves payload behind it.
func setHdrLen(m *frame.Meta, data []byte, l4 int, csum uint16) bool {
	n := int(m.CsumStart) + l4
	if m.CsumOffset != csum || n >= len(data) || n > 0xffff {
		return false
	}
	m.HdrLen = uint16(n)
	return true
}
