package xdp

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// wide is a TCP packet whose checksum is the pseudo-header's sum only, in bytes of
// payload, to be cut into segments of size bytes.
func wide(v6 bool, payload, size int) frame.Frame {
	tcp := append(tcpBytes(), make([]byte, payload)...)
	for i := range payload {
		tcp[20+i] = byte(i * 7)
	}
	l4, kind := 34, frame.GSOTCPv4
	data := eth(otherMAC, senderMAC, 0x0800, ip4("10.0.0.2", "10.0.0.100", tcp))
	data[23] = 6
	addrs := data[26:34]
	if v6 {
		l4, kind = 54, frame.GSOTCPv6
		data = eth(otherMAC, senderMAC, 0x86dd, ip6("fd00::2", "fd00::100", 6, 64, tcp))
		addrs = data[22:54]
	} else {
		binary.BigEndian.PutUint16(data[24:], ^plainSum(data[14:34]))
	}
	pseudo := append(bytes.Clone(addrs), 0, 6, byte((len(data)-l4)>>8), byte(len(data)-l4))
	binary.BigEndian.PutUint16(data[l4+16:], plainSum(pseudo))
	m := frame.Meta{Flags: frame.NeedsChecksum, CsumStart: uint16(l4), CsumOffset: 16, HdrLen: uint16(l4 + 20)}
	if size > 0 {
		m.GSO, m.GSOSize = kind, uint16(size)
	}
	return frame.Frame{Data: data, Meta: m}
}

func tcpBytes() []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, 80)
	binary.BigEndian.PutUint16(b[2:], 4000)
	b[12], b[13], b[14] = 0x50, 0x18, 1
	return b
}

// plainSum is RFC 1071, word by word.
func plainSum(b []byte) uint16 {
	s := uint32(0)
	for i := range b {
		s += uint32(b[i]) << (8 * (1 - i%2))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// TestOutlet sends a super-frame and an unfinished frame of each family from a
// device that neither cuts nor completes: what comes out at the other end is whole,
// in order and finished.
func TestOutlet(t *testing.T) {
	r := newRig(t, rigConfig{})
	if out, err := exec.Command("ethtool", "-K", "nic0", "tx", "off", "tso", "off", "gso", "off").CombinedOutput(); err != nil {
		t.Fatalf("ethtool: %v: %s", err, out)
	}
	o := r.outlet()
	for _, v6 := range []bool{false, true} {
		const payload, size = 10_000, 1400
		l4 := 34
		if v6 {
			l4 = 54
		}
		whole, single := wide(v6, payload, size), wide(v6, 100, 0)
		if !o.SendWhole(&whole) || !o.SendWhole(&single) {
			t.Fatal("refused")
		}
		var got []byte
		for range (payload + size - 1) / size {
			seg := receive(r.wire)
			if len(seg) <= l4+20 || len(seg) > l4+20+size || !finished(seg, l4) {
				t.Fatalf("a segment of %d bytes came: %x", len(seg), seg[:min(len(seg), 100)])
			}
			if seq := binary.BigEndian.Uint32(seg[l4+4:]); int(seq) != len(got) {
				t.Fatalf("sequence number %d behind %d bytes", seq, len(got))
			}
			got = append(got, seg[l4+20:]...)
		}
		if !bytes.Equal(got, whole.Data[l4+20:]) {
			t.Error("the payload is another")
		}
		if seg := receive(r.wire); len(seg) != len(single.Data) || !finished(seg, l4) {
			t.Errorf("the single frame came as %x", seg)
		}
	}
	if o.Refused() != 0 {
		t.Errorf("%d refused", o.Refused())
	}
}

func (r *rig) outlet() *Outlet {
	r.t.Helper()
	o, err := OpenOutlet(r.index)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := o.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return o
}

// finished says whether the TCP checksum of a frame holds.
func finished(data []byte, l4 int) bool {
	from, to := 26, 34
	if l4 == 54 {
		from, to = 22, 54
	}
	n := len(data) - l4
	return plainSum(append(append(bytes.Clone(data[from:to]), 0, 6, byte(n>>8), byte(n)), data[l4:]...)) == 0xffff
}

// TestOutletRefuses: a device that is down, or gone, takes nothing, and what the
// kernel finds wrong is not sent.
func TestOutletRefuses(t *testing.T) {
	r := newRig(t, rigConfig{})
	o := r.outlet()
	whole, single := wide(false, 3000, 1400), wide(false, 100, 0)
	lying := wide(false, 3000, 1400)
	lying.CsumStart = 60000
	long := frame.Frame{Data: make([]byte, 3000)}
	for i, f := range []*frame.Frame{&lying, &long} {
		if o.SendWhole(f) {
			t.Errorf("frame %d was taken", i)
		}
	}
	r.up(false)
	if o.SendWhole(&whole) || o.SendWhole(&single) {
		t.Error("a device that is down took frames")
	}
	r.up(true)
	if !o.SendWhole(&single) {
		t.Error("a device that is up again did not")
	}
	r.unplug()
	if o.SendWhole(&single) || o.Refused() != 5 {
		t.Errorf("a device that is gone; %d refused", o.Refused())
	}
	if _, err := OpenOutlet(r.index); err == nil {
		t.Error("a way out of nothing was opened")
	}
}

func TestOutletNoAllocs(t *testing.T) {
	r := newRig(t, rigConfig{})
	o, f := r.outlet(), wide(true, 3000, 1400)
	if n := testing.AllocsPerRun(50, func() { o.SendWhole(&f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
