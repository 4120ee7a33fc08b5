package demux

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
)

var benchNIC = [6]byte{0x02, 0, 0, 0, 0, 1}

// benchSwitch makes a switch with one worker and ports of an IP identity each,
// every one with a sink of slots of 128 bytes.
func benchSwitch(b testing.TB, ports, slots int) (*Switch, *worker, []*demuxtest.Sink) {
	b.Helper()
	s, err := New(Config{Workers: 1, MaxPorts: ports})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.SetHost(HostConfig{NICMAC: benchNIC}); err != nil {
		b.Fatal(err)
	}
	cfgs := make([]PortConfig, ports)
	sinks := make([]*demuxtest.Sink, ports)
	for i := range cfgs {
		sinks[i] = demuxtest.NewSink(slots, 128)
		cfgs[i] = PortConfig{Name: fmt.Sprint(i), Addrs: []netip.Prefix{netip.PrefixFrom(benchAddr(i), 32)}, Lanes: []Lane{sinks[i]}}
	}
	if _, err := s.Attach(cfgs...); err != nil {
		b.Fatal(err)
	}
	return s, s.workers[0], sinks
}

func benchAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// benchFrame is UDP over IPv4 to port i.
func benchFrame(i, size int) []byte {
	f := make([]byte, size)
	copy(f, benchNIC[:])
	copy(f[6:], []byte{2, 0, 0, 0, 9, 9})
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	f[14], f[22], f[23] = 0x45, 64, 17
	binary.BigEndian.PutUint16(f[16:], uint16(size-14))
	copy(f[26:], []byte{192, 0, 2, 1})
	a := benchAddr(i).As4()
	copy(f[30:], a[:])
	return f
}

// scattered visits the ports as uncorrelated senders would.
func scattered(ports, n int) []int {
	out, x := make([]int, n), uint64(1)
	for i := range out {
		x = x*6364136223846793005 + 1442695040888963407
		out[i] = int(x>>33) % ports
	}
	return out
}

func benchSource(ports, size int) *demuxtest.Source {
	n := 4096
	src := &demuxtest.Source{}
	mem := make([]byte, n*2048)
	for i, p := range scattered(ports, n) {
		buf := mem[i*2048 : i*2048+size]
		copy(buf, benchFrame(p, size))
		src.Frames = append(src.Frames, buf)
	}
	return src
}

// BenchmarkInbound is classify + group + copy per frame of 64 bytes.
func BenchmarkInbound(b *testing.B) {
	for _, ports := range []int{1, 100, 1000, 10000} {
		b.Run(fmt.Sprintf("ports=%d", ports), func(b *testing.B) {
			_, w, _ := benchSwitch(b, ports, 16)
			src := benchSource(ports, 64)
			w.begins([]Link{src}, demuxtest.NewWaiter())
			w.active = w.active[:0]
			b.ResetTimer()
			src.Left = b.N
			for src.Left > 0 {
				w.breath()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/frame")
		})
	}
}

// BenchmarkBare is the floor: the same frames received and copied to one place.
func BenchmarkBare(b *testing.B) {
	src := benchSource(1, 64)
	sink := demuxtest.NewSink(16, 128)
	var f grouper
	src.Left = b.N
	for src.Left > 0 {
		n := src.Recv(f.sorted[:])
		sink.Deliver(f.sorted[:n])
		src.Release()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/frame")
}

// BenchmarkOutbound is collect + check + resolve + commit per frame of 64
// bytes, each port sending bursts of four.
func BenchmarkOutbound(b *testing.B) {
	for _, ports := range []int{1, 100, 1000, 10000} {
		b.Run(fmt.Sprintf("ports=%d", ports), func(b *testing.B) { benchSend(b, ports, peerMAC, func(int) netip.Addr { return far4 }) })
	}
}

// BenchmarkLocal is the same from each port to the next.
func BenchmarkLocal(b *testing.B) {
	for _, ports := range []int{2, 1000} {
		b.Run(fmt.Sprintf("ports=%d", ports), func(b *testing.B) {
			benchSend(b, ports, benchNIC, func(i int) netip.Addr { return benchAddr((i + 1) % ports) })
		})
	}
}

func benchSend(b *testing.B, ports int, dst mac, to func(from int) netip.Addr) {
	_, w, sinks := benchSwitch(b, ports, 16)
	for i, s := range sinks {
		s.Frame, s.Burst = udp(benchNIC, dst, benchAddr(i), to(i), 18), 4
	}
	w.begins([]Link{&demuxtest.Source{}}, demuxtest.NewWaiter())
	b.ResetTimer()
	n := 0
	for n < b.N {
		n += w.breath()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/frame")
	if s := w.sw.Stats().Ports; s.Dropped() != 0 {
		b.Errorf("frames were dropped: %+v", s)
	}
}

// BenchmarkAttach is one port more beside many.
func BenchmarkAttach(b *testing.B) {
	s, _, _ := benchSwitch(b, 10000, 1)
	s.cfg.MaxPorts++
	cfg := PortConfig{Addrs: []netip.Prefix{pfx("172.16.0.1/32"), pfx("2001:db8::1/128")}, MAC: macM, Lanes: []Lane{demuxtest.NewSink(1, 64)}}
	b.ReportAllocs()
	for b.Loop() {
		ids, err := s.Attach(cfg)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Detach(ids...); err != nil {
			b.Fatal(err)
		}
	}
}
