package nictest

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// NS is one network namespace of a rig. Its methods may be called by any
// goroutine; those that take a testing.TB only by goroutines that may end the
// test.
type NS struct {
	// Name is the namespace's name, as "ip netns" shows it.
	Name string
	// Path is /run/netns/Name.
	Path string
	// NICName is the rig's veth end in this namespace; empty in a container.
	NICName string
}

// Command prepares a program that will run inside the namespace. It runs as
// the very process that is started, so signals reach it.
func (n *NS) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", n.enter(name, args)...)
}

func (n *NS) enter(name string, args []string) []string {
	return append([]string{"--net=" + n.Path, "--", name}, args...)
}

// Try runs a program inside the namespace to its end and returns what it
// printed on both outputs. An error carries the command line and the output.
func (n *NS) Try(name string, args ...string) (string, error) {
	out, err := n.Command(name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s in %s: %w\n%s", strings.Join(append([]string{name}, args...), " "), n.Name, err, out)
	}
	return string(out), err
}

// Run is Try, and an error fails the test. The program is killed when the test
// ends.
func (n *NS) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nsenter", n.enter(name, args)...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s in %s: %v\n%s", name, strings.Join(args, " "), n.Name, err, out)
	}
	return string(out)
}

// Do runs fn inside the namespace, on a thread of its own, and returns its
// error. Sockets that fn opens stay in the namespace and may be used anywhere.
// fn must not start goroutines that rely on the namespace, and must not call
// t.FailNow or t.Fatal: it should return an error.
func (n *NS) Do(fn func() error) error { return inNetNS(n.Path, fn) }

// Inode identifies the namespace.
func (n *NS) Inode(t testing.TB) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(n.Path, &st); err != nil {
		t.Fatalf("stat %s: %v", n.Path, err)
	}
	return st.Ino
}

func (n *NS) iface(t testing.TB, name string) *net.Interface {
	t.Helper()
	var ifi *net.Interface
	err := n.Do(func() (err error) {
		ifi, err = net.InterfaceByName(name)
		return err
	})
	if err != nil {
		t.Fatalf("interface %s in %s: %v", name, n.Name, err)
	}
	return ifi
}

// MAC is the MAC address of an interface in the namespace.
func (n *NS) MAC(t testing.TB, ifname string) [6]byte {
	t.Helper()
	hw := n.iface(t, ifname).HardwareAddr
	if len(hw) != 6 {
		t.Fatalf("interface %s in %s has no Ethernet address", ifname, n.Name)
	}
	return [6]byte(hw)
}

// Index is the index of an interface in the namespace.
func (n *NS) Index(t testing.TB, ifname string) int {
	t.Helper()
	return n.iface(t, ifname).Index
}

// LinkLocal is the first IPv6 link-local address of an interface, without zone.
func (n *NS) LinkLocal(t testing.TB, ifname string) netip.Addr {
	t.Helper()
	var found netip.Addr
	err := n.Do(func() error {
		ifi, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		addrs, err := ifi.Addrs()
		for _, a := range addrs {
			p, perr := netip.ParsePrefix(a.String())
			if perr == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() && !found.IsValid() {
				found = p.Addr()
			}
		}
		return err
	})
	if err != nil || !found.IsValid() {
		t.Fatalf("no link-local address on %s in %s (%v)", ifname, n.Name, err)
	}
	return found
}

// Sysctl reads a sysctl of the namespace, named with slashes from /proc/sys on,
// such as "net/ipv4/ip_forward".
func (n *NS) Sysctl(t testing.TB, key string) string {
	t.Helper()
	var value []byte
	err := n.Do(func() (err error) {
		value, err = os.ReadFile(filepath.Join("/proc/sys", key))
		return err
	})
	if err != nil {
		t.Fatalf("read sysctl in %s: %v", n.Name, err)
	}
	return string(bytes.TrimSpace(value))
}

// SetSysctl writes a sysctl of the namespace; see Sysctl. Only keys under net/
// belong to a namespace, so no others are written.
func (n *NS) SetSysctl(t testing.TB, key, value string) {
	t.Helper()
	if err := n.Do(func() error { return writeSysctl(key, value) }); err != nil {
		t.Fatalf("write sysctl in %s: %v", n.Name, err)
	}
}

func writeSysctl(key, value string) error {
	if !strings.HasPrefix(filepath.Clean(key), "net/") {
		return fmt.Errorf("sysctl %s belongs to the whole machine", key)
	}
	return os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0o644)
}
