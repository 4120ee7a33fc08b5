package demux

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/demux/internal/packet"
)

// gathers are the offloads of a lane that takes super-frames in pieces.
const gathers = allOffloads | frame.OffloadGather

// trainSize is the payload in bytes of each segment of a train.
const trainSize = 200

// train is n consecutive TCP segments of one connection from the wire.
func train(dst mac, from, to netip.Addr, port uint16, n int) [][]byte {
	whole := tcp(peerMAC, dst, from, to, n*trainSize)
	l4, kind := 34, frame.GSOTCPv4
	if to.Is6() {
		l4, kind = 54, frame.GSOTCPv6
	}
	binary.BigEndian.PutUint16(whole[l4:], port)
	var s packet.Segmenter
	if !s.Init(whole, &frame.Meta{GSO: kind, GSOSize: trainSize}) {
		panic("no super-frame")
	}
	out := make([][]byte, n)
	for i := range out {
		out[i] = make([]byte, s.MaxLen())
		s.At(out[i], i)
	}
	return out
}

// joinWorld has a port that takes super-frames in pieces (G), one that takes them
// whole only (S), and one that takes none (N).
func joinWorld(t testing.TB, lc demuxtest.LaneConfig) *world {
	w := &world{stepped(t), map[string]*testPort{}}
	lc.Offloads = gathers
	w.ports["G"] = w.portWith(PortConfig{Name: "G"}, lc, "10.0.0.10", "2001:db8::10")
	w.ports["S"] = w.portWith(PortConfig{Name: "S"}, demuxtest.LaneConfig{Offloads: allOffloads}, "10.0.0.11", "2001:db8::11")
	w.ports["N"] = w.portWith(PortConfig{Name: "N"}, demuxtest.LaneConfig{}, "10.0.0.12", "2001:db8::12")
	w.settle()
	return w
}

func sizeOf(frames [][]byte) (n uint64) {
	for _, f := range frames {
		n += uint64(len(f))
	}
	return n
}

// TestJoin: the segments of a batch reach a lane that gathers as one super-frame,
// and any other one by one; they are counted as what they were.
func TestJoin(t *testing.T) {
	for _, c := range []struct {
		to   string
		addr netip.Addr
		want int // frames that the container gets
	}{
		{"G", a4, 1}, {"G", a6, 1}, {"S", b4, 10}, {"N", ip("10.0.0.12"), 10},
	} {
		t.Run(fmt.Sprint(c.to, " ", c.addr), func(t *testing.T) {
			w := joinWorld(t, demuxtest.LaneConfig{})
			from := far4
			if c.addr.Is6() {
				from = far6
			}
			sent := train(nicMAC, from, c.addr, 1, 10)
			w.links[0].Arrive(sent...)
			w.settle()
			got := w.ports[c.to].lanes[0].Got()
			if len(got) != c.want {
				t.Fatalf("%d frames came, want %d", len(got), c.want)
			}
			if c.want == 1 {
				sameSegments(t, &got[0], sent)
			}
			st, _ := w.sw.PortStats(w.ports[c.to].id)
			if st.RxFrames != 10 || st.RxBytes != sizeOf(sent) || w.sw.Stats().Wire.Delivered != 10 {
				t.Errorf("counted %d frames, %d bytes, %+v", st.RxFrames, st.RxBytes, w.sw.Stats().Wire)
			}
		})
	}
}

// sameSegments requires that a super-frame is what was sent.
func sameSegments(t *testing.T, f *frame.Frame, sent [][]byte) {
	t.Helper()
	if f.GSOSize != trainSize || f.Flags != frame.NeedsChecksum || packet.SegmentCount(f.Data, &f.Meta) != len(sent) {
		t.Fatalf("%d segments, %+v, of %d", packet.SegmentCount(f.Data, &f.Meta), f.Meta, len(sent))
	}
	for i := range sent {
		dst := make([]byte, 2000)
		if got := dst[:packet.SegmentAt(dst, f.Data, &f.Meta, i)]; !bytes.Equal(got, sent[i]) {
			t.Errorf("segment %d became\n%x, was\n%x", i, got, sent[i])
		}
	}
}

// cameJoined says whether all of sent reached G as one super-frame.
func cameJoined(t *testing.T, w *world, sent [][]byte) {
	t.Helper()
	got := w.ports["G"].lanes[0].Got()
	if len(got) != 1 {
		t.Fatalf("%d frames came", len(got))
	}
	sameSegments(t, &got[0], sent)
}

// TestJoinLocal: what another container sends one by one is joined as well.
func TestJoinLocal(t *testing.T) {
	w := joinWorld(t, demuxtest.LaneConfig{})
	sent := train(nicMAC, ip("10.0.0.12"), a4, 1, 5)
	for _, f := range sent {
		copy(f[6:], nicMAC[:])
	}
	w.ports["N"].send(sent...)
	w.settle()
	cameJoined(t, w, sent)
}

// TestJoinUnfinished: segments whose checksums the wire leaves unfinished.
func TestJoinUnfinished(t *testing.T) {
	w := joinWorld(t, demuxtest.LaneConfig{})
	w.setWire(WireComplete)
	sent := train(nicMAC, far4, a4, 1, 5)
	for _, f := range sent {
		lazy := bytes.Clone(f)
		partial(lazy, 34, 16, 6)
		w.links[0].Arrive(lazy)
	}
	w.settle()
	cameJoined(t, w, sent)
}

// TestJoinSpoilt: a segment that was spoilt on the wire reaches the container as it
// is, alone, with nothing beside it that would vouch for it.
func TestJoinSpoilt(t *testing.T) {
	w := joinWorld(t, demuxtest.LaneConfig{})
	sent := train(nicMAC, far4, a4, 1, 9)
	sent[4][100] ^= 1
	w.links[0].Arrive(sent...)
	w.settle()
	got := w.ports["G"].lanes[0].Got()
	if len(got) != 3 || !bytes.Equal(got[1].Data, sent[4]) || got[1].Meta != (frame.Meta{}) {
		t.Fatalf("%d frames came: %+v", len(got), got)
	}
	sameSegments(t, &got[0], sent[:4])
	sameSegments(t, &got[2], sent[5:])
}

// TestJoinRefused: of a super-frame that the lane refuses each frame is lost, and
// none of another.
func TestJoinRefused(t *testing.T) {
	mixed := func() (all [][]byte) {
		a, b := train(nicMAC, far4, a4, 1, 6), train(nicMAC, far4, a4, 2, 4)
		for i := range a {
			all = append(all, a[i])
			if i < len(b) {
				all = append(all, b[i])
			}
		}
		return append(all, udp(peerMAC, nicMAC, far4, a4, 20))
	}
	first := func(f *frame.Frame) bool { return binary.BigEndian.Uint16(f.Data[34:]) == 1 && f.Data[23] == 6 }
	refuse := func(is func(*frame.Frame) bool, why frame.Refusal) demuxtest.LaneConfig {
		return demuxtest.LaneConfig{Refuse: func(f *frame.Frame) frame.Refusal {
			if is(f) {
				return why
			}
			return frame.Accepted
		}}
	}
	for _, c := range []struct {
		name      string
		lc        demuxtest.LaneConfig
		reason    Reason
		delivered uint64
	}{
		{"the first is too big", refuse(first, frame.TooBig), TooBig, 5},
		{"the second is too big", refuse(func(f *frame.Frame) bool { return f.GSO != 0 && !first(f) }, frame.TooBig), TooBig, 7},
		{"full after one", demuxtest.LaneConfig{Depth: 1}, Full, 6},
		{"gone", refuse(func(*frame.Frame) bool { return true }, frame.Gone), Gone, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := joinWorld(t, c.lc)
			w.links[0].Arrive(mixed()...)
			w.settle()
			st, _ := w.sw.PortStats(w.ports["G"].id)
			s := w.sw.Stats().Wire
			if st.RxFrames != c.delivered || s.Delivered != c.delivered || st.RxDrops[c.reason] != 11-c.delivered || s.Drops[c.reason] != 11-c.delivered {
				t.Errorf("%d delivered, want %d: %+v", st.RxFrames, c.delivered, s)
			}
		})
	}
}

// TestJoinSlow: on a slow lane segments are joined as well, and each letter learns
// what became of its frame, though the batch stands in another order.
func TestJoinSlow(t *testing.T) {
	a, b := train(nicMAC, far4, a4, 1, 4), train(nicMAC, far4, a4, 2, 3)
	lane := demuxtest.NewLane(t, nil, demuxtest.LaneConfig{Offloads: gathers, Refuse: func(f *frame.Frame) frame.Refusal {
		if binary.BigEndian.Uint16(f.Data[34:]) == 2 {
			return frame.TooBig
		}
		return frame.Accepted
	}})
	l := &slowLane{box: newMailbox(8, 1<<14), lane: lane}
	for _, f := range [][]byte{a[0], b[0], a[1], b[1], a[2], a[3], b[2]} {
		l.box.post(&frame.Frame{Data: f}, letter{})
	}
	var f []frame.Frame
	for i := range 7 {
		_, next := l.box.letter(i)
		f = append(f, next)
	}
	l.deliver(f, new(packet.Coalescer))
	for i, lost := range []bool{false, true, false, true, false, false, true} {
		want := uint8(0)
		if lost {
			want = 1 + uint8(TooBig)
		}
		if m, _ := l.box.letter(i); m.result != want {
			t.Errorf("letter %d says %d, want %d", i, m.result, want)
		}
	}
	if got := lane.Got(); len(got) != 1 || lane.Took() != 4 {
		t.Errorf("%d frames came, of %d", len(got), lane.Took())
	}
}
