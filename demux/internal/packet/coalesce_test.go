package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

const gathers = frame.OffloadGather | frame.OffloadChecksum | frame.OffloadTCPv4 | frame.OffloadTCPv6

// stream is n consecutive segments with size bytes of payload each, the last one
// pushed.
func stream(t testing.TB, v6 bool, n, size int) []frame.Frame {
	t.Helper()
	return streamOf(t, v6, n*size, size, 40000)
}

func streamOf(t testing.TB, v6 bool, total, size int, port layers.TCPPort) []frame.Frame {
	t.Helper()
	data, m := tcpFlow(t, v6, total, port), gso(frame.GSOTCPv4, uint16(size))
	if v6 {
		m.GSO = frame.GSOTCPv6
	}
	var s Segmenter
	if !s.Init(data, &m) {
		t.Fatal("no super-frame")
	}
	out := make([]frame.Frame, s.Count())
	for i := range out {
		dst := make([]byte, s.MaxLen())
		out[i].Data = exact(dst[:s.At(dst, i)])
	}
	return out
}

// tcpFlow is one packet of a connection whose flags are ACK and PSH.
func tcpFlow(t testing.TB, v6 bool, total int, port layers.TCPPort) []byte {
	if v6 {
		ip := ipv6Layer(layers.IPProtocolTCP)
		tcp := tcpLayer(ip)
		tcp.DstPort, tcp.FIN, tcp.CWR = port, false, false
		return serialize(t, ethernet(layers.EthernetTypeIPv6), ip, tcp, counted(total))
	}
	ip := ipv4Layer(layers.IPProtocolTCP)
	tcp := tcpLayer(ip)
	ip.Id, tcp.DstPort, tcp.FIN, tcp.CWR = 0xfffe, port, false, false
	return serialize(t, ethernet(layers.EthernetTypeIPv4), ip, tcp, counted(total))
}

// edit changes bytes of a segment and makes its checksums right again.
func edit(f *frame.Frame, at int, v ...byte) {
	copy(f.Data[at:], v)
	rightSums(f.Data)
}

// rightSums writes the checksums of a TCP segment in the plainest way.
func rightSums(data []byte) {
	from, to, l4 := 26, 34, 34
	if data[12] == 0x86 {
		from, to, l4 = 22, 54, 54
	} else {
		data[24], data[25] = 0, 0
		binary.BigEndian.PutUint16(data[24:], ^slowSum(data[14:34]))
	}
	data[l4+16], data[l4+17] = 0, 0
	pseudo := append(bytes.Clone(data[from:to]), 0, 6, byte((len(data)-l4)>>8), byte(len(data)-l4))
	binary.BigEndian.PutUint16(data[l4+16:], ^slowSum(append(pseudo, data[l4:]...)))
}

// shape says in a word what became of a batch: what was joined, and in which order
// it stands now; each frame by its place in the batch.
func shape(c *Coalescer, out []frame.Frame, pieces int) string {
	var b strings.Builder
	for i := range out {
		switch {
		case out[i].GSO == frame.GSOPiece:
			b.WriteByte('+')
		case i > 0:
			b.WriteByte(' ')
		}
		n := i
		if pieces > 0 {
			n = c.From(i)
		}
		fmt.Fprint(&b, n)
	}
	return b.String()
}

// whole puts a super-frame together.
func whole(f []frame.Frame) frame.Frame {
	w := frame.Frame{Data: bytes.Clone(f[0].Data), Meta: f[0].Meta}
	for i := 1; i < len(f) && f[i].GSO == frame.GSOPiece; i++ {
		w.Data = append(w.Data, f[i].Data...)
	}
	return w
}

func clones(f []frame.Frame) []frame.Frame {
	out := slices.Clone(f)
	for i := range out {
		out[i].Data = exact(f[i].Data)
	}
	return out
}

func TestCoalesce(t *testing.T) {
	const l4 = 34
	at := func(i int, change func(f *frame.Frame)) func([]frame.Frame) {
		return func(f []frame.Frame) { change(&f[i]) }
	}
	each := func(change func(f *frame.Frame)) func([]frame.Frame) {
		return func(f []frame.Frame) {
			for i := range f {
				change(&f[i])
			}
		}
	}
	set := func(i, at int, v ...byte) func([]frame.Frame) {
		return func(f []frame.Frame) { edit(&f[i], at, v...) }
	}
	spoil := func(i, at int) func([]frame.Frame) { return func(f []frame.Frame) { f[i].Data[at] ^= 0x40 } }
	all := func(changes ...func([]frame.Frame)) func([]frame.Frame) {
		return func(f []frame.Frame) {
			for _, c := range changes {
				c(f)
			}
		}
	}
	partialOf := func(f *frame.Frame) {
		f.Data, f.Meta = partial(t, f.Data)
	}
	for _, c := range []struct {
		name   string
		v6     bool
		change func(f []frame.Frame)
		want   string
	}{
		{"as they are", false, nil, "0+1+2+3"},
		{"IPv6", true, nil, "0+1+2+3"},
		{"no PSH at the end", false, set(3, l4+13, tcpACK), "0+1+2+3"},
		{"PSH in the middle", false, set(1, l4+13, tcpACK|tcpPSH), "0+1 2+3"},
		{"PSH in the first", false, set(0, l4+13, tcpACK|tcpPSH), "0 1+2+3"},
		{"FIN", false, set(3, l4+13, tcpACK|tcpFIN), "0+1+2 3"},
		{"SYN", false, set(2, l4+13, tcpACK|0x02), "0+1 2 3"},
		{"RST", false, set(2, l4+13, tcpACK|0x04), "0+1 2 3"},
		{"URG", false, set(2, l4+13, tcpACK|0x20), "0+1 2 3"},
		{"CWR", false, set(2, l4+13, tcpACK|tcpCWR), "0+1 2 3"},
		{"without ACK", false, set(2, l4+13, 0), "0+1 2 3"},
		{"ECE in one", false, set(2, l4+13, tcpACK|tcpECE), "0+1 2 3"},
		{"ECE in all", false, each(func(f *frame.Frame) { edit(f, l4+13, f.Data[l4+13]|tcpECE) }), "0+1+2+3"},
		{"another reserved bit", false, set(2, l4+12, 0x81), "0+1 2 3"},
		{"another acknowledgement", false, set(2, l4+11, 8), "0+1 2 3"},
		{"another window", false, set(2, l4+15, 9), "0+1 2 3"},
		{"an urgent pointer", false, set(2, l4+19, 9), "0+1 2 3"},
		{"another timestamp", false, set(2, l4+24, 9), "0+1 2 3"},
		{"another timestamp from there on", false, all(set(2, l4+24, 9), set(3, l4+24, 9)), "0+1 2+3"},
		{"other options of the same length", false, set(1, l4+20, 1, 1, 1, 1), "0 1 2+3"},
		{"another port", false, set(1, l4+3, 9), "0 1 2+3"},
		{"another source address", false, set(1, 29, 9), "0 1 2+3"},
		{"another source address of IPv6", true, set(1, 37, 9), "0 1 2+3"},
		{"from another MAC", false, set(2, 7, 9), "0+1 2 3"},
		{"to another MAC", false, set(2, 1, 9), "0+1 2 3"},
		{"in disorder", false, func(f []frame.Frame) { f[1], f[2] = f[2], f[1] }, "0 1 2 3"},
		{"twice", false, func(f []frame.Frame) { copy(f[2:], clones(f[1:2])) }, "0+1 2 3"},
		{"a gap", false, func(f []frame.Frame) { f[1] = frame.Frame{Data: udp4(t, 30)} }, "0 1 2+3"},
		{"another type of service", false, set(2, 15, 4), "0+1 2 3"},
		{"congestion experienced by one", false, set(2, 15, 3), "0+1 2 3"},
		{"congestion experienced by all", false, each(func(f *frame.Frame) { edit(f, 15, 3) }), "0+1+2+3"},
		{"congestion experienced by one over IPv6", true, set(2, 15, 0x30), "0+1 2 3"},
		{"another flow label", true, set(2, 17, 9), "0+1 2 3"},
		{"another time to live", false, set(2, 22, 9), "0+1 2 3"},
		{"another hop limit", true, set(2, 21, 9), "0+1 2 3"},
		{"one may be fragmented", false, set(2, 20, 0), "0+1 2 3"},
		{"all may be fragmented, in order", false, each(func(f *frame.Frame) { edit(f, 20, 0) }), "0+1+2+3"},
		{"all may be fragmented, the same number", false, each(func(f *frame.Frame) { edit(f, 18, 0, 9, 0, 0) }), "0 1 2 3"},
		{"none may be fragmented, the same number", false, each(func(f *frame.Frame) { edit(f, 18, 0, 0) }), "0+1+2+3"},
		{"evil", false, set(2, 20, 0xc0), "0+1 2 3"},
		{"a first fragment between", false, set(2, 20, 0x20), "0+1 2 3"},
		{"a later fragment between", false, set(2, 21, 9), "0+1 2 3"},
		{"wrong version", false, set(1, 14, 0x55), "0 1 2+3"},
		{"wrong version of IPv6", true, set(1, 14, 0x50), "0 1 2+3"},
		{"no TCP over IPv6", true, set(1, 20, 44), "0 1 2+3"},
		{"longer than the frame", false, set(1, 16, 0xf0), "0 1 2+3"},
		{"longer than the frame of IPv6", true, set(1, 18, 0xf0), "0 1 2+3"},
		{"shorter than its header", false, set(1, 16, 0, 30), "0 1 2+3"},
		{"header length 16", false, set(1, l4+12, 0x40), "0 1 2+3"},
		{"header beyond the packet", false, all(func(f []frame.Frame) { f[1].Data = f[1].Data[:70] }, set(1, 16, 0, 56), set(1, l4+12, 0xf0)), "0 1 2+3"},
		{"a spoilt payload", false, spoil(2, 90), "0+1 2 3"},
		{"a spoilt payload of IPv6", true, spoil(2, 90), "0+1 2 3"},
		{"a spoilt payload in the first", false, spoil(0, 90), "0 1+2+3"},
		{"a spoilt payload in the last", false, spoil(3, 90), "0+1+2 3"},
		{"a spoilt checksum", false, spoil(1, l4+16), "0 1 2+3"},
		{"a spoilt IPv4 checksum", false, spoil(1, 24), "0 1 2+3"},
		{"spoilt, but vouched for", false, all(spoil(1, 90), at(1, func(f *frame.Frame) { f.Flags = frame.ChecksumVerified })), "0+1+2+3"},
		{"unfinished", false, each(partialOf), "0+1+2+3"},
		{"one unfinished", true, at(2, partialOf), "0+1+2+3"},
		{"unfinished elsewhere", false, at(1, func(f *frame.Frame) { partialOf(f); f.CsumOffset = 18 }), "0 1 2+3"},
		{"a spoilt IPv4 checksum, unfinished", false, all(at(1, partialOf), spoil(1, 24)), "0 1 2+3"},
		{"a super-frame between", false, at(1, func(f *frame.Frame) { f.GSO, f.GSOSize = frame.GSOTCPv4, 50 }), "0 1 2+3"},
		{"padded", false, at(1, func(f *frame.Frame) { f.Data = append(f.Data, 0) }), "0 1 2+3"},
		{"a shorter one", false, at(1, func(f *frame.Frame) { cut(f, 1) }), "0+1 2+3"},
		{"a longer one", false, at(0, func(f *frame.Frame) { cut(f, 1) }), "0 1+2+3"},
		{"no payload", false, at(1, func(f *frame.Frame) { cut(f, 100) }), "0 1 2+3"},
		{"a VLAN tag", false, at(1, func(f *frame.Frame) { f.Data = tagged(f.Data, 0x81000064) }), "0 1 2+3"},
		{"something else between", false, at(1, func(f *frame.Frame) { f.Data = arpFrame(t, 1, ip4A, ip4B) }), "0 1 2+3"},
		{"nothing between", false, at(1, func(f *frame.Frame) { f.Data = nil }), "0 1 2+3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := stream(t, c.v6, 4, 100)
			if c.change != nil {
				c.change(f)
			}
			var j Coalescer
			before := clones(f)
			out, pieces := j.Coalesce(f, 65550, gathers)
			if got := shape(&j, out, pieces); got != c.want {
				t.Fatalf("%s, want %s", got, c.want)
			}
			checkJoined(t, &j, before, out, pieces)
		})
	}
}

// cut takes bytes off the end of an IPv4 segment.
func cut(f *frame.Frame, n int) {
	f.Data = f.Data[:len(f.Data)-n]
	binary.BigEndian.PutUint16(f.Data[16:], uint16(len(f.Data)-14))
	rightSums(f.Data)
}

// checkJoined: what was not joined is as it was; what was is the same again once it
// is cut, as far as anybody may care.
func checkJoined(t testing.TB, c *Coalescer, before, out []frame.Frame, pieces int) {
	t.Helper()
	if len(out) != len(before) {
		t.Fatalf("%d frames, of %d", len(out), len(before))
	}
	from := func(i int) int {
		if pieces == 0 {
			return i
		}
		return c.From(i)
	}
	for i := 0; i < len(out); {
		n := 1
		for i+n < len(out) && out[i+n].GSO == frame.GSOPiece {
			n++
		}
		was := before[from(i)]
		if n == 1 {
			if !bytes.Equal(out[i].Data, was.Data) || out[i].Meta != was.Meta {
				t.Fatalf("frame %d was changed:\n%x %+v, was\n%x %+v", from(i), out[i].Data, out[i].Meta, was.Data, was.Meta)
			}
			i++
			continue
		}
		super := whole(out[i:])
		var s Segmenter
		if !PartialChecksum(super.Data, &super.Meta) || !s.Init(super.Data, &super.Meta) || s.Count() != n || s.HeaderLen() != int(super.HdrLen) {
			t.Fatalf("a super-frame of %d pieces is none: %d, %+v", n, s.Count(), super.Meta)
		}
		for k := range n {
			seg := make([]byte, s.MaxLen())
			seg = seg[:s.At(seg, k)]
			was := before[from(i+k)]
			if k > 0 && (len(out[i+k].Data)+int(out[i+k].HdrLen) != len(was.Data)) {
				t.Errorf("piece %d forgot how long it was", k)
			}
			sameSegment(t, seg, was)
		}
		i += n
	}
}

// sameSegment compares a segment with the one that it was before. One that may not
// be fragmented may bear another number; one that was vouched for has got its
// checksum.
func sameSegment(t testing.TB, got []byte, was frame.Frame) {
	t.Helper()
	want := bytes.Clone(was.Data)
	if want[12] == 0x08 && want[20]&0x40 != 0 {
		copy(want[18:20], got[18:20])
	}
	if want[12] == 0x08 || was.Flags != 0 {
		rightSums(want)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("a segment came out as\n%x, was\n%x", got, want)
	}
}

// TestCoalesceFlows mixes connections: each keeps its order, and a super-frame
// stands where its first segment stood.
func TestCoalesceFlows(t *testing.T) {
	a, b, c := streamOf(t, false, 400, 100, 1), streamOf(t, true, 400, 100, 1), streamOf(t, false, 400, 100, 2)
	ack := streamOf(t, false, 100, 100, 1)[0]
	cut(&ack, 100)
	for _, tt := range []struct {
		name  string
		batch []frame.Frame
		want  string
	}{
		{"in turn", []frame.Frame{a[0], b[0], a[1], c[0], b[1], c[1], a[2]}, "0+2+6 1+4 3+5"},
		{"an acknowledgement between", []frame.Frame{a[0], b[0], a[1], ack, b[1], a[2], a[3]}, "0+2 1+4 3 5+6"},
		{"one frame", a[:1], "0"},
		{"none", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var j Coalescer
			before := clones(tt.batch)
			out, pieces := j.Coalesce(clones(tt.batch), 65550, gathers)
			if got := shape(&j, out, pieces); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			checkJoined(t, &j, before, out, pieces)
		})
	}
}

func placeOf(t testing.TB, f frame.Frame) uint32 {
	var s segment
	if s.look(&f, gathers) < looksAlone {
		t.Fatal("no segment")
	}
	return s.place(f.Data)
}

// TestCoalesceManyFlows: connections that share a place are not put in disorder.
func TestCoalesceManyFlows(t *testing.T) {
	var batch []frame.Frame
	streams := make([][]frame.Frame, 16)
	var places [maxFlows]int
	for i := range streams {
		port := 1 + i
		for i >= 8 { // half of them share a place with another
			if streams[i] = streamOf(t, i%2 == 0, 400, 100, layers.TCPPort(port)); places[placeOf(t, streams[i][0])] > 0 {
				break
			}
			port += 16
		}
		streams[i] = streamOf(t, i%2 == 0, 400, 100, layers.TCPPort(port))
		places[placeOf(t, streams[i][0])]++
	}
	for k := range 4 {
		for i := range streams {
			batch = append(batch, streams[i][k])
		}
	}
	var j Coalescer
	before := clones(batch)
	out, pieces := j.Coalesce(batch, 65550, gathers)
	if pieces < 8 {
		t.Errorf("%d pieces", pieces)
	}
	checkJoined(t, &j, before, out, pieces)
	last := make([]int, len(streams))
	for i := range out {
		n := i
		if pieces > 0 {
			n = j.From(i)
		}
		if flow := n % len(streams); n < last[flow] {
			t.Errorf("frame %d stands behind %d", n, last[flow])
		} else {
			last[flow] = n
		}
	}
}

// TestCoalesceLimits: no super-frame is larger than the lane or an IP packet allows,
// and none is of a kind that the lane does not take.
func TestCoalesceLimits(t *testing.T) {
	const size = 66 + 1448
	for _, c := range []struct {
		name string
		v6   bool
		n    int
		size int
		max  int
		can  frame.Offload
		want int // pieces
	}{
		{"64 KiB", false, 60, 1400, 65550, gathers, 58},
		{"64 KiB of IPv6", true, 60, 1400, 65550, gathers, 58},
		{"a small lane", false, 6, 1448, size + 2*1448, gathers, 4},
		{"a smaller one", false, 6, 1448, size + 2*1448 - 1, gathers, 3},
		{"a lane that gathers nothing", false, 6, 1448, 65550, gathers &^ frame.OffloadGather, 0},
		{"a lane without TCPv4", false, 6, 1448, 65550, gathers &^ frame.OffloadTCPv4, 0},
		{"a lane without TCPv6", true, 6, 1448, 65550, gathers &^ frame.OffloadTCPv6, 0},
		{"TCPv6 on a lane without TCPv4", true, 6, 1448, 65550, gathers &^ frame.OffloadTCPv4, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := oneByOne(t, c.v6, c.n, c.size)
			before := clones(f)
			var j Coalescer
			out, pieces := j.Coalesce(f, c.max, c.can)
			if pieces != c.want {
				t.Errorf("%d pieces, want %d", pieces, c.want)
			}
			checkJoined(t, &j, before, out, pieces)
			for i := range out {
				if w := whole(out[i:]); out[i].GSO != frame.GSOPiece && len(w.Data) > c.max {
					t.Errorf("a super-frame of %d bytes", len(w.Data))
				}
			}
		})
	}
	var j Coalescer
	many := append(oneByOne(t, false, 60, 10), oneByOne(t, false, 60, 10)...)
	if out, pieces := j.Coalesce(many, 65550, gathers); pieces != 0 || &out[0] != &many[0] {
		t.Error("a batch that is too large was looked at")
	}
}

// oneByOne is a stream that may be longer than a super-frame.
func oneByOne(t testing.TB, v6 bool, n, size int) []frame.Frame {
	t.Helper()
	out := make([]frame.Frame, n)
	l4 := 34
	if v6 {
		l4 = 54
	}
	first := streamOf(t, v6, 2*size, size, 40000)[0]
	for i := range out {
		out[i].Data = exact(first.Data)
		seq := word(first.Data, l4+4) + uint32(i*size)
		edit(&out[i], l4+4, byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq))
	}
	return out
}

func TestCoalesceNoAllocs(t *testing.T) {
	f := oneByOne(t, true, 40, 1000)
	head := bytes.Clone(f[0].Data) // changed each time
	var j Coalescer
	if n := testing.AllocsPerRun(100, func() {
		copy(f[0].Data, head)
		if _, pieces := j.Coalesce(f, 65550, gathers); pieces != 39 {
			t.Errorf("%d pieces", pieces)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// coalesceRandom mixes some streams, changes some bytes with and without making the
// checksums right, and requires that no connection is put in disorder and that
// nothing is changed that a receiver could see.
func coalesceRandom(t testing.TB, seed uint64, at []byte) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var batch []frame.Frame
	next := make([][]frame.Frame, 1+rnd.IntN(4))
	for i := range next {
		next[i] = streamOf(t, rnd.IntN(2) == 0, 1+rnd.IntN(3000), 64+rnd.IntN(200), layers.TCPPort(1+rnd.IntN(2)))
	}
	for len(batch) < MaxBatch-4 {
		i := rnd.IntN(len(next))
		n := min(1+rnd.IntN(6), len(next[i]), MaxBatch-len(batch))
		batch = append(batch, next[i][:n]...)
		if next[i] = next[i][n:]; len(next[i]) == 0 {
			next[i] = streamOf(t, rnd.IntN(2) == 0, 1+rnd.IntN(3000), 64+rnd.IntN(200), layers.TCPPort(1+rnd.IntN(2)))
		}
	}
	for i := 0; i+2 < len(at); i += 3 {
		f := &batch[int(at[i])%len(batch)]
		if n := int(at[i+1]); n < len(f.Data) {
			f.Data[n] = at[i+2]
		}
		if at[i]&0x40 != 0 && len(f.Data) > 74 {
			rightSums(f.Data)
		}
	}
	var j Coalescer
	before := clones(batch)
	out, pieces := j.Coalesce(batch, 1000+rnd.IntN(65000), gathers)
	checkJoined(t, &j, before, out, pieces)
	checkOrder(t, &j, before, len(out), pieces)
}

// checkOrder requires that frames with the same addresses and ports stand in the
// order in which they came.
func checkOrder(t testing.TB, j *Coalescer, before []frame.Frame, n, pieces int) {
	last := map[string]int{}
	for i := 0; i < n && pieces > 0; i++ {
		var h Header
		from := j.From(i)
		data := before[from].Data
		if !Parse(data, &h) || h.Proto != ProtoTCP || h.L4 == 0 || int(h.L4)+4 > len(data) {
			continue
		}
		key := fmt.Sprint(h.Kind, h.SrcIP4, h.DstIP4, h.SrcIP6, h.DstIP6, data[h.L4:h.L4+4])
		if prev, ok := last[key]; ok && from < prev {
			t.Fatalf("frame %d stands behind %d", from, prev)
		}
		last[key] = from
	}
}

func FuzzCoalesce(f *testing.F) {
	f.Add(uint64(1), []byte{})
	f.Add(uint64(2), []byte{3, 46, 0x50, 0x45, 13, 2, 7, 24, 9})
	f.Add(uint64(3), []byte{0, 20, 0x20, 1, 14, 0x46, 2, 16, 0, 0x43, 17, 4})
	f.Fuzz(func(t *testing.T, seed uint64, at []byte) { coalesceRandom(t, seed, at) })
}

// TestCoalesceRandom is a fixed share of what the fuzzer does.
func TestCoalesceRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for i := range 500 {
		at := make([]byte, 3*rnd.IntN(6))
		for k := range at {
			at[k] = byte(rnd.Uint32())
			if k%3 == 1 {
				at[k] %= 90
			}
		}
		coalesceRandom(t, uint64(i), at)
	}
}
