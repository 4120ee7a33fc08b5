package packet

import (
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// perFrame runs f, which handles n frames, and reports the time of one.
func perFrame(b *testing.B, n int, f func()) {
	b.ReportAllocs()
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/frame")
}

func BenchmarkParse(b *testing.B) {
	frames := map[string][]byte{
		"udp4": udp4(b, 18), "udp6": udp6(b, 18), "tagged4": tagged(udp4(b, 18), 0x81000064), "arp": arpFrame(b, 1, ip4A, ip4B),
		"solicit": solicitFrame().build(), "mld2": mld2Frame(solNodeB).build(),
	}
	for name, data := range frames {
		var h Header
		b.Run("fast/"+name, func(b *testing.B) { perFrame(b, 1, func() { ParseFast(data, &h) }) })
		b.Run("full/"+name, func(b *testing.B) { perFrame(b, 1, func() { Parse(data, &h) }) })
	}
}

func BenchmarkSum(b *testing.B) {
	for name, n := range map[string]int{"20": 20, "64": 64, "1460": 1460, "65536": 65536} {
		data := []byte(counted(n))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(n))
			perFrame(b, 1, func() { Sum(data, 0) })
		})
	}
}

func BenchmarkCompleteChecksum(b *testing.B) {
	for name, data := range map[string][]byte{"tcp4/1448": tcp4(b, 1448), "tcp6/1428": tcp6(b, 1428), "udp4/18": udp4(b, 18)} {
		data, m := partial(b, data)
		b.Run(name, func(b *testing.B) {
			perFrame(b, 1, func() { again := m; CompleteChecksum(data, &again) })
		})
	}
}

func BenchmarkSegment(b *testing.B) {
	tests := map[string]struct {
		data []byte
		m    frame.Meta
	}{
		"tcp4": {tcp4(b, 60000), gso(frame.GSOTCPv4, 1448)},
		"tcp6": {tcp6(b, 60000), gso(frame.GSOTCPv6, 1428)},
		"udp4": {udp4(b, 60000), gso(frame.GSOUDP, 1472)},
	}
	for name, tt := range tests {
		var s Segmenter
		dst := make([]byte, 2048)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(tt.data)))
			perFrame(b, SegmentCount(tt.data, &tt.m), func() {
				s.Init(tt.data, &tt.m)
				for i := range s.Count() {
					s.At(dst, i)
				}
			})
		})
	}
}

// BenchmarkCoalesce joins 44 segments of 1448 bytes, whose checksums it verifies;
// or finds in as many connections nothing to join.
func BenchmarkCoalesce(b *testing.B) {
	one := oneByOne(b, false, 44, 1448)
	head := exact(one[0].Data)
	many := oneByOne(b, false, 44, 1448)
	for i := range many {
		edit(&many[i], 34, 7, byte(i))
	}
	var c Coalescer
	b.Run("one flow", func(b *testing.B) {
		perFrame(b, len(one), func() {
			copy(one[0].Data, head)
			c.Coalesce(one, 65550, gathers)
		})
	})
	b.Run("a flow each", func(b *testing.B) { perFrame(b, len(many), func() { c.Coalesce(many, 65550, gathers) }) })
}

func BenchmarkAnswer(b *testing.B) {
	var arp, ns, big Header
	data := udp4(b, 1472)
	if !Parse(arpFrame(b, 1, ip4A, ip4B), &arp) || !Parse(solicitFrame().build(), &ns) || !Parse(data, &big) {
		b.Fatal("malformed")
	}
	dst := make([]byte, 2048)
	b.Run("arp", func(b *testing.B) { perFrame(b, 1, func() { BuildARPReply(dst, &arp, macNIC, 1) }) })
	b.Run("na", func(b *testing.B) { perFrame(b, 1, func() { BuildNA(dst, &ns, macNIC, false) }) })
	b.Run("fragneeded", func(b *testing.B) { perFrame(b, 1, func() { BuildFragNeeded(dst, data, &big, macNIC, 1400) }) })
}
