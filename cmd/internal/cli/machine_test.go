package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/api/apitest"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
)

func plan() api.Plan {
	return api.Plan{NIC: "eth0", Driver: "veth", MAC: api.MAC{2, 0, 0, 0, 0, 1}, MTU: 1500, Mode: "native", ZeroCopy: "off", Queues: 2,
		Workers: 1, RingSize: 2048, FrameSize: 4096, MemoryBytes: 64 << 20, WireChecksum: "complete", BusyPoll: 20, BusyPollBudget: 64, HostPort: "xdmx0", MaxPorts: 100,
		DescriptorsNeeded: 220, DescriptorsPerPort: map[string]int{"tap": 2, "memif": 1}, DescriptorsPerMemifClient: 3, DescriptorsLimit: 20000, Adopted: 3, Changes: []string{"LRO goes off"},
		Host: []string{"all frames of unknown destinations stay with the host"}, Warnings: []string{"bypasses nftables"}}
}

func TestAttach(t *testing.T) {
	s := newShell(t)
	var got config.Attach
	s.machine.Attach = func(ctx context.Context, cfg config.Attach, tell api.Announcer) error {
		got = cfg
		tell.Chosen(plan())
		status, err := (&apitest.Service{NIC: cfg.NIC}).Status(ctx)
		tell.Ready(status)
		tell.Notice("eth0: the NIC went down")
		return err
	}
	s.env["XDPDEMUX_WORKERS"] = "3"
	s.files["/etc/xdpdemux/xdpdemux.toml"] = "workers = 2\nqueues = 2\n"
	out := s.ok(t, "attach", "eth0", "--mode", "generic", "--allow-link-reset", "--no-host-port", "--ring-size", "512", "--frame-size", "2048",
		"--max-ports", "100", "--zero-copy", "auto", "--wire-checksum", "complete", "--busy-poll", "20", "--busy-poll-budget", "32")
	golden(t, "testdata/attach.golden", out, *update)
	want := config.Attach{NIC: "eth0", RunDir: s.dir, StateDir: s.dir + "/state", Mode: "generic", ZeroCopy: "auto", Queues: 2, Workers: 3,
		RingSize: 512, FrameSize: 2048, MaxPorts: 100, AllowLinkReset: true, NoHostPort: true, WireChecksum: "complete", BusyPoll: 20, BusyPollBudget: 32}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	var events []string
	for line := range strings.Lines(s.ok(t, "attach", "eth0", "-o", "json")) {
		var e api.AttachEvent
		strict(t, line, &e)
		events = append(events, e.Event)
	}
	if strings.Join(events, " ") != "chosen ready notice" {
		t.Error(events)
	}
}

func TestAttachFails(t *testing.T) {
	s := newShell(t)
	for _, c := range []struct {
		err  error
		code int
		want string
	}{
		{api.Errorf(api.CodeConflict, "NIC eth0: program 7 is attached"), ExitFailed, "program 7 is attached\n"},
		{&os.SyscallError{Syscall: "bpf", Err: syscall.EPERM}, ExitPermission, "bpf: operation not permitted; run it as root"},
		{api.Errorf(api.CodePermission, "bpf: no").WithHint("do that"), ExitPermission, "bpf: no; do that\n"},
		{errors.Join(errors.New("NIC eth0: gone"), errors.New("undoing it: failed")), ExitFailed, "NIC eth0: gone; undoing it: failed\n"},
	} {
		s.machine.Attach = func(context.Context, config.Attach, api.Announcer) error { return c.err }
		s.fails(t, c.code, c.want, "attach", "eth0")
	}
}

func TestDryRun(t *testing.T) {
	s := newShell(t)
	p := plan()
	s.machine.Plan = func(_ context.Context, cfg config.Attach) (api.Plan, error) {
		if cfg.NIC != "eth0" {
			return p, api.Errorf(api.CodeNotFound, "NIC %s: there is no such interface", cfg.NIC)
		}
		return p, nil
	}
	if out := s.ok(t, "attach", "eth0", "--dry-run"); !strings.Contains(out, "  changes: LRO goes off\n") || strings.Contains(out, "ready") {
		t.Error(out)
	}
	var got api.Plan
	strict(t, s.ok(t, "attach", "eth0", "--dry-run", "-o", "json"), &got)
	if got.DescriptorsNeeded != 220 {
		t.Errorf("%+v", got)
	}
	p.Refusals = []string{"it is a member of the bond bond0"}
	r := s.run(t, "attach", "eth0", "--dry-run")
	if r.code != ExitFailed || !strings.Contains(r.err, "attach would be refused: it is a member of the bond bond0") || !strings.Contains(r.out, "refused: ") {
		t.Errorf("%+v", r)
	}
	s.fails(t, ExitFailed, "there is no such interface", "attach", "eth9", "--dry-run")
}

func TestDetachAsksTheDaemon(t *testing.T) {
	s := newShell(t)
	s.daemon(t, "eth0")
	if out := s.ok(t, "detach", "eth0"); out != "eth0: the daemon left; the NIC is as it was found\n" {
		t.Error(out)
	}
	s.fails(t, ExitNoDaemon, "none left anything behind", "detach", "eth0")
	s.daemon(t, "eth0")
	var r api.DetachResult
	strict(t, s.ok(t, "detach", "eth0", "-o", "json"), &r)
	if r != (api.DetachResult{NIC: "eth0", Daemon: true}) {
		t.Errorf("%+v", r)
	}
}

func TestDetachThatFails(t *testing.T) {
	s := newShell(t)
	s.daemon(t, "eth0").Before = func(_ context.Context, method string) error {
		return api.Errorf(api.CodeFailed, "NIC eth0: LRO could not be put back")
	}
	s.fails(t, ExitFailed, "LRO could not be put back", "detach", "eth0")
}

// died leaves what a killed daemon leaves.
func (s *shell) died(t *testing.T) {
	t.Helper()
	dir := filepath.Join(s.dir, "state", "eth0")
	must(t, os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "attach.json"), []byte("{}"), 0o600))
}

func TestDetachAfterADeadDaemon(t *testing.T) {
	s := newShell(t)
	done := api.CleanUp{Restored: []string{"LRO is on again", "xdmx0 is gone"}, Failed: []string{}}
	s.machine.CleanUp = func(_ context.Context, cfg config.Attach) (api.CleanUp, error) {
		if cfg.NIC != "eth0" || cfg.StateDir != s.dir+"/state" {
			t.Errorf("%+v", cfg)
		}
		return done, nil
	}
	s.fails(t, ExitNoDaemon, "none left anything behind", "detach", "eth0")
	s.died(t)
	if out := s.ok(t, "detach", "eth0"); out != "eth0: the daemon had died; the NIC is as it was found\n  LRO is on again\n  xdmx0 is gone\n" {
		t.Error(out)
	}
	var r api.DetachResult
	strict(t, s.ok(t, "detach", "eth0", "-o", "json"), &r)
	if r.Daemon || len(r.CleanUp.Restored) != 2 {
		t.Errorf("%+v", r)
	}
	done.Failed = []string{"LRO: operation not supported"}
	s.fails(t, ExitFailed, "not all of it could be given back: LRO: operation not supported", "detach", "eth0")
}

func TestDemo(t *testing.T) {
	s := newShell(t)
	s.machine.Demo = func(_ context.Context, d Demo) error {
		_, err := fmt.Fprintln(d.Out, d.Terminal, d.JSON)
		return err
	}
	if out := s.ok(t, "demo"); out != "false false\n" {
		t.Error(out)
	}
	s.terminal = true
	if out := s.ok(t, "demo", "-o", "json"); out != "true true\n" {
		t.Error(out)
	}
}

func TestBuildWithoutAMachine(t *testing.T) {
	s := newShell(t)
	s.died(t)
	for _, args := range [][]string{{"attach", "eth0"}, {"attach", "eth0", "--dry-run"}, {"detach", "eth0"}, {"demo"}} {
		s.fails(t, ExitFailed, "this build cannot do it", args...)
	}
}
