package xdp

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// treadmill is a kernel that costs next to nothing: it turns filled chunks into
// received frames and sent ones into completed ones, and looks at no byte.
type treadmill struct {
	m    memory
	size uint32
}

// deliver turns up to n filled chunks into frames.
func (k *treadmill) deliver(n uint32) {
	from, to := *k.m.fill.consumer, *k.m.rx.producer
	n = min(n, atomic.LoadUint32(k.m.fill.producer)-from)
	for i := range n {
		addr := k.m.fill.entries[(from+i)&uint32(len(k.m.fill.entries)-1)]
		k.m.rx.entries[(to+i)&uint32(len(k.m.rx.entries)-1)] = descriptor{Addr: addr + 256, Len: k.size}
	}
	atomic.StoreUint32(k.m.fill.consumer, from+n)
	atomic.StoreUint32(k.m.rx.producer, to+n)
}

func (k *treadmill) receive() unix.Errno { return 0 }

// transmit completes all that was sent.
func (k *treadmill) transmit() unix.Errno {
	from, to := *k.m.tx.consumer, *k.m.comp.producer
	n := atomic.LoadUint32(k.m.tx.producer) - from
	for i := range n {
		addr := k.m.tx.entries[(from+i)&uint32(len(k.m.tx.entries)-1)].Addr
		k.m.comp.entries[(to+i)&uint32(len(k.m.comp.entries)-1)] = addr
	}
	atomic.StoreUint32(k.m.tx.consumer, from+n)
	atomic.StoreUint32(k.m.comp.producer, to+n)
	return 0
}

func newTreadmill(t testing.TB, c SocketConfig, size uint32) (*Socket, *treadmill) {
	m, _ := newFakeMemory(t, c, true)
	k := &treadmill{m, size}
	s := newSocket(m, k)
	s.prime()
	return s, k
}

// breath receives a batch and sends one of that size.
func breath(s *Socket, k *treadmill, f []frame.Frame, size int) {
	k.deliver(uint32(len(f)))
	s.Recv(f)
	s.Release()
	s.Commit(f[:s.Reserve(f, size)])
}

func TestNothingAllocates(t *testing.T) {
	for _, size := range []int{64, 1500, 9000} {
		s, k := newTreadmill(t, SocketConfig{Frames: 1024}, 64)
		f := make([]frame.Frame, 64)
		breaths := 0
		allocs := testing.AllocsPerRun(1000, func() {
			breath(s, k, f, size)
			breaths++
		})
		if allocs != 0 {
			t.Errorf("size %d: a breath allocates %v times", size, allocs)
		}
		if got := s.state.Received; got != uint64(64*breaths) || s.state.Sent == 0 {
			t.Fatalf("size %d: %d received and %d sent in %d breaths", size, got, s.state.Sent, breaths)
		}
	}
}

func TestChainsAllocateNothing(t *testing.T) {
	s, k := newFake(t, SocketConfig{Frames: 1024})
	f := make([]frame.Frame, 8)
	data := numbered(1, 9000)
	allocs := testing.AllocsPerRun(100, func() {
		k.receiveFrame(data)
		if s.Recv(f) != 1 {
			t.Fatal("no frame")
		}
		s.Release()
	})
	if allocs != 0 {
		t.Errorf("a chain allocates %v times", allocs)
	}
}

func perFrame(b *testing.B, frames int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(frames), "ns/frame")
}

// The treadmill's own cost is in these numbers: about as much again.

func BenchmarkRecvRelease(b *testing.B) {
	for _, batch := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			s, k := newTreadmill(b, SocketConfig{}, 64)
			f := make([]frame.Frame, batch)
			frames := 0
			b.ReportAllocs()
			for b.Loop() {
				k.deliver(uint32(batch))
				frames += s.Recv(f)
				s.Release()
			}
			perFrame(b, frames)
		})
	}
}

func BenchmarkReserveCommit(b *testing.B) {
	for _, batch := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			s, _ := newTreadmill(b, SocketConfig{}, 64)
			f := make([]frame.Frame, batch)
			frames := 0
			b.ReportAllocs()
			for b.Loop() {
				n := s.Reserve(f, 64)
				s.Commit(f[:n])
				frames += n
			}
			perFrame(b, frames)
		})
	}
}

// What a visit of a lane that has nothing costs the link.
func BenchmarkReserveCommitNothing(b *testing.B) {
	s, _ := newTreadmill(b, SocketConfig{}, 64)
	f := make([]frame.Frame, 64)
	for b.Loop() {
		s.Reserve(f, 1518)
		s.Commit(nil)
	}
}

func BenchmarkRecvNothing(b *testing.B) {
	s, _ := newTreadmill(b, SocketConfig{}, 64)
	f := make([]frame.Frame, 64)
	for b.Loop() {
		s.Recv(f)
	}
}

func BenchmarkReserveCommitJumbo(b *testing.B) {
	s, _ := newTreadmill(b, SocketConfig{FrameSize: 4096}, 64)
	f := make([]frame.Frame, 64)
	frames := 0
	b.ReportAllocs()
	for b.Loop() {
		n := s.Reserve(f, 9014)
		s.Commit(f[:n])
		frames += n
	}
	perFrame(b, frames)
}

// generate has the kernel itself put copies of a frame on the wire, two million a
// second or so, until stopped.
func (r *rig) generate(data []byte) (stop func()) {
	r.t.Helper()
	redirect, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R1, int32(r.peer)), asm.Mov.Imm(asm.R2, 0),
			asm.FnRedirect.Call(), asm.Return(),
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	var end atomic.Bool
	done := make(chan error)
	go func() {
		defer close(done)
		defer redirect.Close()
		runtime.LockOSThread() // not unlocked: the thread is in the wire's namespace
		if err := netns.Set(r.wireNS); err != nil {
			done <- err
			return
		}
		for !end.Load() {
			if _, err := redirect.Run(&ebpf.RunOptions{Data: data, Repeat: 1 << 20, BatchSize: 64, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES}); err != nil {
				done <- err
				return
			}
		}
	}()
	return func() {
		end.Store(true)
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
}

// Through a veth, with the kernel's share on another processor: a worker that
// only receives and gives back.
func BenchmarkVethReceive(b *testing.B) {
	r := newRig(b, rigConfig{})
	p := r.program(ModeNative, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
	s := r.socket(p, SocketConfig{})
	defer r.generate(udp4(r.mac, "10.0.0.2"))()
	f := make([]frame.Frame, 64)
	start, frames := time.Now(), 0
	for b.Loop() {
		for want := frames + 10000; frames < want; frames += s.Recv(f) {
			s.Release()
		}
	}
	b.ReportMetric(float64(frames)/time.Since(start).Seconds()/1e6, "Mframes/s")
}

func BenchmarkVethSend(b *testing.B) {
	r := newRig(b, rigConfig{})
	s := r.socket(nil, SocketConfig{})
	f := make([]frame.Frame, 64)
	frames := 0
	for b.Loop() {
		n := s.Reserve(f, 60)
		for i := range f[:n] {
			copy(f[i].Data, udp4(broadcast, "10.0.0.1"))
		}
		s.Commit(f[:n])
		frames += n
	}
	perFrame(b, frames)
}
