package packet

import (
	"encoding/binary"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// MaxSegments is how many segments one super-frame may be cut into. A sender that
// asks for more, 64 KiB in pieces of less than 64 bytes, wants our time and
// nothing else.
const MaxSegments = 1024

// TCP flags (RFC 9293, section 3.1).
const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpECE = 0x40
	tcpCWR = 0x80
)

// Segmenter cuts a super-frame into the frames that a wire carries, as a NIC does
// for its host: each bears a copy of the headers and the next GSOSize bytes of
// payload. Lengths are set, the IPv4 identification counts up from segment to
// segment, the TCP sequence number by the payload; FIN and PSH stay on the last
// segment, CWR on the first (RFC 3168, section 6.1.2); all checksums are complete.
//
// The headers are measured in the bytes: Meta.HdrLen is the sender's hint, and
// not believed; HeaderLen is the truth. A Segmenter refers to the super-frame's
// bytes, which must not change while it is used. The zero value has no segments.
type Segmenter struct {
	data   []byte // the super-frame without padding
	sum    uint64 // of the pseudo-header, without the length
	seq    uint32
	id     uint16
	l3, l4 int
	hdr    int // where the payload starts
	size   int // of a segment's payload
	count  int
	kind   Kind
	proto  uint8
}

// Init takes a super-frame on. It returns false, and the Segmenter has no
// segments, if data is malformed, a fragment or not what m.GSO says, if it
// would make more than MaxSegments, or if m has a checksum completed that is not
// that of its TCP or UDP header; what Init has taken may as well be passed on
// whole. A super-frame whose payload fits one segment
// is one.
func (s *Segmenter) Init(data []byte, m *frame.Meta) bool {
	*s = Segmenter{}
	var h Header
	if m.GSOSize == 0 || !h.transport(data) || h.L4 == 0 || h.Frag || h.routed || !gsoFits(m.GSO, &h) {
		return false
	}
	data = data[:h.End]
	hdr := upperLen(data[h.L4:], h.Proto)
	if hdr == 0 || !gsoChecksum(m, &h) {
		return false
	}
	start, size := int(h.L4)+hdr, int(m.GSOSize)
	count := max(1, (len(data)-start+size-1)/size)
	if count > MaxSegments {
		return false
	}
	s.data, s.hdr, s.size, s.count = data, start, size, count
	s.l3, s.l4, s.kind, s.proto = int(h.L3), int(h.L4), h.Kind, h.Proto
	s.sum = h.pseudo(h.Proto, 0)
	s.remember()
	return true
}

// remember keeps the numbers that count up from segment to segment.
func (s *Segmenter) remember() {
	if s.kind == KindIPv4 {
		s.id = binary.BigEndian.Uint16(s.data[s.l3+4:])
	}
	if s.proto == ProtoTCP {
		s.seq = binary.BigEndian.Uint32(s.data[s.l4+4:])
	}
}

// gsoFits says whether a packet is what its sender called it.
func gsoFits(gso uint8, h *Header) bool {
	switch gso {
	case frame.GSOTCPv4:
		return h.Kind == KindIPv4 && h.Proto == ProtoTCP
	case frame.GSOTCPv6:
		return h.Kind == KindIPv6 && h.Proto == ProtoTCP
	case frame.GSOUDP:
		return h.Proto == ProtoUDP
	}
	return false
}

// gsoChecksum says whether a partial checksum is that of the upper header, the
// only place where a sender of super-frames can mean it to be.
func gsoChecksum(m *frame.Meta, h *Header) bool {
	if m.Flags&frame.NeedsChecksum == 0 {
		return true
	}
	offset := uint16(tcpChecksum)
	if h.Proto == ProtoUDP {
		offset = udpChecksum
	}
	return m.CsumStart == h.L4 && m.CsumOffset == offset
}

// upperLen is the length in bytes of the TCP or UDP header at the start of b, 0 if
// it is not whole or not sane.
func upperLen(b []byte, proto uint8) int {
	if proto == ProtoUDP {
		if len(b) < udpLen {
			return 0
		}
		return udpLen
	}
	if len(b) < tcpLen {
		return 0
	}
	n := int(b[12]>>4) * 4
	if n < tcpLen || n > len(b) {
		return 0
	}
	return n
}

// Count is the number of segments; 0 after a failed Init.
func (s *Segmenter) Count() int { return s.count }

// HeaderLen is the length in bytes of what every segment begins with: everything
// in front of the super-frame's payload. It is what Meta.HdrLen should be.
func (s *Segmenter) HeaderLen() int { return s.hdr }

// MaxLen is the length in bytes of the longest segment, as a frame with its
// Ethernet header and the tags of the super-frame.
func (s *Segmenter) MaxLen() int {
	return min(s.hdr+s.size, len(s.data))
}

// At writes segment i, counted from 0, to the start of dst and returns its length
// in bytes: 0 if there is no such segment or dst is shorter than it; MaxLen always
// suffices. dst does not overlap the super-frame. Segments may be taken in any
// order.
func (s *Segmenter) At(dst []byte, i int) int {
	if uint(i) >= uint(s.count) {
		return 0
	}
	from := s.hdr + i*s.size
	payload := s.data[from:min(from+s.size, len(s.data))]
	n := s.hdr + len(payload)
	if n > len(dst) {
		return 0
	}
	seg := dst[:n]
	copy(seg, s.data[:s.hdr])
	copy(seg[s.hdr:], payload)
	s.patchNetwork(seg[s.l3:], i)
	if s.proto == ProtoTCP {
		s.patchTCP(seg[s.l4:], i)
	} else {
		s.patchUDP(seg[s.l4:])
	}
	return n
}

// patchNetwork sets what differs in the IP header at the start of b.
func (s *Segmenter) patchNetwork(b []byte, i int) {
	if s.kind == KindIPv6 {
		binary.BigEndian.PutUint16(b[4:6], uint16(len(b)-ipv6Len))
		return
	}
	binary.BigEndian.PutUint16(b[2:4], uint16(len(b)))
	binary.BigEndian.PutUint16(b[4:6], s.id+uint16(i))
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:12], ^Fold(Sum(b[:s.l4-s.l3], 0)))
}

// patchTCP sets what differs in the TCP header at the start of b.
func (s *Segmenter) patchTCP(b []byte, i int) {
	binary.BigEndian.PutUint32(b[4:8], s.seq+uint32(i*s.size))
	if i > 0 {
		b[13] &^= tcpCWR
	}
	if i < s.count-1 {
		b[13] &^= tcpFIN | tcpPSH
	}
	b[tcpChecksum], b[tcpChecksum+1] = 0, 0
	binary.BigEndian.PutUint16(b[tcpChecksum:], ^Fold(Sum(b, s.sum+uint64(len(b)))))
}

// patchUDP sets what differs in the UDP header at the start of b. A checksum of
// zero would say that there is none (RFC 768).
func (s *Segmenter) patchUDP(b []byte) {
	binary.BigEndian.PutUint16(b[4:6], uint16(len(b)))
	b[udpChecksum], b[udpChecksum+1] = 0, 0
	sum := ^Fold(Sum(b, s.sum+uint64(len(b))))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[udpChecksum:], sum)
}

// SegmentCount is how many segments the super-frame data makes: 0 if Init of a
// Segmenter refuses it.
func SegmentCount(data []byte, m *frame.Meta) int {
	var s Segmenter
	s.Init(data, m)
	return s.Count()
}

// SegmentAt writes segment i of the super-frame data to the start of dst and
// returns its length in bytes, 0 where there is none; see Segmenter.At. For more
// than one segment a Segmenter does it without parsing each time anew.
func SegmentAt(dst, data []byte, m *frame.Meta, i int) int {
	var s Segmenter
	s.Init(data, m)
	return s.At(dst, i)
}
