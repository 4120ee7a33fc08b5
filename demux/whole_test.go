package demux

import (
	"bytes"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

const tcpOffloads = frame.OffloadChecksum | frame.OffloadTCPv4 | frame.OffloadTCPv6

// wholeWorld is gsoWorld with a second way out.
func wholeWorld(t testing.TB, offloads frame.Offload) (*world, *demuxtest.WholeLink) {
	w := gsoWorld(t)
	l := demuxtest.NewWholeLink(w.links[0], offloads)
	w.reopen(l)
	return w, l
}

// TestLeavesWhole: which frames leave for the wire as they are, and which by the
// sockets.
func TestLeavesWhole(t *testing.T) {
	wide := super(tcp(nicMAC, peerMAC, a4, far4, 10_000), false, 1400)
	single := frame.Frame{Data: tcp(nicMAC, peerMAC, a4, far4, 100)}
	lazy := frame.Frame{Data: bytes.Clone(single.Data), Meta: frame.Meta{Flags: frame.NeedsChecksum, CsumStart: 34, CsumOffset: 16}}
	partial(lazy.Data, 34, 16, 6)
	datagram := needsSum(udp(nicMAC, peerMAC, a4, far4, 100))
	n4 := ip("10.0.0.13")
	for _, c := range []struct {
		name     string
		from     string
		offloads frame.Offload
		f        frame.Frame
		whole    int
		sent     int // by the sockets
		frames   uint64
		bytes    uint64
	}{
		{"a super-frame", "S", tcpOffloads, wide, 1, 0, 8, 10_000 + 8*54},
		{"TCP that is none", "S", tcpOffloads, single, 1, 0, 1, 154},
		{"an unfinished one", "S", tcpOffloads, lazy, 1, 0, 1, 154},
		{"a super-frame with another checksum", "S", tcpOffloads, finishedWide(wide), 0, 8, 8, 10_000 + 8*54},
		{"UDP", "S", tcpOffloads, datagram, 0, 1, 1, 142},
		{"in a VLAN", "V", tcpOffloads, wide, 0, 8, 8, 10_000 + 8*58},
		{"a port without super-frames", "N", tcpOffloads, frame.Frame{Data: tcp(nicMAC, peerMAC, n4, far4, 100)}, 0, 1, 1, 154},
		{"a way out without TCPv4", "S", frame.OffloadChecksum | frame.OffloadTCPv6, wide, 0, 8, 8, 10_000 + 8*54},
		{"a way out that completes nothing", "S", 0, lazy, 0, 1, 1, 154},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, l := wholeWorld(t, c.offloads)
			w.ports[c.from].lanes[0].SendFrame(c.f)
			w.settle()
			whole, sent, s := l.Whole(), w.links[0].Sent(), w.sw.Stats()
			if len(whole) != c.whole || len(sent) != c.sent || s.Ports.ToWire != 1 {
				t.Fatalf("%d left whole, %d by the sockets: %+v", len(whole), len(sent), s.Ports)
			}
			n, b := s.WireFrames, s.WireBytes
			if c.whole > 0 {
				n, b = s.WholeFrames, s.WholeBytes
			}
			if n != c.frames || b != c.bytes || s.WireFrames+s.WholeFrames != n {
				t.Errorf("counted %d frames and %d bytes, want %d and %d", n, b, c.frames, c.bytes)
			}
			for _, f := range whole {
				if !bytes.Equal(f.Data, c.f.Data) || f.Flags != c.f.Flags || f.GSO != c.f.GSO || f.GSOSize != c.f.GSOSize {
					t.Errorf("it left as %+v", f)
				}
			}
		})
	}
}

func finishedWide(f frame.Frame) frame.Frame {
	f.Flags = 0
	return f
}

// TestLeavesWholeRefused: what does not leave whole is lost for its reason, once.
func TestLeavesWholeRefused(t *testing.T) {
	wide := super(tcp(nicMAC, peerMAC, a4, far4, 10_000), false, 1400)
	change := func(c func(f *frame.Frame)) frame.Frame {
		f := frame.Frame{Data: bytes.Clone(wide.Data), Meta: wide.Meta}
		c(&f)
		return f
	}
	for _, c := range []struct {
		name   string
		f      frame.Frame
		full   bool
		reason Reason
	}{
		{"no room", wide, true, WireFull},
		{"segments that are too large", change(func(f *frame.Frame) { f.GSOSize = 3000 }), false, TooBig},
		{"too large", frame.Frame{Data: tcp(nicMAC, peerMAC, a4, far4, 2000)}, false, TooBig},
		{"not what it says", change(func(f *frame.Frame) { f.GSO = frame.GSOTCPv6 }), false, Malformed},
		{"a checksum elsewhere", change(func(f *frame.Frame) { f.CsumOffset = 2 }), false, Malformed},
		{"a checksum in the addresses", change(func(f *frame.Frame) { f.GSO, f.CsumStart, f.CsumOffset = 0, 14, 12 }), false, Malformed},
		{"in far too many segments", change(func(f *frame.Frame) { f.GSOSize = 1 }), false, Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, l := wholeWorld(t, tcpOffloads)
			l.SetFull(c.full)
			w.ports["S"].lanes[0].SendFrame(c.f)
			w.settle()
			if s := w.sw.Stats().Ports; s.Drops[c.reason] != 1 || s.ToWire != 0 || len(l.Whole()) != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}
