package main

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// probes measures round trips under load: the generator leaves the time of a
// probe's departure in a table, and a program at the wire's end works out how
// long it was gone. Both are in the kernel, so what the measuring programs
// themselves wait for does not count.
type probes struct {
	stamps  *ebpf.Map // how many have left; when the last ones did
	returns *ebpf.Map // how many came back; how long they took, in ns; how many other frames came
}

const (
	probesOut   = 1 << 10 // that are told apart
	returnsRoom = 1 << 16 // round trips that are kept
	stampBytes  = 8
	returnBytes = 4
	// The layout of returns.
	returnCount = 0
	strayCount  = 8
	returnsAt   = 16
)

// newProbes puts the program on the wire's end.
func newProbes(b *bed, s *stage) *probes {
	p := &probes{stamps: oneValue(b, 8+probesOut*stampBytes), returns: oneValue(b, returnsAt+returnsRoom*returnBytes)}
	attachNative(b, s.rig.Wire.Do, s.rig.Wire.Index(b, s.rig.WireNIC), p.arrive())
	return p
}

// stampProbe notes, if the entry in R8 is a probe, its departure, and numbers it.
// R6 is the frame.
func stampProbe(stamps *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R1, asm.R8, targetSize, asm.Half),
		asm.JNE.Imm(asm.R1, probeLen, "go"),
		asm.LoadMem(asm.R2, asm.R7, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R3, asm.R6),
		asm.Add.Imm(asm.R3, probeLen),
		asm.JGT.Reg(asm.R3, asm.R2, "drop"),
		asm.FnKtimeGetNs.Call(),
		asm.LoadMapValue(asm.R1, stamps.FD(), 0),
		asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.Mov.Reg(asm.R3, asm.R2),
		asm.Add.Imm(asm.R3, 1),
		asm.StoreMem(asm.R1, 0, asm.R3, asm.DWord),
		asm.StoreMem(asm.R6, probeAt, asm.R2, asm.Word),
		asm.And.Imm(asm.R2, probesOut-1),
		asm.Mul.Imm(asm.R2, stampBytes),
		asm.Add.Reg(asm.R1, asm.R2),
		asm.StoreMem(asm.R1, 8, asm.R0, asm.DWord),
	}
}

// arrive is the program at the wire's end: what is no IPv4 is passed, what is no
// probe or came back twice is a stray.
func (p *probes) arrive() asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R7, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R2, asm.R6),
		asm.Add.Imm(asm.R2, ethLen),
		asm.JGT.Reg(asm.R2, asm.R7, "pass"),
		asm.LoadMem(asm.R2, asm.R6, 12, asm.Half),
		asm.HostTo(asm.BE, asm.R2, asm.Half),
		asm.JNE.Imm(asm.R2, 0x0800, "pass"),
		asm.LoadMapValue(asm.R9, p.returns.FD(), 0),
		asm.Mov.Reg(asm.R2, asm.R6),
		asm.Add.Imm(asm.R2, probeLen),
		asm.JNE.Reg(asm.R2, asm.R7, "stray"),
		asm.JGT.Reg(asm.R2, asm.R7, "stray"), // the same again, as the verifier wants it
		asm.LoadMem(asm.R8, asm.R6, probeAt, asm.Word),
		asm.And.Imm(asm.R8, probesOut-1),
		asm.Mul.Imm(asm.R8, stampBytes),
		asm.LoadMapValue(asm.R1, p.stamps.FD(), 8),
		asm.Add.Reg(asm.R8, asm.R1),
		asm.FnKtimeGetNs.Call(),
		asm.LoadMem(asm.R2, asm.R8, 0, asm.DWord),
		asm.JEq.Imm(asm.R2, 0, "stray"),
		asm.Mov.Imm(asm.R3, 0),
		asm.StoreMem(asm.R8, 0, asm.R3, asm.DWord),
		asm.Sub.Reg(asm.R0, asm.R2),
		asm.LoadMem(asm.R1, asm.R9, returnCount, asm.DWord),
		asm.Mov.Imm(asm.R2, 1), // two processors at once: one round trip is not kept
		asm.AddAtomic.Mem(asm.R9, asm.R2, asm.DWord, returnCount),
		asm.And.Imm(asm.R1, returnsRoom-1),
		asm.Mul.Imm(asm.R1, returnBytes),
		asm.Add.Reg(asm.R9, asm.R1),
		asm.StoreMem(asm.R9, returnsAt, asm.R0, asm.Word),
		asm.Ja.Label("drop"),
		asm.Mov.Imm(asm.R1, 1).WithSymbol("stray"),
		asm.AddAtomic.Mem(asm.R9, asm.R1, asm.DWord, strayCount),

		asm.Mov.Imm(asm.R0, xdpDrop).WithSymbol("drop"),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"),
		asm.Return(),
	}
}

// probeReading is what a probes stood at.
type probeReading struct {
	out, back, strays uint64
	times             []byte
}

func (p *probes) read() (r probeReading, err error) {
	var sent, returned []byte
	if sent, err = p.stamps.LookupBytes(uint32(0)); err != nil {
		return r, err
	}
	if returned, err = p.returns.LookupBytes(uint32(0)); err != nil {
		return r, err
	}
	ne := binary.NativeEndian
	return probeReading{ne.Uint64(sent), ne.Uint64(returned[returnCount:]), ne.Uint64(returned[strayCount:]), returned[returnsAt:]}, nil
}

// since are the round trips that ended after an earlier reading, sorted; of very
// many the last ones.
func (r probeReading) since(before probeReading) (times []time.Duration) {
	for n := max(before.back, r.back-min(r.back, returnsRoom)); n < r.back; n++ {
		at := n % returnsRoom * returnBytes
		times = append(times, time.Duration(binary.NativeEndian.Uint32(r.times[at:])))
	}
	slices.Sort(times)
	return times
}

// into fills a sample's round trips in.
func (r probeReading) into(s *sample, before probeReading) {
	times := r.since(before)
	trips := summary(times, 0)
	s.P50Us, s.P99Us, s.P999Us = trips.P50Us, trips.P99Us, trips.P999Us
	s.Bad += r.strays - before.strays
	out := float64(r.out - before.out)
	s.More = map[string]float64{"probes": float64(len(times)), "probes lost %": max(0, 100*(out-float64(len(times)))/max(1, out))}
}
