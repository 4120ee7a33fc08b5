package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
)

// requireNone requires that none of these files exists.
func requireNone(t *testing.T, what string, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %s is there (%v)", what, path, err)
		}
	}
}

// TestRefusedAttachLeavesNoDirectory: an attach that is refused at once makes
// none, whether or not the one above was there.
func TestRefusedAttachLeavesNoDirectory(t *testing.T) {
	cfg, dir := config.Defaults(), t.TempDir()
	cfg.NIC, cfg.RunDir, cfg.StateDir = "nope0", filepath.Join(dir, "a", "run"), filepath.Join(dir, "b", "state")
	err := Attach(context.Background(), cfg, "", &listener{})
	if api.CodeOf(err) != api.CodeNotFound {
		t.Fatalf("%v", err)
	}
	requireNone(t, "refused", filepath.Join(dir, "a"), filepath.Join(dir, "b"))
	for _, made := range []string{cfg.RunDir, cfg.StateDir} {
		if err := os.MkdirAll(made, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := Attach(context.Background(), cfg, "", &listener{}); err == nil {
		t.Fatal("attached")
	}
	for _, made := range []string{cfg.RunDir, cfg.StateDir} {
		if entries, err := os.ReadDir(made); err != nil || len(entries) != 0 {
			t.Errorf("%s: %v, %v", made, entries, err)
		}
	}
}

// TestFailedAttachLeavesNoRecord: nor does one that fails at any later step.
func TestFailedAttachLeavesNoRecord(t *testing.T) {
	p := newPuppets(t, stepsRig(t))
	pup := p.start()
	for at := 1; ; at++ {
		o := order{Do: "attach", At: at}
		a := pup.try(o)
		if !a.failed(o) {
			pup.must(order{Do: "detach"})
			requireNone(t, "after detach without ports", p.cfg.StateDir)
			return
		}
		requireNone(t, "failed at "+a.Steps[at-1], p.cfg.StateDir)
	}
}

// TestForeignProgramIsFoundFirst: somebody else's XDP program is found before
// anything of the NIC is touched.
func TestForeignProgramIsFoundFirst(t *testing.T) {
	rig := stepsRig(t)
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "stranger", Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}}) // XDP_PASS
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	var l link.Link
	index := rig.Host.Index(t, rig.NIC)
	err = rig.Host.Do(func() (err error) {
		l, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: index, Flags: link.XDPGenericMode})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before := take(t, rig)
	a := newPuppets(t, rig).start().try(order{Do: "attach"})
	if !strings.Contains(a.Err, "stranger") || a.Steps[len(a.Steps)-1] != "attach: nic" {
		t.Errorf("%s, after %v", a.Err, a.Steps)
	}
	requireSame(t, rig, "refused", before, false)
}

// TestPlanTouchesNothing: a dry run foresees the same refusals, says what would
// be needed, and leaves nothing anywhere.
func TestPlanTouchesNothing(t *testing.T) {
	rig := stepsRig(t)
	cfg, dir := config.Defaults(), t.TempDir()
	cfg.NIC, cfg.MaxPorts, cfg.Workers = rig.NIC, 100, 2
	cfg.RunDir, cfg.StateDir = filepath.Join(dir, "run"), filepath.Join(dir, "state")
	before := take(t, rig)
	var plan api.Plan
	err := rig.Host.Do(func() (err error) {
		plan, err = Plan(cfg)
		return err
	})
	if err != nil || len(plan.Refusals) != 0 {
		t.Fatalf("%+v, %v", plan, err)
	}
	if want := 100*perTAP(2) + spare; plan.DescriptorsNeeded != want || plan.WireChecksum != config.ChecksumComplete {
		t.Errorf("%+v, want %d descriptors", plan, want)
	}
	cfg.ZeroCopy = config.ZeroCopyOn
	if err := rig.Host.Do(func() (err error) { plan, err = Plan(cfg); return err }); err != nil {
		t.Fatal(err)
	}
	if len(plan.Refusals) != 1 || !strings.Contains(plan.Refusals[0], "zero-copy") {
		t.Errorf("zero-copy on a veth: %q", plan.Refusals)
	}
	requireSame(t, rig, "planned", before, false)
	requireNone(t, "planned", cfg.RunDir, cfg.StateDir)
}
