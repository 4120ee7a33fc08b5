package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// binary is the program under test: XDPDEMUX_TEST_BINARY if that is set, as make
// test does, or else built once by TestMain.
var binary = os.Getenv("XDPDEMUX_TEST_BINARY")

func TestMain(m *testing.M) {
	if feature := os.Getenv(lacksEnv); feature != "" {
		fmt.Fprintln(os.Stderr, becomeOnOldKernel(feature, os.Args[1:]))
		os.Exit(126)
	}
	os.Exit(func() int {
		nictest.RemoveStale()
		if binary != "" {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "xdpdemux-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "xdpdemux")
		build := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "github.com/xdpdemux/xdpdemux/cmd/xdpdemux")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building xdpdemux: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// machine is a host with a NIC, a wire peer and containers, and the daemon's
// own directories, which outlive the daemon but not the test.
type machine struct {
	*nictest.Rig
	t                *testing.T
	runDir, stateDir string
	lacks            string // what the kernel shall seem to lack to the daemon; see lacks
	daemon           *nictest.Process
}

// Addresses that every test uses: the wire peer is .1, the host .2.
const (
	wire4, wire6 = "10.9.0.1", "fd09::1"
	host4, host6 = "10.9.0.2", "fd09::2"
)

// newMachine makes one whose NIC and wire are a veth pair, or the two interfaces
// that XDPDEMUX_TEST_NIC and XDPDEMUX_TEST_WIRE name.
func newMachine(t *testing.T, cfg nictest.Config) *machine {
	t.Helper()
	cfg.NIC, cfg.WireNIC = os.Getenv("XDPDEMUX_TEST_NIC"), os.Getenv("XDPDEMUX_TEST_WIRE")
	if cfg.HostAddrs == nil {
		cfg.HostAddrs = []string{host4 + "/16", host6 + "/64"}
	}
	if cfg.WireAddrs == nil {
		cfg.WireAddrs = []string{wire4 + "/16", wire6 + "/64"}
	}
	dir := t.TempDir()
	return &machine{Rig: nictest.New(t, cfg), t: t,
		runDir: filepath.Join(dir, "run"), stateDir: filepath.Join(dir, "state")}
}

// program is the command line of xdpdemux with the machine's own directories;
// env ends up as xdpdemux itself, so signals reach it.
func (m *machine) program(args ...string) []string {
	return append([]string{"XDPDEMUX_RUN_DIR=" + m.runDir, "XDPDEMUX_STATE_DIR=" + m.stateDir, binary}, args...)
}

// attach starts the daemon and waits until it says that it is ready.
func (m *machine) attach(args ...string) {
	m.t.Helper()
	line := m.program(append([]string{"attach", m.NIC}, args...)...)
	if m.lacks != "" {
		line = without(m.t, m.lacks, line)
	}
	m.daemon = m.Host.Start(m.t, "env", line...)
	daemon := m.daemon
	m.t.Cleanup(func() {
		if err := end(daemon); err != nil {
			m.t.Error(err)
		}
		if m.t.Failed() {
			m.t.Logf("the daemon said:\n%s", daemon.Output())
		}
	})
	nictest.Eventually(m.t, "the daemon's ready line", func() bool {
		select {
		case <-m.daemon.Done():
			m.t.Fatalf("the daemon ended:\n%s", m.daemon.Output())
		default:
		}
		out := m.daemon.Output()
		return strings.Contains(out, ": ready: ") || strings.Contains(out, `"event":"ready"`)
	})
}

// detach ends the daemon as SIGTERM does, and requires that it ends well.
func (m *machine) detach() {
	m.t.Helper()
	if err := end(m.daemon); err != nil {
		m.t.Fatalf("%v:\n%s", err, m.daemon.Output())
	}
	if err := m.daemon.Wait(); err != nil {
		m.t.Fatalf("the daemon ended with %v:\n%s", err, m.daemon.Output())
	}
}

// end has a daemon end as SIGTERM does, however it does so. One that does not
// end is made to print where it hangs. One that has ended is no error.
func end(daemon *nictest.Process) error {
	if err := daemon.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-daemon.Done():
		return nil
	case <-time.After(time.Minute):
		return errors.Join(errors.New("the daemon does not end"), daemon.Stop(syscall.SIGQUIT))
	}
}

// kill ends the daemon as SIGKILL does.
func (m *machine) kill() {
	m.t.Helper()
	if err := m.daemon.Stop(syscall.SIGKILL); err != nil {
		m.t.Fatal(err)
	}
}

// run drives the command line and requires that it succeeds.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, code := m.try(args...)
	if code != 0 {
		m.t.Fatalf("xdpdemux %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// try drives the command line and returns what it printed and its exit code.
func (m *machine) try(args ...string) (string, int) {
	m.t.Helper()
	cmd := m.Host.Command("env", m.program(args...)...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// add adds a tap port in container i.
func (m *machine) add(i int, name, ips string, args ...string) {
	m.t.Helper()
	m.run(append([]string{"add", name, "--ip", ips, "--netns", m.Containers[i].Path}, args...)...)
}

// stats reads the daemon's counters.
func (m *machine) stats() (s api.Stats) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.run("stats", "-o", "json")), &s); err != nil {
		m.t.Fatal(err)
	}
	return s
}

// ping sends three echo requests and requires that every one is answered. Once
// it has an answer, ping waits for the last one no longer than its interval, so
// on a machine that is busy with something else an answer may come too late for
// it: three attempts are made. That no single frame is lost is for other tests to
// show, which count frames. Any goroutine may call it.
func ping(t *testing.T, from *nictest.NS, to string, args ...string) {
	t.Helper()
	args = append([]string{"-n", "-q", "-c", "3", "-i", "0.3", "-W", "5"}, args...)
	var out string
	var err error
	for range 3 {
		if out, err = from.Try("ping", append(args, to)...); err == nil && strings.Contains(out, " 0% packet loss") {
			return
		}
	}
	t.Errorf("%s -> %s: %v\n%s", from.Name, to, err, out)
}
