package main

import (
	"encoding/binary"
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
		{name: nameBare, about: "AF_XDP on our rings behind our XDP program, one spinning loop that receives and gives back, looking at nothing", open: openBare},
	}
}

// openDrop attaches a program that counts and drops every frame.
func openDrop(b *bed, c *testCase) *stage {
	s := newStage(b, c, false)
	s.count = countAndDrop(b, s.rig.Host.Do, s.rig.Host.Index(b, s.rig.NIC), 0)
	return s
}

// dropIPv4 counts and drops IPv4, which is what cases send; what the kernels of
// both ends say to each other is passed. With a size it looks at every frame's
// length and at every byte behind its head, and counts the wrong ones apart.
func dropIPv4(counts, size int) asm.Instructions {
	const etherType = 12
	code := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.LoadMapValue(asm.R1, counts, 0),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, ethLen),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R4, asm.R2, etherType, asm.Half),
		asm.HostTo(asm.BE, asm.R4, asm.Half),
		asm.JNE.Imm(asm.R4, 0x0800, "pass"),
	}
	if size > 0 {
		code = append(code, compare(size)...)
		code = append(code, asm.Ja.Label("count"), asm.Add.Imm(asm.R1, badCount).WithSymbol("bad"))
	}
	return append(code,
		asm.Mov.Imm(asm.R2, 1).WithSymbol("count"),
		asm.StoreXAdd(asm.R1, asm.R2, asm.DWord), // each end of a veth may have several processors
		asm.Mov.Imm(asm.R0, xdpDrop),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"),
		asm.Return(),
	)
}

// badCount is where the second counter stands.
const badCount = 8

// compare goes on to bad unless the frame at R2 is size bytes long and bears
// the pattern.
func compare(size int) asm.Instructions {
	code := asm.Instructions{
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, int32(size)),
		asm.JNE.Reg(asm.R4, asm.R3, "bad"),
		asm.JGT.Reg(asm.R4, asm.R3, "bad"), // the same again, as the verifier wants it
	}
	for at := headLen; at+4 <= size; at += 4 {
		word := []byte{pattern(at), pattern(at + 1), pattern(at + 2), pattern(at + 3)}
		code = append(code,
			asm.LoadMem(asm.R4, asm.R2, int16(at), asm.Word),
			asm.JNE.Imm32(asm.R4, int32(binary.NativeEndian.Uint32(word)), "bad"))
	}
	return code
}

// countAndDrop puts such a program on a device, and returns what reads its
// counters.
func countAndDrop(b *bed, inside func(func() error) error, ifindex, size int) func() (arrivals, error) {
	counts := oneValue(b, 2*badCount)
	attachNative(b, inside, ifindex, dropIPv4(counts.FD(), size))
	return func() (arrivals, error) {
		var n [2]uint64
		err := counts.Lookup(uint32(0), &n)
		return arrivals{n[0], n[1]}, err
	}
}

// attachNative puts a program on a device.
func attachNative(b *bed, inside func(func() error) error, ifindex int, code asm.Instructions) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: code})
	b.check(err)
	b.Cleanup(func() { prog.Close() })
	b.check(inside(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: ifindex, Flags: link.XDPDriverMode})
		if err == nil {
			b.Cleanup(func() { l.Close() })
		}
		return err
	}))
}

// openBare receives and gives back, or just sends.
func openBare(b *bed, c *testCase) *stage {
	s := newStage(b, c, false)
	socket := attachSocket(b, s)
	switch c.Direction {
	case wireOut:
		transmit(b, s, socket)
		return s
	case both:
		returning(b, s, socket)
		return s
	}
	s.meter = newMeter()
	loop := &bareLoop{socket: socket, waiter: waiter{poll: pollerOf(b, socket), meter: s.meter, block: c.Blocking}}
	s.count = func() (arrivals, error) { return arrivals{frames: loop.arrived.Load()}, nil }
	runWhileStarted(b, s, workerCPU, loop.run, loop.stop)
	return s
}

// transmit sends frames of all containers in turn, as fast as the kernel takes
// them, while the stage is started.
func transmit(b *bed, s *stage, socket *xdp.Socket) {
	out := outwardFrames(s.t)
	f := make([]frame.Frame, burst)
	next := 0
	spin(b, s, workerCPU, func() {
		n := socket.Reserve(f, maxFrame)
		for i := range n {
			batch := out[next%len(out)]
			data := batch[i%len(batch)]
			f[i].Data = f[i].Data[:copy(f[i].Data, data)]
			next++
		}
		socket.Commit(f[:n])
	})
}

// returning sends back what comes, as far as the kernel takes it.
func returning(b *bed, s *stage, socket *xdp.Socket) {
	in, out := make([]frame.Frame, burst), make([]frame.Frame, burst)
	spin(b, s, workerCPU, func() {
		n := socket.Recv(in)
		if n == 0 {
			yield()
			return
		}
		room := socket.Reserve(out[:n], maxFrame)
		for i := range room {
			out[i].Data = out[i].Data[:copy(out[i].Data, in[i].Data)]
			reflect(out[i].Data)
		}
		socket.Commit(out[:room])
		socket.Release()
	})
}

// attachSocket steers the frames of all containers of the stage into one socket.
func attachSocket(b *bed, s *stage) *xdp.Socket { return attachSockets(b, s, 1)[0] }

// attachSockets steers the frames of each of so many queues into one of its own.
func attachSockets(b *bed, s *stage, queues int) (sockets []*xdp.Socket) {
	index := s.rig.Host.Index(b, s.rig.NIC)
	prog, err := xdp.LoadProgram(xdp.ProgramConfig{})
	b.check(err)
	b.Cleanup(func() { prog.Close() })
	b.check(s.rig.Host.Do(func() (err error) {
		if _, err = prog.Attach(index, xdp.ModeNative); err != nil {
			return err
		}
		for q := range queues {
			socket, err := xdp.OpenSocket(xdp.SocketConfig{IfIndex: index, Queue: q, BusyPoll: s.busyPoll})
			if err != nil {
				return err
			}
			b.Cleanup(func() { socket.Close() })
			sockets = append(sockets, socket)
		}
		return nil
	}))
	rules := make([]xdp.Rule, s.t.Containers)
	for i := range rules {
		rules[i] = xdp.Rule{Kind: xdp.RuleIPIdentity, Prefix: netip.PrefixFrom(s.t.address(i), 32)}
	}
	b.check(prog.SetNIC(s.t.NIC))
	b.check(prog.Insert(rules...))
	for q, socket := range sockets {
		b.check(prog.SetSocket(q, socket))
	}
	return sockets
}

// bareLoop is the least that a receiver can do.
type bareLoop struct {
	socket *xdp.Socket
	waiter
	arrived atomic.Uint64
	stopped atomic.Bool
}

func (l *bareLoop) run() error {
	defer l.stopped.Store(false) // at the end: stop may be called before this thread runs
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
	b.check(p.addLink(socket.Fd()))
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
	stop := s.stop // not what others will have put around it: that may stop a process by a signal
	b.Cleanup(func() { _ = stop() })
}
