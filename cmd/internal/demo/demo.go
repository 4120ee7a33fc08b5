// Package demo shows the whole thing on a machine that has nothing: a veth
// pair stands in for NIC and wire, three network namespaces for containers, and
// real programs talk through them. It touches nothing outside the namespaces
// that it makes, and removes them.
package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
	"github.com/xdpdemux/xdpdemux/cmd/internal/undo"
)

// Config says how the demo runs.
type Config struct {
	// Out is where it tells what it does.
	Out io.Writer
	// Endless goes on until ctx ends, and repaints the table in place; else a
	// few tables are printed and the demo ends by itself.
	Endless bool
	// JSON prints api.Rates, one on each line, and nothing else.
	JSON bool
	// Program is the xdpdemux binary that serves as daemon.
	Program string
}

// nicName is the veth end that plays the NIC.
const nicName = "nic0"

// The two ends of the wire; the host is a host among others on it.
const (
	wireAddr4, wireAddr6 = "10.77.0.1/16", "fd77::1/64"
	hostAddr4, hostAddr6 = "10.77.0.2/16", "fd77::2/64"
)

// rounds is how many tables are printed where there is an end.
const rounds = 5

// demo is one run.
type demo struct {
	Config
	prefix string // of the namespaces' names
	dir    string // for the daemon's files
	client *control.Client
	undo   undo.Stack
}

func containers() []api.PortSpec {
	ips := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	return []api.PortSpec{
		{Name: "web", IPs: ips("10.77.1.1/16", "fd77::1:1/64")},
		{Name: "db", IPs: ips("10.77.1.2/16", "fd77::1:2/64")},
		{Name: "vm", IPs: ips("10.77.1.3/16"), MAC: api.MAC{0x02, 0, 0, 0x77, 0x01, 0x03}},
	}
}

// Run shows the demo until it is over or ctx ends, which is no error. Whatever
// happens, what was made is removed.
func Run(ctx context.Context, cfg Config) (err error) {
	d := &demo{Config: cfg, prefix: fmt.Sprintf("xdpdemux-demo-%d-", os.Getpid())}
	defer func() { err = errors.Join(err, d.undo.Run()) }()
	for _, step := range []func(context.Context) error{d.build, d.attach, d.add, d.talk, d.show} {
		err := step(ctx)
		if ctx.Err() != nil || interrupted(err) {
			return nil // what fails then was cut short
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) say(format string, args ...any) {
	if !d.JSON {
		fmt.Fprintf(d.Out, format+"\n", args...)
	}
}

// build makes the namespaces and the veth pair between wire and host.
func (d *demo) build(ctx context.Context) (err error) {
	d.say("building: a veth NIC between the namespaces wire and host, and three containers")
	if d.dir, err = os.MkdirTemp("", "xdpdemux-demo-"); err != nil {
		return err
	}
	d.undo.Push("the demo's directory", func() error { return os.RemoveAll(d.dir) })
	for _, name := range []string{"wire", "host", "web", "db", "vm"} {
		if err := errors.Join(ctx.Err(), d.namespace(name)); err != nil {
			return err
		}
	}
	return d.cable()
}

func (d *demo) namespace(name string) error {
	full := d.prefix + name
	if err := run("ip", "netns", "add", full); err != nil {
		return err
	}
	d.undo.Push("namespace "+name, func() error { return run("ip", "netns", "del", full) })
	return d.ip(name, "link set lo up")
}

// cable joins wire and host; the wire is honest as a real one is, so what comes
// off it bears finished checksums.
func (d *demo) cable() error {
	err := run("ip", "link", "add", "wire0", "netns", d.prefix+"wire", "type", "veth", "peer", "name", nicName, "netns", d.prefix+"host")
	if err != nil {
		return err
	}
	for _, c := range [][2]string{
		{"wire", "addr add " + wireAddr4 + " dev wire0"}, {"wire", "addr add " + wireAddr6 + " dev wire0 nodad"},
		{"host", "addr add " + hostAddr4 + " dev nic0"}, {"host", "addr add " + hostAddr6 + " dev nic0 nodad"},
		{"wire", "link set wire0 up"}, {"host", "link set nic0 up"},
	} {
		if err := d.ip(c[0], c[1]); err != nil {
			return err
		}
	}
	return run("nsenter", "--net="+d.path("wire"), "ethtool", "-K", "wire0", "tx", "off", "tso", "off", "gso", "off")
}

func (d *demo) path(name string) string { return "/run/netns/" + d.prefix + name }

func (d *demo) ip(ns, words string) error {
	return run("ip", append([]string{"-n", d.prefix + ns}, strings.Fields(words)...)...)
}

// attach starts the daemon in the host's namespace and waits for it.
func (d *demo) attach(ctx context.Context) error {
	runDir := filepath.Join(d.dir, "run")
	cmd := child("nsenter", "--net="+d.path("host"), d.Program, "attach", nicName,
		"--run-dir", runDir, "--state-dir", filepath.Join(d.dir, "state"))
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if !d.JSON {
		cmd.Stdout, cmd.Stderr = indent(d.Out), indent(d.Out)
	}
	d.say("\n$ xdpdemux attach %s", nicName)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		if err != nil && complaint.Len() > 0 {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(complaint.Bytes()))
		}
		ended <- err
	}()
	d.undo.Push("the daemon", func() error { return d.end(cmd, ended) })
	d.client = control.NewClient(runDir, nicName)
	return d.awaitDaemon(ctx, ended)
}

func (d *demo) awaitDaemon(ctx context.Context, ended chan error) error {
	for {
		if _, err := d.client.Status(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			ended <- err
			return fmt.Errorf("the daemon ended before it was ready: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// leaveLimit is how long the daemon may take to leave: it may have to wait for the
// kernel's lock over all interfaces, which others on a busy machine hold for long.
const leaveLimit = 30 * time.Second

// end asks the daemon to leave, as detach does, and waits for it.
func (d *demo) end(cmd *exec.Cmd, ended chan error) error {
	d.say("\n$ xdpdemux detach %s", nicName)
	if err := cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-ended:
		if interrupted(err) {
			return nil
		}
		return err
	case <-time.After(leaveLimit):
		return errors.Join(errors.New("the daemon does not leave"), cmd.Process.Kill())
	}
}

// interrupted says that a child died of a signal that was for the demo: a
// terminal sends it to the whole group, to which a child belongs until it has
// left for its own, and a daemon that has just begun does not listen for any yet.
func interrupted(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && (status.Signal() == syscall.SIGINT || status.Signal() == syscall.SIGHUP)
}

// add makes the three ports.
func (d *demo) add(ctx context.Context) error {
	specs := containers()
	for i := range specs {
		specs[i].NetNS = d.path(specs[i].Name)
		d.say("$ %s", command(specs[i]))
	}
	_, err := d.client.Add(ctx, specs)
	return err
}

// command is what a user would type to make the port.
func command(s api.PortSpec) string {
	ips := make([]string, len(s.IPs))
	for i, p := range s.IPs {
		ips[i] = p.String()
	}
	line := fmt.Sprintf("xdpdemux add %s --ip %s --netns %s", s.Name, strings.Join(ips, ","), filepath.Base(s.NetNS))
	if !s.MAC.IsZero() {
		line += " --mac " + s.MAC.String()
	}
	return line
}

// run runs a program to its end; its output is in the error.
func run(name string, args ...string) error {
	out, err := child(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// child prepares a program in a process group of its own: a terminal sends
// Ctrl-C to the demo's whole group, and it is for the demo to end its children,
// in order.
func child(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}
