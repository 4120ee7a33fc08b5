package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// demoOutput runs the demo, does something once it prints tables, and returns
// what it said. It must end with status 0 and leave no namespace.
func demoOutput(t *testing.T, midway func(*os.Process) error) string {
	t.Helper()
	nictest.RequireRoot(t)
	nictest.Require(t, "ip", "ping", "ethtool", "nsenter")
	path := filepath.Join(t.TempDir(), "out")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(binary, "demo")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := func() string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if midway != nil {
		nictest.Eventually(t, "the demo's table", func() bool { return strings.Contains(said(), "in frames/s") })
		if err := midway(cmd.Process); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the demo ended with %v:\n%s", err, said())
	}
	left, err := filepath.Glob(fmt.Sprintf("/run/netns/xdpdemux-demo-%d-*", cmd.Process.Pid))
	if err != nil || len(left) != 0 {
		t.Errorf("namespaces left: %v, %v", left, err)
	}
	return said()
}

// TestDemoEndsByItself: without a terminal it shows its tables and ends, having
// moved frames for each port and lost none unseen.
func TestDemoEndsByItself(t *testing.T) {
	out := demoOutput(t, nil)
	for _, want := range []string{"xdpdemux attach nic0", ": ready: ", "xdpdemux add web", "xdpdemux detach nic0", ", 0 of them unaccounted for"} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo does not say %q:\n%s", want, out)
		}
	}
	last := out[strings.LastIndex(out, "in frames/s"):]
	for _, port := range []string{"web", "db", "vm"} {
		for line := range strings.Lines(last) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == port && f[1] == "0" {
				t.Errorf("nothing moves at %s:\n%s", port, last)
			}
		}
	}
}

// TestDemoEndsOnCtrlC: SIGINT ends it well.
func TestDemoEndsOnCtrlC(t *testing.T) {
	demoOutput(t, func(p *os.Process) error { return p.Signal(syscall.SIGINT) })
}
