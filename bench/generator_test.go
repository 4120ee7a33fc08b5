package bench

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// generator makes frames inside the kernel and sends them over the wire's end
// of a rig: BPF_PROG_RUN with live frames, which needs no copy and no system
// call per frame.
type generator struct {
	rig    *nictest.Rig
	prog   *ebpf.Program
	counts *ebpf.Map
	frame  []byte
}

// liveFrames is BPF_F_TEST_XDP_LIVE_FRAMES of linux/bpf.h.
const liveFrames = 2

// The offsets, in an untagged IPv4 frame, of what the generator rewrites.
const (
	ipID  = 14 + 4
	ipDst = 14 + 16
)

// newGenerator sends copies of frame, an untagged IPv4 frame, to as many
// destinations in turn as there are containers: the lower 16 bits of the
// address count up, and the identification down, so that the header's checksum
// stays what it is.
func newGenerator(b *testing.B, rig *nictest.Rig, frame []byte, containers int) *generator {
	b.Helper()
	g := &generator{rig: rig, frame: frame}
	var err error
	g.counts, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { g.counts.Close() })
	g.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL",
		Instructions: rewriteAndRedirect(g.counts.FD(), rig.Wire.Index(b, rig.WireNIC), containers),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { g.prog.Close() })
	return g
}

func rewriteAndRedirect(counts, ifindex, containers int) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R7, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R8, asm.R6),
		asm.Add.Imm(asm.R8, 34),
		asm.JGT.Reg(asm.R8, asm.R7, "drop"),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, counts),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.LoadMem(asm.R9, asm.R0, 0, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R9),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.Mod.Imm(asm.R9, int32(containers)),
		asm.Add.Imm(asm.R9, 1), // .0.0 is nobody's
		asm.Mov.Reg(asm.R1, asm.R9),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.StoreMem(asm.R6, ipDst+2, asm.R1, asm.Half),
		asm.Mov.Imm(asm.R1, 0xffff),
		asm.Sub.Reg(asm.R1, asm.R9),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.StoreMem(asm.R6, ipID, asm.R1, asm.Half),
		asm.Mov.Imm(asm.R1, int32(ifindex)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("drop"), // XDP_DROP
		asm.Return(),
	}
}

// send makes n frames, in the calling goroutine, and returns when the last has
// left the kernel's hands.
func (g *generator) send(n int) error {
	return g.rig.Wire.Do(func() error {
		_, err := g.prog.Run(&ebpf.RunOptions{Data: g.frame, Repeat: uint32(n), Flags: liveFrames, BatchSize: 64})
		if err != nil {
			return fmt.Errorf("generating %d frames: %w", n, err)
		}
		return nil
	})
}
