package demux

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// super makes a super-frame of n bytes of payload, as a TAP hands it over: its
// checksum is the pseudo-header's sum only.
func super(f []byte, v6 bool, size int) frame.Frame {
	l4, kind := 34, frame.GSOTCPv4
	if v6 {
		l4, kind = 54, frame.GSOTCPv6
	}
	out := frame.Frame{Data: append([]byte(nil), f...)}
	partial(out.Data, l4, 16, 6)
	out.Meta = frame.Meta{Flags: frame.NeedsChecksum, GSO: kind, GSOSize: uint16(size), HdrLen: uint16(l4 + 20), CsumStart: uint16(l4), CsumOffset: 16}
	return out
}

// partial leaves the sum of the pseudo-header where the checksum belongs.
func partial(f []byte, l4, off int, proto byte) {
	sum := uint32(proto) + uint32(len(f)-l4)
	from, to := 26, 34
	if l4 == 54 {
		from, to = 22, 54
	}
	for i := from; i < to; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(f[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(f[l4+off:], uint16(sum))
}

// needsSum is a UDP datagram whose checksum is not finished.
func needsSum(f []byte) frame.Frame {
	out := frame.Frame{Data: append([]byte(nil), f...), Meta: frame.Meta{Flags: frame.NeedsChecksum, CsumStart: 34, CsumOffset: 6}}
	partial(out.Data, 34, 6, 17)
	return out
}

// gsoWorld has ports that send and take super-frames (S, T), one that takes
// whole what it is told to, but only up to 4000 bytes (U), and one that takes
// none (N).
func gsoWorld(t testing.TB) *world {
	w := &world{stepped(t), map[string]*testPort{}}
	w.ports["host"] = w.host
	with := func(name, addr string, vlan uint16, mtu int, lc demuxtest.LaneConfig) {
		w.ports[name] = w.portWith(PortConfig{Name: name, VLAN: vlan, MTU: mtu}, lc, addr)
	}
	with("S", "10.0.0.10", 0, 0, demuxtest.LaneConfig{Offloads: allOffloads})
	with("T", "10.0.0.11", 0, 0, demuxtest.LaneConfig{Offloads: allOffloads})
	with("U", "10.0.0.12", 0, 0, demuxtest.LaneConfig{Offloads: allOffloads, MaxFrame: 4000})
	with("N", "10.0.0.13", 0, 0, demuxtest.LaneConfig{MaxFrame: 1514})
	with("L", "10.0.0.14", 0, 576, demuxtest.LaneConfig{Offloads: allOffloads})
	with("V", "10.0.0.10", 7, 0, demuxtest.LaneConfig{Offloads: allOffloads})
	w.settle()
	return w
}

func TestSuperFrames(t *testing.T) {
	const payload, size = 10_000, 1400
	send := func(t *testing.T, from string, to string) (*world, frame.Frame) {
		w := gsoWorld(t)
		f := super(tcp(nicMAC, nicMAC, a4, ip(to), payload), false, size)
		w.ports[from].lanes[0].SendFrame(f)
		w.settle()
		return w, f
	}
	t.Run("whole between those who can", func(t *testing.T) {
		w, f := send(t, "S", "10.0.0.11")
		got := w.ports["T"].lanes[0].Got()
		if len(got) != 1 || !bytes.Equal(got[0].Data, f.Data) || got[0].GSO != f.GSO || got[0].GSOSize != size || got[0].Flags != frame.NeedsChecksum {
			t.Errorf("got %d frames: %+v", len(got), got)
		}
	})
	t.Run("whole to the host", func(t *testing.T) {
		w := gsoWorld(t)
		w.ports["S"].lanes[0].SendFrame(super(tcp(nicMAC, hostMAC, a4, host4, payload), false, size))
		w.settle()
		if got := w.host.lanes[0].Got(); len(got) != 1 || got[0].GSO != frame.GSOTCPv4 {
			t.Errorf("got %+v", got)
		}
		if s := w.sw.Stats().Ports; s.ToHost != 1 {
			t.Errorf("%+v", s)
		}
	})
	for name, to := range map[string]string{"U": "10.0.0.12", "N": "10.0.0.13"} {
		t.Run("cut for "+name, func(t *testing.T) {
			w, _ := send(t, "S", to)
			checkSegments(t, w.ports[name].got(), payload, size, 0)
			if s := w.sw.Stats().Ports; s.Delivered != 1 || s.Received != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
	t.Run("cut for the wire", func(t *testing.T) {
		w := gsoWorld(t)
		w.ports["S"].lanes[0].SendFrame(super(tcp(nicMAC, peerMAC, a4, far4, payload), false, size))
		w.settle()
		checkSegments(t, w.links[0].Sent(), payload, size, 0)
		if s := w.sw.Stats(); s.Ports.ToWire != 1 || s.WireFrames != 8 {
			t.Errorf("%+v, %d wire frames", s.Ports, s.WireFrames)
		}
	})
	t.Run("cut and tagged", func(t *testing.T) {
		w := gsoWorld(t)
		w.ports["V"].lanes[0].SendFrame(super(tcp(nicMAC, peerMAC, a4, far4, payload), false, size))
		w.settle()
		checkSegments(t, w.links[0].Sent(), payload, size, 7)
	})
	t.Run("too large segments", func(t *testing.T) {
		w, _ := send(t, "S", "10.0.0.14")
		if st, _ := w.sw.PortStats(w.ports["L"].id); st.RxDrops[TooBig] != 1 || w.sw.Stats().Ports.Drops[TooBig] != 1 {
			t.Errorf("%+v", st)
		}
	})
	t.Run("too large for the wire", func(t *testing.T) {
		w := gsoWorld(t)
		w.ports["S"].lanes[0].SendFrame(super(tcp(nicMAC, peerMAC, a4, far4, payload), false, 3000))
		w.settle()
		if s := w.sw.Stats().Ports; s.Drops[TooBig] != 1 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("lying", func(t *testing.T) {
		w := gsoWorld(t)
		for _, dst := range []mac{nicMAC, peerMAC} {
			f := super(tcp(nicMAC, dst, a4, b4, payload), false, size)
			f.GSO = frame.GSOTCPv6
			w.ports["S"].lanes[0].SendFrame(f)
		}
		w.settle()
		if s := w.sw.Stats().Ports; s.Drops[Malformed] != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// checkSegments decodes the segments of one super-frame: their checksums, their
// order, and that they are all.
func checkSegments(t *testing.T, got [][]byte, payload, size int, vlan uint16) {
	t.Helper()
	if want := (payload + size - 1) / size; len(got) != want {
		t.Errorf("%d segments, want %d", len(got), want)
	}
	seq, sum := uint32(1000), 0
	for i, f := range got {
		p := decode(t, f)
		q, _ := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q)
		if (q != nil) != (vlan != 0) || q != nil && q.VLANIdentifier != vlan {
			t.Errorf("segment %d bears the tag %+v", i, q)
		}
		s := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if s.Seq != seq || s.PSH != (i == len(got)-1) {
			t.Errorf("segment %d: seq %d, push %v", i, s.Seq, s.PSH)
		}
		seq += uint32(len(s.Payload))
		sum += len(s.Payload)
		if bad := badChecksum(f); bad {
			t.Errorf("segment %d has a wrong checksum", i)
		}
	}
	if sum != payload {
		t.Errorf("the segments hold %d bytes, want %d", sum, payload)
	}
}

// badChecksum adds a TCP or UDP packet over IPv4 up, tagged or not.
func badChecksum(f []byte) bool {
	if f[12] == 0x81 {
		f = append(append([]byte{}, f[:12]...), f[16:]...)
	}
	sum := uint32(f[23]) + uint32(len(f)-34)
	for i := 26; i < len(f); i++ {
		sum += uint32(f[i]) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum != 0xffff
}

func TestChecksums(t *testing.T) {
	w := gsoWorld(t)
	plain := func(dst mac, to string) frame.Frame { return needsSum(udp(nicMAC, dst, a4, ip(to), 100)) }
	w.ports["S"].lanes[0].SendFrame(plain(nicMAC, "10.0.0.11"))
	w.ports["S"].lanes[0].SendFrame(plain(nicMAC, "10.0.0.13"))
	w.ports["S"].lanes[0].SendFrame(plain(peerMAC, "10.0.0.99"))
	lying := plain(nicMAC, "10.0.0.13")
	lying.CsumStart = 5000
	w.ports["S"].lanes[0].SendFrame(lying)
	w.settle()
	if got := w.ports["T"].lanes[0].Got(); len(got) != 1 || got[0].Flags != frame.NeedsChecksum || !badChecksum(got[0].Data) {
		t.Errorf("who finishes checksums himself got %+v", got)
	}
	if got := w.ports["N"].lanes[0].Got(); len(got) != 1 || got[0].Flags != 0 || badChecksum(got[0].Data) {
		t.Errorf("who does not got %+v", got)
	}
	if got := w.links[0].Sent(); len(got) != 1 || badChecksum(got[0]) {
		t.Errorf("the wire got %d frames", len(got))
	}
	if s := w.sw.Stats().Ports; s.Drops[Malformed] != 1 {
		t.Errorf("%+v", s)
	}
}

// TestMixedOrder sends single frames and super-frames to a lane that takes no
// super-frames: the order stays.
func TestMixedOrder(t *testing.T) {
	w := gsoWorld(t)
	for i := range 6 {
		w.ports["S"].send(udp(nicMAC, nicMAC, a4, ip("10.0.0.13"), 100+i))
		w.ports["S"].lanes[0].SendFrame(super(tcp(nicMAC, nicMAC, a4, ip("10.0.0.13"), 2000), false, 1400))
	}
	w.settle()
	got := w.ports["N"].got()
	if len(got) != 18 {
		t.Fatalf("%d frames came", len(got))
	}
	for i, f := range got {
		want := []int{142 + i/3, 54 + 1400, 54 + 600}[i%3]
		if len(f) != want {
			t.Errorf("frame %d has %d bytes, want %d", i, len(f), want)
		}
	}
}

// TestCutRefused is a super-frame of which the queue takes only a part: it is
// lost, once, and its parts that arrived are counted at the port.
func TestCutRefused(t *testing.T) {
	w := &world{stepped(t), map[string]*testPort{}}
	s := w.portWith(PortConfig{Name: "S"}, demuxtest.LaneConfig{Offloads: allOffloads}, "10.0.0.10")
	n := w.portWith(PortConfig{Name: "N"}, demuxtest.LaneConfig{Depth: 3}, "10.0.0.13")
	s.lanes[0].SendFrame(super(tcp(nicMAC, nicMAC, a4, ip("10.0.0.13"), 10_000), false, 1400))
	w.settle()
	st, _ := w.sw.PortStats(n.id)
	if st.RxFrames != 3 || st.RxDrops[Full] != 1 || w.sw.Stats().Ports.Drops[Full] != 1 {
		t.Errorf("%+v", st)
	}
}

// TestSuperNeedsBuffers is a super-frame for a wire that has not enough
// buffers: it is lost, once.
func TestSuperNeedsBuffers(t *testing.T) {
	w := gsoWorld(t)
	w.links[0].SetRoom(3)
	w.reopen(w.links[0])
	w.ports["S"].lanes[0].SendFrame(super(tcp(nicMAC, peerMAC, a4, far4, 10_000), false, 1400))
	w.settle()
	if s := w.sw.Stats(); s.Ports.Drops[WireFull] != 1 || s.Ports.ToWire != 0 || s.WireFrames > 3 {
		t.Errorf("%+v, %d wire frames", s.Ports, s.WireFrames)
	}
}

// TestManySegments is a super-frame of more segments than a batch holds.
func TestManySegments(t *testing.T) {
	w := gsoWorld(t)
	w.ports["S"].lanes[0].SendFrame(super(tcp(nicMAC, nicMAC, a4, ip("10.0.0.13"), 60_000), false, 100))
	w.ports["S"].lanes[0].SendFrame(super(tcp(nicMAC, peerMAC, a4, far4, 60_000), false, 100))
	w.settle()
	checkSegments(t, w.ports["N"].got(), 60_000, 100, 0)
	checkSegments(t, w.links[0].Sent(), 60_000, 100, 0)
}

// TestCutFromTransmitBuffers is a super-frame from a lane that collects right
// into transmit buffers, which are used up by its batch: it is lost, and the
// others of the batch leave as they are.
func TestCutFromTransmitBuffers(t *testing.T) {
	w := gsoWorld(t)
	n4 := ip("10.0.0.13")
	w.ports["N"].lanes[0].SendFrame(super(tcp(nicMAC, peerMAC, n4, far4, 1000), false, 100))
	var want [][]byte
	for i := range reserveMin - 1 {
		want = append(want, udp(nicMAC, peerMAC, n4, far4, 100+i))
	}
	w.ports["N"].send(want...)
	w.reopen(w.links[0])
	w.settle()
	wantFrames(t, "wire", w.links[0].Sent(), want...)
	if s := w.sw.Stats().Ports; s.Drops[WireFull] != 1 {
		t.Errorf("%+v", s)
	}
}

// TestTaggedChecksum is a tagged frame from the wire whose checksum is to be
// completed: its offsets count from where it began with the tag.
func TestTaggedChecksum(t *testing.T) {
	w := newWorld(t)
	f := needsSum(udp(peerMAC, nicMAC, far4, a4, 100))
	f.Data = tag(f.Data, 7)
	f.CsumStart += vlanTag
	w.links[0].ArriveFrame(f)
	w.settle()
	if got := w.ports["V"].got(); len(got) != 1 || badChecksum(got[0]) {
		t.Errorf("V got % x", got)
	}
}
