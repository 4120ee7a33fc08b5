package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// daemon is the program xdpdemux as its users run it, on the worker's processor.
type daemon struct {
	b       *bed
	rig     *nictest.Rig
	binary  string
	dir     string
	process *nictest.Process
}

// portSpec is what the daemon is told of a port; see docs/api.schema.json.
type portSpec struct {
	Name     string         `json:"name"`
	Kind     string         `json:"kind"`
	IPs      []netip.Prefix `json:"ips"`
	NetNS    string         `json:"netns,omitempty"`
	IfName   string         `json:"ifname,omitempty"`
	Gateways []netip.Addr   `json:"gateways,omitempty"`
	RingSize int            `json:"ring_size,omitempty"`
}

// findDaemon is the program's file: the one that tests are given, the one beside
// this program, or what the shell finds.
func findDaemon() (string, error) {
	if given := os.Getenv("XDPDEMUX_TEST_BINARY"); given != "" {
		return given, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "xdpdemux")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath("xdpdemux")
	if err != nil {
		return "", errors.New("the program xdpdemux is not beside this one: make build")
	}
	return path, nil
}

// startDaemon attaches it to the rig's NIC and waits until it is ready. cpus are
// those that it may use, as taskset wants them.
func startDaemon(b *bed, rig *nictest.Rig, cpus string, args ...string) *daemon {
	binary, err := findDaemon()
	if err != nil {
		b.Skip(err)
	}
	d := &daemon{b: b, rig: rig, binary: binary, dir: b.TempDir()}
	line := append([]string{"taskset", "-c", cpus}, d.line(append([]string{"attach", rig.NIC}, args...)...)...)
	d.process = rig.Host.Start(b, "env", append(d.env(), line...)...)
	b.Cleanup(func() { _ = d.process.Stop(syscall.SIGTERM) })
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if strings.Contains(d.process.Output(), ": ready: ") {
			return d
		}
		select {
		case <-d.process.Done():
			b.Fatalf("the daemon ended: %s", d.process.Output())
		default:
		}
		if time.Now().After(end) {
			b.Fatalf("the daemon is not ready: %s", d.process.Output())
		}
	}
}

func (d *daemon) env() []string {
	return []string{"XDPDEMUX_RUN_DIR=" + filepath.Join(d.dir, "run"), "XDPDEMUX_STATE_DIR=" + filepath.Join(d.dir, "state")}
}

func (d *daemon) line(args ...string) []string { return append([]string{d.binary}, args...) }

// apply makes the daemon's ports what the list says, by its command line on the
// generator's processor, as it would be used.
func (d *daemon) apply(ports []portSpec) error {
	text, err := json.Marshal(map[string]any{"ports": ports})
	if err != nil {
		return err
	}
	line := append(d.env(), "taskset", "-c", strconv.Itoa(generatorCPU))
	cmd := d.rig.Host.Command("env", append(line, d.line("apply", "-f", "-")...)...)
	cmd.Stdin = strings.NewReader(string(text))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("xdpdemux apply: %w: %s", err, out)
	}
	return nil
}

// add adds a port as a user does.
func (d *daemon) add(name string, args ...string) error {
	line := append(d.env(), d.line(append([]string{"add", name}, args...)...)...)
	if out, err := d.rig.Host.Command("env", line...).CombinedOutput(); err != nil {
		return fmt.Errorf("xdpdemux add: %w: %s", err, out)
	}
	return nil
}

// place is where a client of that memif port connects.
func (d *daemon) place(name string) string {
	return filepath.Join(d.dir, "run", d.rig.NIC, name, "memif.sock")
}

func (d *daemon) pid() int { return d.process.Cmd.Process.Pid }

// memifPorts are n ports of that kind, with the traffic's addresses from the
// first-th on.
func memifPorts(t traffic, first, n int) (ports []portSpec) {
	for i := first; i < first+n; i++ {
		ports = append(ports, portSpec{Name: "p" + strconv.Itoa(i), Kind: kindMemif, IPs: []netip.Prefix{netip.PrefixFrom(t.address(i), 32)}})
	}
	return ports
}

// tapPorts are a port in each of the rig's containers, whose subnet is all that
// there are addresses of.
func tapPorts(s *stage) (ports []portSpec) {
	for i, ns := range s.rig.Containers {
		ports = append(ports, portSpec{Name: "p" + strconv.Itoa(i), Kind: "tap", IPs: []netip.Prefix{netip.PrefixFrom(s.t.address(i), 8)},
			NetNS: ns.Path, IfName: inner})
	}
	return ports
}
