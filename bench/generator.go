package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// generator makes frames inside the kernel and sends them over the wire's end
// of a rig: BPF_PROG_RUN with live frames, which needs no copy and no system
// call per frame. The program takes the next entry of a table of targets and
// writes the frame's head; the rest never changes.
type generator struct {
	wire   *nictest.NS
	prog   *ebpf.Program
	counts *ebpf.Map
	frame  []byte
	stamps *ebpf.Map // nil: no probes; see probe.go
}

const (
	liveFrames = 2  // BPF_F_TEST_XDP_LIVE_FRAMES of linux/bpf.h
	xdpDrop    = 1  // XDP_DROP
	xdpPass    = 2  // XDP_PASS
	burst      = 64 // frames that the kernel makes at once
	adjustTail = 65 // BPF_FUNC_xdp_adjust_tail
)

// The layout of an entry of the table of targets.
const (
	targetDst   = 0  // IPv4 destination, as on the wire
	targetMAC   = 4  // the last four bytes of the destination MAC
	targetSum   = 8  // the header's checksum, as on the wire
	targetIndex = 10 // the container's number, as on the wire
	targetSize  = 12 // the frame's bytes, in the order of the machine
	targetLen   = 16
)

// newGenerator loads the program and its table for the traffic. Every frame
// leaves by the rig's wire. Probes leave the time of their departure in stamps.
func newGenerator(b *bed, rig *nictest.Rig, t traffic, stamps *ebpf.Map) *generator {
	sizes := t.Sizes
	if t.Probes > 0 {
		sizes = append(slices.Clone(sizes), probeLen)
	}
	g := &generator{wire: rig.Wire, frame: t.frame(0, largest(sizes)), stamps: stamps}
	order := t.order()
	targets := oneValue(b, targetLen*len(order))
	b.check(targets.Put(uint32(0), t.targets(order)))
	g.counts = oneValue(b, 8)
	var err error
	g.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL",
		Instructions: writeAndRedirect(g, targets, len(order), rig.Wire.Index(b, rig.WireNIC), len(sizes) > 1),
	})
	b.check(err)
	b.Cleanup(func() { g.prog.Close() })
	g.settle(b)
	return g
}

// settle attaches the program to a device without traffic, the wire's loopback.
// The kernel makes a direct call (a dispatcher's) to each attached program; for
// one that is not attached it would do that at the beginning of each system call
// of send and undo it at the end, waiting for all processors each time: 25 ms in
// place of 30 µs.
func (g *generator) settle(b *bed) {
	lo := g.wire.Index(b, "lo")
	b.check(g.wire.Do(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Program: g.prog, Interface: lo, Flags: link.XDPGenericMode})
		if err == nil {
			b.Cleanup(func() { l.Close() })
		}
		return err
	}))
}

func largest(sizes []int) (most int) {
	for _, s := range sizes {
		most = max(most, s)
	}
	return most
}

// oneValue is an array of one entry, whose bytes a program reaches without a
// call.
func oneValue(b *bed, size int) *ebpf.Map {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: uint32(size), MaxEntries: 1})
	b.check(err)
	b.Cleanup(func() { m.Close() })
	return m
}

func (t traffic) targets(order []uint16) []byte {
	table := make([]byte, 0, targetLen*len(order))
	for n, i := range order {
		size := t.Sizes[n%len(t.Sizes)]
		if t.Probes > 0 && n%t.Probes == 0 {
			size = probeLen
		}
		f := t.frame(int(i), size)
		e := make([]byte, targetLen)
		copy(e[targetDst:], f[ipDstAt:ipDstAt+4])
		copy(e[targetMAC:], f[2:6])
		copy(e[targetSum:], f[ipSumAt:ipSumAt+2])
		copy(e[targetIndex:], f[indexAt:indexAt+2])
		binary.NativeEndian.PutUint16(e[targetSize:], uint16(size))
		table = append(table, e...)
	}
	return table
}

// writeAndRedirect is the program. The whole head is written each time: the
// memory of a frame is used again, with what its last receiver made of it.
func writeAndRedirect(g *generator, targets *ebpf.Map, entries, ifindex int, mixed bool) asm.Instructions {
	code := asm.Instructions{
		asm.Mov.Reg(asm.R7, asm.R1),
		asm.LoadMapValue(asm.R1, g.counts.FD(), 0),
		asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.Mov.Reg(asm.R3, asm.R2),
		asm.Add.Imm(asm.R3, 1),
		asm.StoreMem(asm.R1, 0, asm.R3, asm.DWord),
		asm.And.Imm(asm.R2, int32(entries-1)),
		asm.Mul.Imm(asm.R2, targetLen),
		asm.LoadMapValue(asm.R8, targets.FD(), 0),
		asm.Add.Reg(asm.R8, asm.R2),
	}
	if mixed {
		code = append(code, resize()...)
	}
	code = append(code,
		asm.LoadMem(asm.R6, asm.R7, 0, asm.Word), // data
		asm.LoadMem(asm.R2, asm.R7, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R3, asm.R6),
		asm.Add.Imm(asm.R3, headLen),
		asm.JGT.Reg(asm.R3, asm.R2, "drop"))
	code = append(code, writeHead(g.frame[:headLen])...)
	if mixed {
		code = append(code, writeLength(ipLenAt, ethLen)...)
		code = append(code, writeLength(udpLenAt, udpAt)...)
	}
	if g.stamps != nil {
		code = append(code, stampProbe(g.stamps)...)
	}
	return append(code,
		asm.Mov.Imm(asm.R1, int32(ifindex)).WithSymbol("go"),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpDrop).WithSymbol("drop"),
		asm.Return(),
	)
}

// resize gives the frame the length that the entry in R8 says.
func resize() asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R7, 4, asm.Word),
		asm.LoadMem(asm.R3, asm.R7, 0, asm.Word),
		asm.Sub.Reg(asm.R2, asm.R3), // what it has
		asm.LoadMem(asm.R3, asm.R8, targetSize, asm.Half),
		asm.Sub.Reg(asm.R3, asm.R2),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.Mov.Reg(asm.R2, asm.R3),
		asm.BuiltinFunc(adjustTail).Call(),
	}
}

// writeHead writes the constant bytes at R6, then what the entry in R8 says.
func writeHead(head []byte) (code asm.Instructions) {
	at := 0
	for ; at+8 <= len(head); at += 8 {
		code = append(code,
			asm.LoadImm(asm.R1, int64(binary.NativeEndian.Uint64(head[at:])), asm.DWord),
			asm.StoreMem(asm.R6, int16(at), asm.R1, asm.DWord))
	}
	copyWord := func(from, to int16, size asm.Size) {
		code = append(code, asm.LoadMem(asm.R1, asm.R8, from, size), asm.StoreMem(asm.R6, to, asm.R1, size))
	}
	copyWord(targetMAC, 2, asm.Word)
	copyWord(targetDst, ipDstAt, asm.Word)
	copyWord(targetSum, ipSumAt, asm.Half)
	copyWord(targetIndex, indexAt, asm.Half)
	rest := head[at:indexAt] // the UDP checksum
	for i := range rest {
		code = append(code, asm.StoreImm(asm.R6, int16(at+i), int64(rest[i]), asm.Byte))
	}
	return code
}

// writeLength writes the entry's size less what stands before into a field.
func writeLength(at int16, before int32) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R1, asm.R8, targetSize, asm.Half),
		asm.Sub.Imm(asm.R1, before),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.StoreMem(asm.R6, at, asm.R1, asm.Half),
	}
}

// sent is how many frames were made so far.
func (g *generator) sent() (n uint64, err error) {
	return n, g.counts.Lookup(uint32(0), &n)
}

// send makes n frames in the calling thread and returns when the last has left
// the kernel's hands. An interrupted call makes more.
func (g *generator) send(n int) error {
	_, err := g.prog.Run(&ebpf.RunOptions{Data: g.frame, Repeat: uint32(n), Flags: liveFrames, BatchSize: burst})
	if err != nil {
		return fmt.Errorf("generating %d frames: %w", n, err)
	}
	return nil
}

// flood sends until ctx ends, as fast as one processor can: the generator's own,
// which does the kernel's receive work too. mpps > 0 is a fixed load instead.
func (g *generator) flood(ctx context.Context, mpps float64) error {
	return g.wire.Do(func() error {
		return pinned(generatorCPU, func() error { return g.pour(ctx, mpps) })
	})
}

func (g *generator) pour(ctx context.Context, mpps float64) error {
	if mpps > 0 {
		return g.paced(ctx, mpps)
	}
	for call := firstCall; ctx.Err() == nil; {
		began := time.Now()
		if err := g.send(call); err != nil {
			return err
		}
		call = nextCall(call, time.Since(began))
	}
	return nil
}

// longestPause keeps the bursts of a small load small.
const longestPause = 128 * time.Microsecond

// paced sends bursts by the clock. What a late one missed, the next makes up
// for, up to two milliseconds' worth: nobody's rings are longer at these loads.
func (g *generator) paced(ctx context.Context, mpps float64) error {
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("asking for exact timers: %w", err)
	}
	pause := min(time.Duration(burst/mpps*1e3), longestPause)
	s := newSchedule(mpps, time.Now())
	for ctx.Err() == nil {
		if due := s.due(time.Now()); due > 0 {
			if err := g.send(due); err != nil {
				return err
			}
		}
		nap(s.next(time.Now(), pause))
	}
	return nil
}

// nap has the calling thread sleep, more exactly than the Go scheduler's
// millisecond.
func nap(d time.Duration) {
	if d <= 0 {
		return
	}
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil) // interrupted: the schedule makes up for it
}
