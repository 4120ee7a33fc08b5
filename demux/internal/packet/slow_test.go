package packet

import (
	"encoding/binary"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// slowSum is RFC 1071, section 4.1, word by word.
func slowSum(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i]) << 8
		if i+1 < len(b) {
			w |= uint32(b[i+1])
		}
		s += w
		if s > 0xffff {
			s = s&0xffff + 1
		}
	}
	return uint16(s)
}

// slowChain follows IPv6 extension headers in the plainest way: p is the packet.
// It yields the upper protocol and its offset, or reached = false.
func slowChain(p []byte) (proto uint8, at int, frag, later, reached bool) {
	next, off := p[6], 40
	for seen := 0; ; seen++ {
		switch next {
		case 0, 43, 44, 51, 60:
		default:
			return next, off, frag, false, true
		}
		if seen == 8 || off+8 > len(p) {
			return next, 0, frag, false, false
		}
		size := int(p[off+1])*8 + 8
		if next == 51 {
			size = int(p[off+1])*4 + 8
		}
		if next == 44 {
			size, frag = 8, true
			if binary.BigEndian.Uint16(p[off+2:])>>3 != 0 {
				return p[off], 0, frag, true, false
			}
		}
		if off+size > len(p) {
			return next, 0, frag, false, false
		}
		next, off = p[off], off+size
	}
}

// slowComplete is virtio's partial checksum, as skb_checksum_help of Linux does
// it. It does not judge whether the place is allowed.
func slowComplete(data []byte, start, offset int) []byte {
	out := append([]byte{}, data...)
	sum := ^slowSum(out[start:])
	if sum == 0 {
		sum = 0xffff
	}
	out[start+offset], out[start+offset+1] = byte(sum>>8), byte(sum)
	return out
}

// slowSegments cuts a super-frame by decoding it with gopacket, cutting the
// payload, and building each segment anew with gopacket's own lengths and
// checksums. nil: gopacket cannot.
func slowSegments(data []byte, m *frame.Meta) [][]byte {
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
	if p.ErrorLayer() != nil || p.TransportLayer() == nil {
		return nil
	}
	payload := p.TransportLayer().LayerPayload()
	var out [][]byte
	for off := 0; off == 0 || off < len(payload); off += int(m.GSOSize) {
		end := min(off+int(m.GSOSize), len(payload))
		seg := slowSegment(p, len(out), off, end == len(payload), payload[off:end])
		if seg == nil {
			return nil
		}
		out = append(out, seg)
	}
	return out
}

func slowSegment(p gopacket.Packet, i, off int, last bool, payload []byte) []byte {
	var ls []gopacket.SerializableLayer
	length := len(payload) // without gopacket's padding to 60 bytes
	for _, l := range p.Layers() {
		s := slowLayer(l, p.NetworkLayer(), i, off, last)
		if s != nil {
			ls, length = append(ls, s), length+len(l.LayerContents())
		}
		if l.LayerType() == p.TransportLayer().LayerType() {
			break
		}
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if gopacket.SerializeLayers(buf, opts, append(ls, gopacket.Payload(payload))...) != nil {
		return nil
	}
	if length > len(buf.Bytes()) { // gopacket leaves out what stands behind the end of IP options
		return nil
	}
	seg := buf.Bytes()[:length]
	slowMangle(p, seg, length-len(payload))
	return seg
}

// slowMangle does what gopacket does not: a UDP checksum that comes out as zero
// is written as 0xffff (RFC 768). The payload starts at end.
func slowMangle(p gopacket.Packet, seg []byte, end int) {
	if p.TransportLayer().LayerType() == layers.LayerTypeUDP && seg[end-2]|seg[end-1] == 0 {
		seg[end-2], seg[end-1] = 0xff, 0xff
	}
}

func slowLayer(l gopacket.Layer, network gopacket.NetworkLayer, i, off int, last bool) gopacket.SerializableLayer {
	switch l := l.(type) {
	case *layers.IPv4:
		c := *l
		c.Id += uint16(i)
		return &c
	case *layers.TCP:
		c := *l
		c.Seq += uint32(off)
		c.CWR = c.CWR && i == 0
		c.PSH, c.FIN = c.PSH && last, c.FIN && last
		_ = c.SetNetworkLayerForChecksum(network)
		return &c
	case *layers.UDP:
		c := *l
		_ = c.SetNetworkLayerForChecksum(network)
		return &c
	case gopacket.SerializableLayer:
		return l
	}
	return nil
}
