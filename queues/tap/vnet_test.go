package tap

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// header builds a virtio_net_hdr field by field.
func header(flags, gso byte, hdr, size, start, offset uint16) (h [hdrLen]byte) {
	h[0], h[1] = flags, gso
	for i, v := range []uint16{hdr, size, start, offset} {
		binary.NativeEndian.PutUint16(h[2+2*i:], v)
	}
	return h
}

// tcpBytes is a frame of n bytes whose TCP header begins at 34 and has words
// words.
func tcpBytes(n int, words byte) []byte {
	b := make([]byte, n)
	if n > 46 {
		b[46] = words << 4
	}
	return b
}

func TestGetMeta(t *testing.T) {
	const partial = frame.NeedsChecksum
	for _, c := range []struct {
		name string
		h    [hdrLen]byte
		data []byte
		want frame.Meta
		ok   bool
	}{
		{"plain", header(0, 0, 0, 0, 0, 0), make([]byte, 14), frame.Meta{}, true},
		{"shorter than Ethernet", header(0, 0, 0, 0, 0, 0), nil, frame.Meta{}, true},
		{"verified", header(2, 0, 0, 0, 7, 7), make([]byte, 60), frame.Meta{Flags: frame.ChecksumVerified}, true},
		{"hdr_len is but a hint", header(0, 0, 999, 0, 0, 0), make([]byte, 60), frame.Meta{}, true},
		{"partial", header(1, 0, 0, 0, 34, 16), make([]byte, 60), frame.Meta{Flags: partial, CsumStart: 34, CsumOffset: 16}, true},
		{"partial at the very end", header(1, 0, 0, 0, 34, 16), make([]byte, 52), frame.Meta{Flags: partial, CsumStart: 34, CsumOffset: 16}, true},
		{"partial beyond the end", header(1, 0, 0, 0, 34, 16), make([]byte, 51), frame.Meta{}, false},
		{"partial that overflows", header(1, 0, 0, 0, 0xffff, 0xffff), make([]byte, 60), frame.Meta{}, false},
		{"partial inside Ethernet", header(1, 0, 0, 0, 13, 0), make([]byte, 60), frame.Meta{}, false},
		{"TCPv4", header(1, 1, 1, 1400, 34, 16), tcpBytes(3000, 5),
			frame.Meta{Flags: partial, GSO: frame.GSOTCPv4, GSOSize: 1400, HdrLen: 54, CsumStart: 34, CsumOffset: 16}, true},
		{"TCPv6 with options", header(1, 4, 1, 1400, 34, 16), tcpBytes(3000, 8),
			frame.Meta{Flags: partial, GSO: frame.GSOTCPv6, GSOSize: 1400, HdrLen: 66, CsumStart: 34, CsumOffset: 16}, true},
		{"UDP", header(1, 5, 1, 1400, 34, 6), make([]byte, 3000),
			frame.Meta{Flags: partial, GSO: frame.GSOUDP, GSOSize: 1400, HdrLen: 42, CsumStart: 34, CsumOffset: 6}, true},
		{"TCP without a partial checksum", header(0, 1, 54, 1400, 34, 16), tcpBytes(3000, 5), frame.Meta{}, false},
		{"TCP in segments of nothing", header(1, 1, 54, 0, 34, 16), tcpBytes(3000, 5), frame.Meta{}, false},
		{"TCP whose checksum is elsewhere", header(1, 1, 54, 1400, 34, 6), tcpBytes(3000, 5), frame.Meta{}, false},
		{"TCP whose header is too short", header(1, 1, 54, 1400, 34, 16), tcpBytes(3000, 4), frame.Meta{}, false},
		{"TCP whose header is the frame", header(1, 1, 54, 1400, 34, 16), tcpBytes(54, 5), frame.Meta{}, false},
		{"TCP whose header exceeds the frame", header(1, 1, 54, 1400, 34, 16), tcpBytes(60, 15), frame.Meta{}, false},
		{"UDP whose header is the frame", header(1, 5, 42, 1400, 34, 6), make([]byte, 42), frame.Meta{}, false},
		{"UFO of old", header(1, 3, 42, 1400, 34, 6), make([]byte, 3000), frame.Meta{}, false},
		{"TCP with ECN, which was not asked for", header(1, 1|0x80, 54, 1400, 34, 16), tcpBytes(3000, 5), frame.Meta{}, false},
		{"an unknown kind", header(1, 0x7f, 54, 1400, 34, 16), tcpBytes(3000, 5), frame.Meta{}, false},
	} {
		got := frame.Meta{Hint: 9, Gen: 9, VLAN: 9, GSOSize: 9}
		ok := getMeta(&c.h, c.data, &got)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %+v, %t, want %+v, %t", c.name, got, ok, c.want, c.ok)
		}
	}
}

// Whatever is accepted lies within the frame, and comes back out of a header
// as it went in.
func FuzzGetMeta(f *testing.F) {
	h := header(1, 1, 54, 1400, 34, 16)
	f.Add(h[:], tcpBytes(3000, 5))
	f.Add(make([]byte, hdrLen), []byte{})
	f.Fuzz(func(t *testing.T, raw, data []byte) {
		if len(raw) != hdrLen || len(data) > MaxSuperFrame {
			return
		}
		var m, again frame.Meta
		if !getMeta((*[hdrLen]byte)(raw), data, &m) {
			return
		}
		if m.Flags&frame.NeedsChecksum != 0 && (m.CsumStart < 14 || int(m.CsumStart)+int(m.CsumOffset)+2 > len(data)) {
			t.Errorf("a checksum outside of %d bytes: %+v", len(data), m)
		}
		if m.GSO != frame.GSONone && (int(m.HdrLen) >= len(data) || m.GSOSize == 0 || m.HdrLen <= m.CsumStart) {
			t.Errorf("a super-frame of %d bytes: %+v", len(data), m)
		}
		var back [hdrLen]byte
		putHeader(&back, &m)
		if !getMeta(&back, data, &again) || again != m {
			t.Errorf("%+v came back as %+v", m, again)
		}
	})
}

func TestRefusal(t *testing.T) {
	for errno, want := range map[unix.Errno]frame.Refusal{
		unix.EIO: frame.Gone, unix.EBADFD: frame.Gone, unix.EBADF: frame.Gone, unix.ENODEV: frame.Gone,
		unix.EAGAIN: frame.Full, unix.ENOBUFS: frame.Full, unix.ENOMEM: frame.Full,
		unix.EINVAL: frame.TooBig, unix.EMSGSIZE: frame.TooBig, unix.EFBIG: frame.TooBig,
	} {
		var l Lane
		if got := l.refusal(errno); got != want {
			t.Errorf("%v: %d, want %d", errno, got, want)
		}
		if counted := l.Stats().Errors == 1; counted != (want == frame.TooBig) {
			t.Errorf("%v: counted %t", errno, counted)
		}
	}
}

func TestFits(t *testing.T) {
	plain, gso := newLane(-1, 1500, frame.OffloadChecksum), newLane(-1, 1500, frame.OffloadChecksum|superFrames)
	tcpOnly := newLane(-1, 1500, frame.OffloadChecksum|frame.OffloadTCPv4)
	super := func(kind uint8, size, hdr, seg int) *frame.Frame {
		return &frame.Frame{Data: make([]byte, size), Meta: frame.Meta{GSO: kind, HdrLen: uint16(hdr), GSOSize: uint16(seg)}}
	}
	for _, c := range []struct {
		name string
		l    *Lane
		f    *frame.Frame
		want bool
	}{
		{"MTU", plain, super(frame.GSONone, 1514, 0, 0), true},
		{"more than the MTU", plain, super(frame.GSONone, 1515, 0, 0), false},
		{"more than the MTU, though super-frames may", gso, super(frame.GSONone, 1515, 0, 0), false},
		{"a super-frame without the offload", plain, super(frame.GSOTCPv4, 3000, 54, 1400), false},
		{"a super-frame", gso, super(frame.GSOTCPv4, 3000, 54, 1400), true},
		{"the largest", gso, super(frame.GSOTCPv6, MaxSuperFrame, 74, 1440), true},
		{"a larger one", gso, super(frame.GSOTCPv6, MaxSuperFrame+1, 74, 1440), false},
		{"segments of exactly the MTU", gso, super(frame.GSOUDP, 3000, 42, 1472), true},
		{"segments larger than that", gso, super(frame.GSOUDP, 3000, 42, 1473), false},
		{"a kind without offload", tcpOnly, super(frame.GSOTCPv6, 3000, 54, 1400), false},
		{"an unknown kind", gso, super(99, 3000, 54, 1400), false},
	} {
		if got := c.l.fits([]frame.Frame{*c.f}); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
	for pieces, want := range map[int]bool{1: true, 3: true, maxPieces - 1: true, maxPieces: false} {
		f := []frame.Frame{*super(frame.GSOTCPv4, 1000, 54, 946)}
		for range pieces {
			f = append(f, *super(frame.GSOPiece, 946, 54, 0))
		}
		if got := gso.fits(f); got != want {
			t.Errorf("%d pieces: %t", pieces, got)
		}
		if f[0].GSO = frame.GSONone; gso.fits(f) {
			t.Errorf("pieces of nothing")
		}
	}
	large := []frame.Frame{*super(frame.GSOTCPv4, 40000, 54, 1400), *super(frame.GSOPiece, MaxSuperFrame-40000, 54, 0)}
	if !gso.fits(large) {
		t.Error("the largest one in pieces was refused")
	}
	if large[1].Data = append(large[1].Data, 0); gso.fits(large) {
		t.Error("a larger one in pieces was taken")
	}
}

func TestPutHeader(t *testing.T) {
	for _, c := range []struct {
		m    frame.Meta
		want [hdrLen]byte
	}{
		{frame.Meta{}, header(0, 0, 0, 0, 0, 0)},
		// What is not said to count is not written.
		{frame.Meta{Hint: 1, Gen: 2, VLAN: 3, GSOSize: 4, HdrLen: 5, CsumStart: 6, CsumOffset: 7}, header(0, 0, 0, 0, 0, 0)},
		{frame.Meta{Flags: frame.ChecksumVerified}, header(2, 0, 0, 0, 0, 0)},
		{frame.Meta{Flags: frame.NeedsChecksum | frame.ChecksumVerified, CsumStart: 34, CsumOffset: 6}, header(1, 0, 0, 0, 34, 6)},
		{frame.Meta{Flags: frame.NeedsChecksum, GSO: frame.GSOTCPv6, GSOSize: 1440, HdrLen: 74, CsumStart: 54, CsumOffset: 16},
			header(1, 4, 74, 1440, 54, 16)},
	} {
		var h [hdrLen]byte
		if putHeader(&h, &c.m); h != c.want {
			t.Errorf("%+v: % x, want % x", c.m, h, c.want)
		}
	}
}
