package packet

import (
	"bytes"
	"encoding/binary"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// MaxBatch is how many frames a Coalescer looks at together.
const MaxBatch = 64

// maxFlows is how many TCP connections a Coalescer follows at a time, a power of two.
// Two that share a place take turns, and are joined the less.
const maxFlows = 128

// maxTotal is the largest packet, and so super-frame, in bytes: a little less than
// the length fields of IPv4 and IPv6 can say.
const maxTotal = 65535

// Coalescer joins consecutive segments of a TCP connection that stand in one batch
// into super-frames, as a NIC does for its host. A Segmenter cuts such a super-frame
// into the same segments again, but for the identification of IPv4 packets that are
// not to be fragmented, in which it means nothing (RFC 6864, section 4.1).
//
// No payload is moved. A super-frame is its first segment, whose headers now speak
// for all, and behind it in the batch the payload of each of the others, as a frame
// with GSOPiece.
//
// Whoever gets a super-frame takes its checksum for right. So the checksums of a
// segment, that of its IPv4 header as well, are verified before it is joined to
// another, unless its Meta vouches for it; one with a wrong checksum stays as it is,
// for its receiver to find.
//
// A Coalescer belongs to one thread. The zero value is ready.
type Coalescer struct {
	flows [maxFlows]flow  // by their hash; those count that bear the stamp
	stamp uint64          // of this batch, or of what came behind the last odd frame in it
	heads [MaxBatch]uint8 // the frames that are not joined to one before
	next  [MaxBatch]uint8 // the segment behind this one in a super-frame; 0 = none
	from  [MaxBatch]uint8
	out   [MaxBatch]frame.Frame
}

// flow is the latest super-frame of one connection, which may still be one segment.
type flow struct {
	stamp    uint64
	segment         // the first
	data     []byte // the frame of the first
	head     uint8  // the first, by its place in the batch
	tail     uint8  // the last
	verified bool   // the checksums of the first hold
	closed   bool   // nothing more is joined to it
	follow   uint32 // the sequence number behind it
	followID uint16
	total    int // bytes, headers included
}

// segment is what is to be known about a TCP packet.
type segment struct {
	ports   uint32 // both of them
	seq     uint32
	id      uint16 // the identification of IPv4
	v6      bool
	l4, hdr uint8 // where TCP and its payload begin
	payload int   // bytes
}

// looks is what the look at one frame says.
type looks uint8

const (
	looksOther    looks = iota // of no connection
	looksOdd                   // may be of any, such as a fragment
	looksAlone                 // of one, and not to be joined to anything
	looksJoinable              // to the segments before and behind it
	looksLast                  // to those before it only, since it is pushed
)

// Coalesce joins what can be joined in f, at most MaxBatch frames, into
// super-frames of at most maxFrame bytes of the kinds in can, and returns the batch
// anew and how many of its frames are pieces. Without any it is f itself; else it
// stands in the Coalescer's memory until the next call.
//
// The frames of one connection keep their order. A super-frame stands where its
// first segment stood, and its headers are changed there, in place.
func (c *Coalescer) Coalesce(f []frame.Frame, maxFrame int, can frame.Offload) (out []frame.Frame, pieces int) {
	if len(f) < 2 || len(f) > MaxBatch || can&frame.OffloadGather == 0 {
		return f, 0
	}
	c.stamp++
	heads := 0
	for i := range f {
		c.next[i] = 0
		if c.take(f, uint8(i), maxFrame, can) {
			pieces++
			continue
		}
		c.heads[heads] = uint8(i)
		heads++
	}
	if pieces == 0 {
		return f, 0
	}
	c.arrange(f, heads)
	return c.out[:len(f)], pieces
}

// From is where frame i of the batch that Coalesce has returned anew stood before.
func (c *Coalescer) From(i int) int { return int(c.from[i]) }

// take joins frame i to the super-frame of its connection. Else it says false: the
// frame stands for itself, and may begin a new one.
func (c *Coalescer) take(f []frame.Frame, i uint8, maxFrame int, can frame.Offload) bool {
	var s segment
	what := s.look(&f[i], can)
	switch what {
	case looksOther:
		return false
	case looksOdd:
		c.stamp++
		return false
	}
	o := &c.flows[s.place(f[i].Data)]
	same := o.stamp == c.stamp && o.connects(f[i].Data, &s)
	if same && what != looksAlone && o.fits(f, i, &s, min(maxFrame, maxTotal)) {
		c.next[o.tail] = i
		o.append(i, &s, what == looksLast)
		return true
	}
	if same || what == looksJoinable {
		o.begin(f[i].Data, i, &s, what != looksJoinable)
		o.stamp = c.stamp
	}
	return false
}

// place is where the flow of a segment's connection stands: a hash of the ports and
// of the last bytes of both addresses.
func (s *segment) place(data []byte) uint32 {
	a := addresses(data, s.v6)
	return (s.ports ^ word(a, len(a)/2-4) ^ word(a, len(a)-4)) * 0x9E3779B1 / (1 << 32 / maxFlows)
}

// connects says whether a segment in data belongs to the flow's connection.
func (o *flow) connects(data []byte, s *segment) bool {
	return o.ports == s.ports && o.v6 == s.v6 && bytes.Equal(addresses(o.data, s.v6), addresses(data, s.v6))
}

// addresses are both of the IP packet in data.
func addresses(data []byte, v6 bool) []byte {
	if v6 {
		return data[EthernetLen+8 : EthernetLen+40]
	}
	return data[EthernetLen+12 : EthernetLen+20]
}

// begin has the flow go on with a new super-frame.
func (o *flow) begin(data []byte, i uint8, s *segment, closed bool) {
	*o = flow{segment: *s, data: data, head: i, tail: i, closed: closed,
		follow: s.seq + uint32(s.payload), followID: s.id + 1, total: int(s.hdr) + s.payload}
}

// append notes that frame i has been joined to the super-frame.
func (o *flow) append(i uint8, s *segment, last bool) {
	o.tail = i
	o.follow += uint32(s.payload)
	o.followID++
	o.total += s.payload
	o.closed = last || s.payload < o.payload
}

// fits says whether frame i, which is the segment s, can be joined to the
// super-frame: it goes on where that ends, is no longer than the first segment, has
// the same headers, and the checksums are right.
func (o *flow) fits(f []frame.Frame, i uint8, s *segment, maxFrame int) bool {
	if o.closed || s.seq != o.follow || s.payload > o.payload || o.total+s.payload > maxFrame || !o.alike(f[i].Data, s) {
		return false
	}
	o.verified = o.verified || o.verify(&f[o.head])
	return o.verified && s.verify(&f[i])
}

// alike says whether the headers of a segment differ from those of the first one in
// nothing but what differs between any two segments of a super-frame.
func (o *flow) alike(data []byte, s *segment) bool {
	if s.hdr != o.hdr || !bytes.Equal(data[:12], o.data[:12]) {
		return false
	}
	a, b := data[:s.hdr], o.data[:s.hdr]
	const l3 = EthernetLen
	if s.v6 {
		if word(a, l3) != word(b, l3) || a[l3+7] != b[l3+7] { // traffic class and flow label, hop limit
			return false
		}
	} else {
		// Type of service; DF and time to live. The identification counts where a
		// router may fragment.
		if a[l3+1] != b[l3+1] || word(a, l3+6) != word(b, l3+6) || a[l3+6]&(ipv4DF>>8) == 0 && s.id != o.followID {
			return false
		}
	}
	at := int(s.l4)
	if word(a, at+8) != word(b, at+8) || (word(a, at+12)^word(b, at+12))&^(tcpPSH<<16) != 0 { // acknowledgement; flags and window
		return false
	}
	return bytes.Equal(a[at+18:], b[at+18:]) // urgent pointer and options
}

func word(b []byte, at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }

// verify says whether the checksums of the segment in f hold, or need not.
func (s *segment) verify(f *frame.Frame) bool {
	if !s.v6 && Fold(sumHeader(f.Data[EthernetLen:s.l4])) != 0xffff {
		return false
	}
	switch {
	case f.Flags&frame.NeedsChecksum != 0:
		return f.CsumStart == uint16(s.l4) && f.CsumOffset == tcpChecksum
	case f.Flags&frame.ChecksumVerified != 0:
		return true
	}
	return Fold(Sum(f.Data[s.l4:], s.pseudo(f.Data, len(f.Data)-int(s.l4)))) == 0xffff
}

// pseudo is the sum of the pseudo-header for length bytes of TCP.
func (s *segment) pseudo(data []byte, length int) uint64 {
	return sumHeader(addresses(data, s.v6)) + uint64(ProtoTCP) + uint64(length)
}

// look says what the frame is to a Coalescer that makes super-frames of the kinds in
// can, and of a TCP packet fills s.
func (s *segment) look(f *frame.Frame, can frame.Offload) looks {
	data := f.Data
	if len(data) < EthernetLen+ipv4Len {
		return looksOther
	}
	if f.GSO != frame.GSONone {
		return looksOdd
	}
	switch binary.BigEndian.Uint16(data[12:]) {
	case EtherTypeIPv4:
		return s.look4(data, can)
	case EtherTypeIPv6:
		return s.look6(data, can)
	}
	return looksOther
}

func (s *segment) look4(data []byte, can frame.Offload) looks {
	b := data[EthernetLen:]
	if b[9] != ProtoTCP || can&frame.OffloadTCPv4 == 0 {
		return looksOther
	}
	end := EthernetLen + int(binary.BigEndian.Uint16(b[2:]))
	if b[0] != 0x45 || binary.BigEndian.Uint16(b[6:])&^ipv4DF != 0 || end > len(data) {
		return looksOdd
	}
	s.v6, s.l4, s.id = false, EthernetLen+ipv4Len, binary.BigEndian.Uint16(b[4:])
	return s.lookTCP(data, end)
}

func (s *segment) look6(data []byte, can frame.Offload) looks {
	b := data[EthernetLen:]
	if b[6] == ProtoUDP || b[6] == ProtoICMPv6 || can&frame.OffloadTCPv6 == 0 {
		return looksOther
	}
	end := EthernetLen + ipv6Len + int(binary.BigEndian.Uint16(b[4:]))
	if b[0]>>4 != 6 || b[6] != ProtoTCP || end > len(data) {
		return looksOdd
	}
	s.v6, s.l4, s.id = true, EthernetLen+ipv6Len, 0
	return s.lookTCP(data, end)
}

// lookTCP looks at the TCP packet that begins at s.l4 and ends at end. One with
// Ethernet padding behind it, with urgent data, or with flags that concern more than
// its own bytes stays alone.
func (s *segment) lookTCP(data []byte, end int) looks {
	b := data[s.l4:]
	if end < int(s.l4)+tcpLen {
		return looksOdd
	}
	hdr := int(s.l4) + int(b[12]>>4)*4
	if hdr < int(s.l4)+tcpLen || hdr > end {
		return looksOdd
	}
	s.ports, s.seq, s.hdr, s.payload = word(b, 0), word(b, 4), uint8(hdr), end-hdr
	switch {
	case s.payload == 0 || end != len(data) || b[13]&^(tcpPSH|tcpECE) != tcpACK:
		return looksAlone
	case b[13]&tcpPSH != 0:
		return looksLast
	}
	return looksJoinable
}

// arrange writes the batch anew: each of the heads, and behind it what was joined
// to it.
func (c *Coalescer) arrange(f []frame.Frame, heads int) {
	n := 0
	for _, head := range c.heads[:heads] {
		c.out[n], c.from[n] = f[head], head
		first := &c.out[n]
		n++
		if c.next[head] == 0 {
			continue
		}
		var s segment
		s.look(first, frame.OffloadTCPv4|frame.OffloadTCPv6)
		total, last := s.payload, head
		for i := c.next[head]; i != 0; i = c.next[i] {
			c.out[n] = frame.Frame{Data: f[i].Data[s.hdr:], Meta: frame.Meta{GSO: frame.GSOPiece, HdrLen: uint16(s.hdr)}}
			c.from[n], last = i, i
			total += len(c.out[n].Data)
			n++
		}
		first.Data[s.l4+13] |= f[last].Data[s.l4+13] & tcpPSH
		s.crown(first, total)
	}
}

// crown makes the first segment of a super-frame speak for all of its payload.
func (s *segment) crown(f *frame.Frame, payload int) {
	b := f.Data[EthernetLen:]
	length := int(s.hdr) - EthernetLen + payload
	if f.GSO = frame.GSOTCPv4; s.v6 {
		f.GSO = frame.GSOTCPv6
		binary.BigEndian.PutUint16(b[4:], uint16(length-ipv6Len))
	} else {
		binary.BigEndian.PutUint16(b[2:], uint16(length))
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], ^Fold(sumHeader(b[:ipv4Len])))
	}
	sum := Fold(s.pseudo(f.Data, int(s.hdr)-int(s.l4)+payload))
	binary.BigEndian.PutUint16(f.Data[s.l4+tcpChecksum:], sum)
	f.Flags = frame.NeedsChecksum
	f.GSOSize, f.HdrLen = uint16(s.payload), uint16(s.hdr)
	f.CsumStart, f.CsumOffset = uint16(s.l4), tcpChecksum
}
