package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// demonstration is a demo that runs; what it says goes into a file.
type demonstration struct {
	t    *testing.T
	cmd  *exec.Cmd
	path string
}

// startDemo starts the demo with its standard output on out, or in a file where
// that is nil.
func startDemo(t *testing.T, out *os.File, args ...string) *demonstration {
	t.Helper()
	nictest.RequireRoot(t)
	nictest.Require(t, "ip", "ping", "ethtool", "nsenter")
	d := &demonstration{t: t, cmd: exec.Command(binary, append([]string{"demo"}, args...)...), path: filepath.Join(t.TempDir(), "out")}
	file, err := os.Create(d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	d.cmd.Stdout, d.cmd.Stderr = file, file
	if out != nil {
		d.cmd.Stdin, d.cmd.Stdout, d.cmd.Stderr = out, out, out
		d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *demonstration) said() string {
	d.t.Helper()
	text, err := os.ReadFile(d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

// says waits until the demo has said something.
func (d *demonstration) says(what string) {
	d.t.Helper()
	nictest.Eventually(d.t, "the demo's "+what, func() bool { return strings.Contains(d.said(), what) })
}

// ends requires that the demo ends with status 0 and leaves no namespace, no
// process and no file.
func (d *demonstration) ends() string {
	d.t.Helper()
	if err := d.cmd.Wait(); err != nil {
		d.t.Errorf("the demo ended with %v:\n%s", err, d.said())
	}
	left, err := filepath.Glob(fmt.Sprintf("/run/netns/xdpdemux-demo-%d-*", d.cmd.Process.Pid))
	if err != nil || len(left) != 0 {
		d.t.Errorf("namespaces left: %v, %v", left, err)
	}
	return d.said()
}

// TestDemoEndsByItself: without a terminal it shows its tables and ends, having
// moved frames for each port and lost none unseen.
func TestDemoEndsByItself(t *testing.T) {
	out := startDemo(t, nil).ends()
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

// TestDemoAsJSON: with -o json it prints rates and nothing else, one reading on
// each line, of all three ports.
func TestDemoAsJSON(t *testing.T) {
	out := startDemo(t, nil, "-o", "json").ends()
	lines := 0
	for line := range strings.Lines(out) {
		lines++
		var r api.Rates
		if err := api.DecodeStrict([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r.NIC != "nic0" || len(r.Ports) != 3 || r.Seconds <= 0 {
			t.Errorf("%+v", r)
		}
	}
	if lines != 5 {
		t.Errorf("%d lines, want 5:\n%s", lines, out)
	}
}

// TestDemoEndsOnSignal: SIGINT, SIGTERM and SIGHUP end it well at any time.
func TestDemoEndsOnSignal(t *testing.T) {
	for said, signal := range map[string]syscall.Signal{
		"building": syscall.SIGINT, "xdpdemux attach": syscall.SIGTERM, "xdpdemux add": syscall.SIGINT, "traffic:": syscall.SIGHUP, "in frames/s": syscall.SIGTERM,
	} {
		t.Run(said, func(t *testing.T) {
			d := startDemo(t, nil)
			d.says(said)
			if err := d.cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			d.ends()
		})
	}
}

// TestDemoEndsOnCtrlC: at a terminal, Ctrl-C goes to every process in the
// foreground, and so would to the demo's daemon and programs; it ends well all
// the same, and only then: after more tables than it prints elsewhere.
func TestDemoEndsOnCtrlC(t *testing.T) {
	for _, said := range []string{"building", "xdpdemux attach", "in frames/s"} {
		t.Run(said, func(t *testing.T) {
			terminal, line := openPTY(t)
			d := startDemo(t, line)
			line.Close()
			copied := make(chan error, 1)
			go func() { copied <- copyTo(d.path, terminal) }()
			d.says(said)
			if _, err := terminal.Write([]byte{3}); err != nil { // Ctrl-C
				t.Fatal(err)
			}
			out := d.ends()
			if err := <-copied; err != nil {
				t.Error(err)
			}
			if strings.Contains(out, "everything above") {
				t.Errorf("at a terminal it ended by itself:\n%s", out)
			}
		})
	}
}

// TestDemoEndsWithItsTerminal: a terminal that is closed takes nothing with it
// that the demo made.
func TestDemoEndsWithItsTerminal(t *testing.T) {
	terminal, line := openPTY(t)
	d := startDemo(t, line)
	line.Close()
	buf := make([]byte, 4096)
	for seen := ""; !strings.Contains(seen, "in frames/s"); {
		n, err := terminal.Read(buf)
		if err != nil {
			t.Fatalf("%v; the demo said:\n%s", err, seen)
		}
		seen += string(buf[:n])
	}
	if err := terminal.Close(); err != nil {
		t.Fatal(err)
	}
	d.ends()
}

// copyTo writes what comes out of a terminal into a file until the last program
// has closed the other end, which reads as EIO.
func copyTo(path string, terminal *os.File) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = io.Copy(file, terminal); errors.Is(err, syscall.EIO) {
		return nil
	}
	return err
}

// openPTY makes a terminal: what is written into the first end is typed at the
// second.
func openPTY(t *testing.T) (terminal, line *os.File) {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	fd := int(terminal.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err = errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	line, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return terminal, line
}
