package queuetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// The headers of the suite's TCP and UDP frames.
const (
	l4At  = headerLen + 20
	tcpAt = l4At + 20
)

// tcpFrame is an IPv4 TCP frame, from port srcPort, with a partial checksum.
func tcpFrame(srcPort uint16, seq uint32, payload int) frame.Frame {
	return ipFrame(ipv4Header(6, 20+payload), tcpHeader(srcPort, seq), 16, payload)
}

// ipFrame puts a frame together and does the pseudo-header's sum, which is
// where a partial checksum begins.
func ipFrame(ip, l4 []byte, csum uint16, payload int) frame.Frame {
	b := []byte{0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x02, 0x08, 0x00}
	if ip[0]>>4 == 6 {
		b[12], b[13] = 0x86, 0xdd
	}
	b = append(append(b, ip...), l4...)
	start := headerLen + len(ip)
	for i := range payload {
		b = append(b, byte(i*7))
	}
	addrs, proto := ip[12:20], ip[9]
	if ip[0]>>4 == 6 {
		addrs, proto = ip[8:40], ip[6]
	}
	pseudo := sum(addrs, uint32(proto)+uint32(len(b)-start))
	binary.BigEndian.PutUint16(b[start+int(csum):], fold(pseudo))
	return frame.Frame{Data: b, Meta: frame.Meta{
		Flags: frame.NeedsChecksum, CsumStart: uint16(start), CsumOffset: csum}}
}

func ipv4Header(proto byte, length int) []byte {
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(ip[2:], uint16(20+length))
	binary.BigEndian.PutUint16(ip[6:], 0x4000)
	copy(ip[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum(ip, 0)))
	return ip
}

func ipv6Header(proto byte, length int) []byte {
	ip := make([]byte, 40)
	ip[0], ip[6], ip[7] = 0x60, proto, 64
	binary.BigEndian.PutUint16(ip[4:], uint16(length))
	ip[8], ip[23], ip[24], ip[39] = 0xfd, 1, 0xfd, 2
	return ip
}

func tcpHeader(srcPort uint16, seq uint32) []byte {
	tcp := make([]byte, 20)
	binary.BigEndian.PutUint16(tcp, srcPort)
	binary.BigEndian.PutUint16(tcp[2:], 9)
	binary.BigEndian.PutUint32(tcp[4:], seq)
	tcp[12], tcp[13] = 5<<4, 0x10
	return tcp
}

func udpHeader(length int) []byte {
	udp := make([]byte, 8)
	binary.BigEndian.PutUint16(udp, 1000)
	binary.BigEndian.PutUint16(udp[2:], 9)
	binary.BigEndian.PutUint16(udp[4:], uint16(length))
	return udp
}

func sum(b []byte, s uint32) uint32 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func superFrame(t *testing.T, kind Kind) {
	if !kind.GSO {
		t.Skip("this kind passes no super-frames")
	}
	q, peer := open(t, kind, Config{GSO: true})
	l := q.Lane(0)
	if l.Offloads()&frame.OffloadTCPv4 == 0 || l.MaxFrame() < 65000 {
		t.Fatalf("offloads %b, frames of up to %d bytes", l.Offloads(), l.MaxFrame())
	}
	const payload = 60000
	for _, c := range []struct {
		kind frame.Offload
		gso  uint8
		f    frame.Frame
	}{
		{frame.OffloadTCPv4, frame.GSOTCPv4, tcpFrame(1000, 1, payload)},
		{frame.OffloadTCPv6, frame.GSOTCPv6, ipFrame(ipv6Header(6, 20+payload), tcpHeader(1000, 1), 16, payload)},
		{frame.OffloadUDP, frame.GSOUDP, ipFrame(ipv4Header(17, 8+payload), udpHeader(8+payload), 6, payload)},
		{frame.OffloadUDP, frame.GSOUDP, ipFrame(ipv6Header(17, 8+payload), udpHeader(8+payload), 6, payload)},
	} {
		if l.Offloads()&c.kind == 0 {
			t.Logf("no offload for super-frames of kind %d", c.gso)
			continue
		}
		c.f.GSO, c.f.GSOSize, c.f.HdrLen = c.gso, 1400, uint16(len(c.f.Data)-payload)
		pass(t, l, peer, c.f)
		if l.Offloads()&frame.OffloadGather != 0 {
			gather(t, l, peer, c.f, payload)
		}
	}
}

// gather delivers a super-frame in pieces, between two frames that are whole, and
// expects it in one.
func gather(t *testing.T, l lane, peer Peer, f frame.Frame, payload int) {
	t.Helper()
	const size = 1400
	head := f
	head.Data = f.Data[:len(f.Data)-payload+size]
	whole := tcpFrame(1000, 1, 300)
	batch := []frame.Frame{whole, head}
	for rest := f.Data[len(head.Data):]; len(rest) > 0; {
		n := min(size, len(rest))
		batch = append(batch, frame.Frame{Data: rest[:n], Meta: frame.Meta{GSO: frame.GSOPiece, HdrLen: f.HdrLen}})
		rest = rest[n:]
	}
	batch = append(batch, whole)
	if n, why := l.Deliver(batch); n != len(batch) {
		t.Fatalf("Deliver = %d, %d, want %d", n, why, len(batch))
	}
	for i, want := range []frame.Frame{whole, f, whole} {
		got := buffers(1, 1<<16+64)
		if err := peer.Recv(&got[0]); err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprint("the container, of frame ", i, ","), got[0], want)
	}
}

// lane is what pass and gather need of one.
type lane interface {
	Deliver([]frame.Frame) (int, frame.Refusal)
	Collect([]frame.Frame, int) int
}

func partialChecksum(t *testing.T, kind Kind) {
	if !kind.GSO {
		t.Skip("this kind passes no partial checksums")
	}
	q, peer := open(t, kind, Config{GSO: true})
	pass(t, q.Lane(0), peer, tcpFrame(1000, 1, 300))
}

// pass sends a frame both ways and expects it, with its Meta, as it was.
func pass(t *testing.T, l lane, peer Peer, f frame.Frame) {
	t.Helper()
	if n, why := l.Deliver([]frame.Frame{f}); n != 1 {
		t.Fatalf("Deliver = %d, %d", n, why)
	}
	got := buffers(1, 1<<16+64)
	if err := peer.Recv(&got[0]); err != nil {
		t.Fatal(err)
	}
	same(t, "the container", got[0], f)
	send(t, peer, f)
	for tries := 0; ; tries++ {
		rewind(got)
		if l.Collect(got, 1<<20) == 1 && isIP(got[0].Data) {
			break
		}
		if tries > 100 {
			t.Fatal("it never came back")
		}
	}
	same(t, "the lane", got[0], f)
}

func same(t *testing.T, who string, got, want frame.Frame) {
	t.Helper()
	if got.Meta != want.Meta {
		t.Errorf("%s got %+v, want %+v", who, got.Meta, want.Meta)
	}
	if !bytes.Equal(got.Data, want.Data) {
		t.Errorf("%s got %d other bytes than the %d that were sent", who, len(got.Data), len(want.Data))
	}
}
