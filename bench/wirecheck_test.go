package main

import (
	"context"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestTheWiresEndSeesWhatIsWrong runs its program on single frames: whole ones
// count as such, and those of another length or with any byte behind the head
// changed count apart.
func TestTheWiresEndSeesWhatIsWrong(t *testing.T) {
	nictest.RequireRoot(t)
	const size = 124
	b := newBed(context.Background(), "wire")
	defer b.close()
	var counts *ebpf.Map
	var prog *ebpf.Program
	if err := b.do(func() {
		counts = oneValue(b, 2*badCount)
		var err error
		prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: dropIPv4(counts.FD(), size)})
		b.check(err)
	}); err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	var want [2]uint64
	try := func(data []byte, kind int) {
		t.Helper()
		want[kind]++
		if _, err := prog.Run(&ebpf.RunOptions{Data: data, DataOut: make([]byte, 256)}); err != nil {
			t.Fatal(err)
		}
		var got [2]uint64
		if err := counts.Lookup(uint32(0), &got); err != nil || got != want {
			t.Fatalf("counted %v (%v), want %v", got, err, want)
		}
	}
	tr := testTraffic()
	try(tr.outward(7, size), 0)
	try(tr.outward(7, size+1), 1)
	try(tr.outward(7, size-1), 1)
	for at := headLen; at < size; at++ {
		f := tr.outward(8, size)
		f[at] ^= 1
		try(f, 1)
	}
	try(tr.outward(9, size), 0)
	alien := tr.outward(7, size)
	alien[12], alien[13] = 0x86, 0xdd
	if action, err := prog.Run(&ebpf.RunOptions{Data: alien, DataOut: make([]byte, 256)}); err != nil || action != xdpPass {
		t.Errorf("a frame that is no IPv4 ends with %d (%v)", action, err)
	}
}
