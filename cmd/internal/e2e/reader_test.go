package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// startUnread starts a program whose output goes into a pipe that is read up to
// what it says here, and closed then: a further write ends a program that does
// not see to it that it is only refused.
func startUnread(t *testing.T, cmd *exec.Cmd, upTo string) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for seen := ""; !strings.Contains(seen, upTo); {
		n, err := out.Read(buf)
		if err != nil {
			_ = cmd.Process.Kill()
			t.Fatalf("%v; it said:\n%s", err, seen)
		}
		seen += string(buf[:n])
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDemoEndsWithItsReader: as in "xdpdemux demo | head".
func TestDemoEndsWithItsReader(t *testing.T) {
	nictest.RequireRoot(t)
	nictest.Require(t, "ip", "ping", "ethtool", "nsenter")
	for _, upTo := range []string{"xdpdemux attach", "in frames/s"} {
		t.Run(upTo, func(t *testing.T) {
			cmd := exec.Command(binary, "demo")
			startUnread(t, cmd, upTo)
			if err := cmd.Wait(); err != nil {
				t.Errorf("the demo ended with %v", err)
			}
			left, err := filepath.Glob(fmt.Sprintf("/run/netns/xdpdemux-demo-%d-*", cmd.Process.Pid))
			if err != nil || len(left) != 0 {
				t.Errorf("namespaces left: %v, %v", left, err)
			}
		})
	}
}

// TestDaemonOutlivesItsReader: as in "xdpdemux attach eth0 | tee log", where tee
// dies and the daemon has something to say afterwards.
func TestDaemonOutlivesItsReader(t *testing.T) {
	m := newMachine(t, nictest.Config{Containers: 1})
	cmd := m.Host.Command("env", m.program("attach", m.NIC)...)
	startUnread(t, cmd, ": ready: ")
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	m.add(0, "web", "10.9.1.1/16")
	m.Containers[0].Run(t, "ip", "addr", "flush", "dev", "eth0")
	nictest.Eventually(t, "the address put back, which the daemon tells", func() bool {
		return strings.Contains(m.Containers[0].Run(t, "ip", "addr", "show", "dev", "eth0"), "10.9.1.1/16")
	})
	ping(t, m.Wire, "10.9.1.1")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
}
