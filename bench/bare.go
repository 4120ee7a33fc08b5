package main

import (
	"net/netip"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// The limits: what is possible at all when nobody is delivered to.
const (
	nameDrop = "xdp-drop"
	nameBare = "bare"
)

func bareContenders() []contender {
	return []contender{
		{name: nameDrop, about: "a program that counts and drops: the rate of the generator with the kernel's receive work", open: openDrop},
		{name: nameBare, about: "AF_XDP on our rings, one spinning loop that receives and gives back, looking at nothing", open: openBare},
	}
}

// openDrop attaches a program that counts and drops every frame.
func openDrop(b *bed, c *testCase) *stage {
	s := newStage(b, c, false)
	s.count = countAndDrop(b, s.rig.Host.Do, s.rig.Host.Index(b, s.rig.NIC))
	return s
}

// dropIPv4 counts and drops IPv4, which is what cases send; what the kernels of
// both ends say to each other in IPv6 is passed.
func dropIPv4(counts int) asm.Instructions {
	const etherType = 12
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, ethLen),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R4, asm.R2, etherType, asm.Half),
		asm.HostTo(asm.BE, asm.R4, asm.Half),
		asm.JNE.Imm(asm.R4, 0x0800, "pass"),
		asm.LoadMapValue(asm.R1, counts, 0),
		asm.Mov.Imm(asm.R2, 1),
		asm.StoreXAdd(asm.R1, asm.R2, asm.DWord), // each end of a veth may have several processors
		asm.Mov.Imm(asm.R0, xdpDrop),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"),
		asm.Return(),
	}
}

// countAndDrop puts such a program on a device, and returns what reads its
// counter.
func countAndDrop(b *bed, inside func(func() error) error, ifindex int) func() (arrivals, error) {
	counts := oneValue(b, 8)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: dropIPv4(counts.FD())})
	b.check(err)
	b.Cleanup(func() { prog.Close() })
	b.check(inside(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: ifindex, Flags: link.XDPDriverMode})
		if err == nil {
			b.Cleanup(func() { l.Close() })
		}
		return err
	}))
	return func() (a arrivals, err error) { return a, counts.Lookup(uint32(0), &a.frames) }
}

// openBare receives and gives back.
func openBare(b *bed, c *testCase) *stage {
	s := newStage(b, c, false)
	socket := attachSocket(b, s)
	s.meter = newMeter()
	loop := &bareLoop{socket: socket, waiter: waiter{poll: pollerOf(b, socket), meter: s.meter, block: c.Blocking}}
	s.count = func() (arrivals, error) { return arrivals{frames: loop.arrived.Load()}, nil }
	runWhileStarted(b, s, workerCPU, loop.run, loop.stop)
	return s
}

// attachSocket steers the frames of all containers of the stage into one socket.
func attachSocket(b *bed, s *stage) *xdp.Socket {
	index := s.rig.Host.Index(b, s.rig.NIC)
	prog, err := xdp.LoadProgram(xdp.ProgramConfig{})
	b.check(err)
	b.Cleanup(func() { prog.Close() })
	var socket *xdp.Socket
	b.check(s.rig.Host.Do(func() (err error) {
		if _, err = prog.Attach(index, xdp.ModeNative); err != nil {
			return err
		}
		socket, err = xdp.OpenSocket(xdp.SocketConfig{IfIndex: index})
		return err
	}))
	b.Cleanup(func() { socket.Close() })
	rules := make([]xdp.Rule, s.t.Containers)
	for i := range rules {
		rules[i] = xdp.Rule{Kind: xdp.RuleIPIdentity, Prefix: netip.PrefixFrom(s.t.address(i), 32), Slot: uint32(i + 2), Gen: 1}
	}
	b.check(prog.SetNIC(s.t.NIC))
	b.check(prog.Insert(rules...))
	b.check(prog.SetSocket(0, socket))
	return socket
}

// bareLoop is the least that a receiver can do.
type bareLoop struct {
	socket *xdp.Socket
	waiter
	arrived atomic.Uint64
	stopped atomic.Bool
}

func (l *bareLoop) run() error {
	l.stopped.Store(false)
	l.meter.resume()
	f := make([]frame.Frame, burst)
	link := metered{l.socket, l.meter}
	for !l.stopped.Load() {
		n := link.Recv(f)
		if n == 0 {
			l.Wait(nil, -1)
			continue
		}
		link.Release()
		l.arrived.Store(l.arrived.Load() + uint64(n))
	}
	return nil
}

func (l *bareLoop) stop() {
	l.stopped.Store(true)
	l.Wake()
}

// pollerOf watches a socket.
func pollerOf(b *bed, socket *xdp.Socket) *poller {
	p, err := newPoller()
	b.check(err)
	b.Cleanup(p.close)
	b.check(p.addSilent(socket.Fd()))
	return p
}

// runWhileStarted gives the stage a thread: run is called on that processor
// from start to stop, which quit ends.
func runWhileStarted(b *bed, s *stage, cpu int, run func() error, quit func()) {
	var done <-chan error
	s.start = func() error {
		done = onCPU(cpu, run)
		return nil
	}
	s.stop = func() error {
		if done == nil {
			return nil
		}
		quit()
		err := <-done
		done = nil
		return err
	}
	b.Cleanup(func() { _ = s.stop() })
}
