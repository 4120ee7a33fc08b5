package bench

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
	"github.com/xdpdemux/xdpdemux/queues/inproc"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// containersNet holds the containers' addresses, of which the lower half counts.
const containersNet = "10.9.0.0/16"

// BenchmarkWire compares, on one veth NIC, what a worker costs for each frame
// from the wire: nothing but receiving it and giving it back (bare), and the
// whole way into one of so many containers' queues. The generator and the
// kernel's receive work share one processor, the worker has the other. The
// rate is limited by the generator as soon as the worker is faster; what the
// worker itself costs is its processor time per frame.
func BenchmarkWire(b *testing.B) {
	b.Run("bare", func(b *testing.B) { benchmarkWire(b, 1000, bare) })
	for _, n := range []int{1, 100, 1000, 10000} {
		b.Run(fmt.Sprintf("inproc-%d", n), func(b *testing.B) { benchmarkWire(b, n, throughSwitch) })
	}
}

// receiver takes frames from s until ctx ends and counts those that arrived.
type receiver func(ctx context.Context, b *testing.B, s *xdp.Socket, nic [6]byte, containers int, arrived *atomic.Int64) error

func benchmarkWire(b *testing.B, containers int, receive receiver) {
	rig := nictest.New(b, nictest.Config{})
	mac := rig.Host.MAC(b, rig.NIC)
	prog, socket := attach(b, rig, mac, containers)
	defer prog.Close()
	defer socket.Close()
	gen := newGenerator(b, rig, testFrame(b, rig.Wire.MAC(b, rig.WireNIC), mac), containers)

	var arrived atomic.Int64
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan time.Duration, 1)
	go func() {
		done <- onOneThread(func() error { return receive(ctx, b, socket, mac, containers, &arrived) })
	}()
	b.ResetTimer()
	began := time.Now()
	if err := onCPU(0, func() error { return gen.send(b.N) }); err != nil {
		b.Fatal(err)
	}
	elapsed := time.Since(began)
	b.StopTimer()
	stop()
	cpu := <-done
	n := max(arrived.Load(), 1)
	b.ReportMetric(float64(n)/elapsed.Seconds()/1e6, "Mpps")
	b.ReportMetric(float64(n)/float64(b.N), "delivered/sent")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(n), "cpu-ns/frame")
}

// attach steers the containers' net into one socket.
func attach(b *testing.B, rig *nictest.Rig, mac [6]byte, containers int) (prog *xdp.Program, socket *xdp.Socket) {
	b.Helper()
	index := rig.Host.Index(b, rig.NIC)
	prog, err := xdp.LoadProgram(xdp.ProgramConfig{})
	if err != nil {
		b.Fatal(err)
	}
	err = rig.Host.Do(func() (err error) {
		if _, err = prog.Attach(index, xdp.ModeNative); err != nil {
			return err
		}
		socket, err = xdp.OpenSocket(xdp.SocketConfig{IfIndex: index, Frames: 4096})
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	rules := make([]xdp.Rule, containers)
	for i := range rules {
		rules[i] = xdp.Rule{Kind: xdp.RuleIPIdentity, Prefix: netip.PrefixFrom(address(i), 32), Slot: uint32(i + 2), Gen: 1}
	}
	for _, err := range []error{prog.SetNIC(mac), prog.Insert(rules...), prog.SetSocket(0, socket)} {
		if err != nil {
			b.Fatal(err)
		}
	}
	return prog, socket
}

// address is container i's.
func address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 9, byte((i + 1) >> 8), byte(i + 1)})
}

// bare receives and gives back, and looks at nothing.
func bare(ctx context.Context, _ *testing.B, s *xdp.Socket, _ [6]byte, _ int, arrived *atomic.Int64) error {
	f := make([]frame.Frame, 64)
	for ctx.Err() == nil {
		n := s.Recv(f)
		s.Release()
		arrived.Store(arrived.Load() + int64(n))
	}
	return nil
}

// throughSwitch delivers into in-process queues whose programs read every byte
// of the header.
func throughSwitch(ctx context.Context, b *testing.B, s *xdp.Socket, nic [6]byte, containers int, arrived *atomic.Int64) error {
	sw, err := demux.New(demux.Config{Workers: 1})
	if err != nil {
		return err
	}
	if err := sw.SetHost(demux.HostConfig{NICMAC: nic}); err != nil {
		return err
	}
	ports := make([]demux.PortConfig, containers)
	for i := range ports {
		q, err := inproc.Open(inproc.Config{Slots: 64, Receive: func(_ int, f []frame.Frame) int {
			arrived.Store(arrived.Load() + int64(len(f)))
			return len(f)
		}})
		if err != nil {
			return err
		}
		ports[i] = demux.PortConfig{Name: fmt.Sprint(i), Addrs: []netip.Prefix{netip.PrefixFrom(address(i), 32)}, Lanes: []demux.Lane{q.Lane(0)}}
	}
	if _, err := sw.Attach(ports...); err != nil {
		return err
	}
	return sw.Run(ctx, 0, []demux.Link{s}, spin{})
}

// spin is a Waiter that never sleeps, as the bare loop never does.
type spin struct{}

func (spin) Wait([]uint32, time.Duration) int { return 0 }
func (spin) Wake()                            {}

// onOneThread runs fn on the second processor and returns the processor time
// that it took.
func onOneThread(fn func() error) (cpu time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = onCPU(1, func() error {
		before := threadTime()
		err := fn()
		cpu = threadTime() - before
		return err
	})
	return cpu
}

func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// onCPU runs fn with the calling thread on one processor, if there is such.
func onCPU(cpu int, fn func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	one.Set(cpu)
	if unix.SchedSetaffinity(0, &one) == nil {
		defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	}
	return fn()
}

// testFrame is the smallest UDP frame to the first container.
func testFrame(b *testing.B, src, dst [6]byte) []byte {
	b.Helper()
	udp := []byte{1000 / 256, 1000 % 256, 2000 / 256, 2000 % 256, 0, 8 + 18, 0, 0} // a checksum of 0 is none (RFC 768)
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Id: 0xfffe, Protocol: layers.IPProtocolUDP,
		SrcIP: []byte{10, 200, 0, 1}, DstIP: address(0).AsSlice()}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:], EthernetType: layers.EthernetTypeIPv4}, ip,
		gopacket.Payload(append(udp, make([]byte, 18)...)))
	if err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}
