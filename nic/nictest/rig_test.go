package nictest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRigCarriesTraffic(t *testing.T) {
	Require(t, "ping")
	r := New(t, Config{
		Queues: 2, Containers: 2,
		HostAddrs: []string{"10.9.0.1/16", "fd09::1/64"},
		WireAddrs: []string{"10.9.0.2/16", "fd09::2/64"},
	})
	r.Wire.Run(t, "ping", "-c1", "-W5", "10.9.0.1")
	r.Wire.Run(t, "ping", "-c1", "-W5", "fd09::1")
	r.Host.Run(t, "ping", "-c1", "-W5", r.Wire.LinkLocal(t, r.WireNIC).String()+"%"+r.NIC)
	r.Containers[1].Run(t, "ping", "-c1", "-W5", "127.0.0.1")
	links := r.Host.Run(t, "ip", "-o", "link")
	if strings.Contains(links, "eth0") || strings.Count(links, "\n") != 2 {
		t.Errorf("host namespace holds more than lo and %s:\n%s", r.NIC, links)
	}
	detail := r.Host.Run(t, "ip", "-d", "link", "show", r.NIC)
	for _, want := range []string{"numtxqueues 2", "numrxqueues 2", "mtu 1500"} {
		if !strings.Contains(detail, want) {
			t.Errorf("no %q in %s", want, detail)
		}
	}
	if r.Host.Inode(t) == r.Wire.Inode(t) || r.Host.MAC(t, r.NIC) == r.Wire.MAC(t, r.WireNIC) {
		t.Error("the two ends share a namespace or a MAC address")
	}
}

func TestWireIsHonestUnlessAsked(t *testing.T) {
	for _, offloads := range []bool{false, true} {
		t.Run(fmt.Sprintf("offloads=%v", offloads), func(t *testing.T) {
			r := New(t, Config{WireOffloads: offloads, MTU: 9000})
			features := r.Wire.Run(t, "ethtool", "-k", r.WireNIC)
			state := "off"
			if offloads {
				state = "on"
			}
			for _, f := range []string{"tx-checksumming", "tcp-segmentation-offload", "tx-udp-segmentation", "tx-vlan-offload"} {
				if !strings.Contains(features, f+": "+state) {
					t.Errorf("%s is not %s:\n%s", f, state, features)
				}
			}
		})
	}
}

func TestNICLeavesAndReturns(t *testing.T) {
	Require(t, "ping")
	r := New(t, Config{HostAddrs: []string{"10.9.0.1/16"}, WireAddrs: []string{"10.9.0.2/16"}})
	mac, index := r.Host.MAC(t, r.NIC), r.Host.Index(t, r.NIC)
	r.RemoveNIC(t)
	if out, err := r.Wire.Try("ip", "link", "show", r.WireNIC); err == nil {
		t.Fatalf("the wire's end outlived the NIC:\n%s", out)
	}
	r.ReturnNIC(t)
	if got := r.Host.MAC(t, r.NIC); got != mac {
		t.Errorf("returned with MAC %x, was %x", got, mac)
	}
	if r.Host.Index(t, r.NIC) == index {
		t.Errorf("returned with the same index %d", index)
	}
	r.Host.Run(t, "ping", "-c1", "-W5", "10.9.0.2")
}

func TestDoComesBack(t *testing.T) {
	r := New(t, Config{})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadNS(t)
	var inside uint64
	err := r.Host.Do(func() error {
		var st unix.Stat_t
		err := unix.Stat("/proc/thread-self/ns/net", &st)
		inside = st.Ino
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if inside != r.Host.Inode(t) || inside == before {
		t.Errorf("Do ran in namespace %d, not in %d", inside, r.Host.Inode(t))
	}
	if got := threadNS(t); got != before {
		t.Errorf("the caller's thread moved from namespace %d to %d", before, got)
	}
	want := errors.New("x")
	if err := r.Host.Do(func() error { return want }); err != want {
		t.Errorf("Do returned %v", err)
	}
	if err := r.Host.Do(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("Do of a function that ended its goroutine returned no error")
	}
}

func threadNS(t *testing.T) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// No thread of the process may be left in a foreign namespace: any goroutine
// could be scheduled onto it.
func TestNoThreadStaysInside(t *testing.T) {
	r := New(t, Config{Containers: 8})
	home := threadNS(t)
	for range 50 {
		_ = r.Host.Do(func() error { return nil })
	}
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil || len(tasks) == 0 {
		t.Fatalf("no tasks: %v", err)
	}
	for _, task := range tasks {
		if ns := netnsOf(task); ns != home && ns != 0 {
			t.Errorf("thread %s is in namespace %d, not in %d", task, ns, home)
		}
	}
}

func TestSysctl(t *testing.T) {
	RequireRoot(t)
	outside, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		t.Fatal(err)
	}
	r := New(t, Config{})
	r.Host.SetSysctl(t, "net/ipv4/ip_forward", "1")
	if got := r.Host.Sysctl(t, "net/ipv4/ip_forward"); got != "1" {
		t.Errorf("ip_forward is %q after setting it to 1", got)
	}
	if got := r.Wire.Sysctl(t, "net/ipv4/ip_forward"); got != "0" {
		t.Errorf("ip_forward of another namespace is %q", got)
	}
	if after, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); string(after) != string(outside) {
		t.Errorf("the machine's ip_forward changed from %s to %s", outside, after)
	}
	if writeSysctl("net/../kernel/hostname", "x") == nil {
		t.Error("a sysctl of the whole machine was accepted")
	}
}

func TestProcess(t *testing.T) {
	r := New(t, Config{})
	p := r.Host.Start(t, "sh", "-c", "echo ready; exec sleep 1000")
	Eventually(t, "the program printed", func() bool { return strings.Contains(p.Output(), "ready") })
	if ns := netnsOf(fmt.Sprintf("/proc/%d", p.Cmd.Process.Pid)); ns != r.Host.Inode(t) {
		t.Errorf("the program runs in namespace %d, not in %d", ns, r.Host.Inode(t))
	}
	if err := p.Stop(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) {
		t.Errorf("a stopped program's Wait returned %v", err)
	}
}

// A test that fails or forgets its processes leaves nothing.
func TestCleanupEndsEverything(t *testing.T) {
	RequireRoot(t)
	var names []string
	var forgotten *exec.Cmd
	t.Run("rig", func(t *testing.T) {
		r := New(t, Config{Containers: 1})
		for _, ns := range []*NS{r.Host, r.Wire, r.Containers[0]} {
			names = append(names, ns.Name)
		}
		forgotten = r.Containers[0].Command("sleep", "1000")
		if err := forgotten.Start(); err != nil {
			t.Fatal(err)
		}
		Eventually(t, "sleep is inside", func() bool {
			return netnsOf(fmt.Sprintf("/proc/%d", forgotten.Process.Pid)) == r.Containers[0].Inode(t)
		})
	})
	if err := forgotten.Wait(); err == nil {
		t.Error("the forgotten process ended by itself")
	}
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(runDir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there (%v)", name, err)
		}
	}
}

// A killed test's namespaces and processes are gone once the next rig starts.
func TestStaleIsRemoved(t *testing.T) {
	RequireRoot(t)
	if err := prepareRunDir(); err != nil {
		t.Fatal(err)
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%s%d-0-host", prefix, gone.Process.Pid)
	if err := makeNetNS(name, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeNetNS(name) })
	stale := &NS{Name: name, Path: filepath.Join(runDir, name)}
	left := stale.Command("sleep", "1000")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	Eventually(t, "sleep is inside", func() bool {
		return netnsOf(fmt.Sprintf("/proc/%d", left.Process.Pid)) == stale.Inode(t)
	})
	r := New(t, Config{})
	if err := left.Wait(); err == nil {
		t.Error("the process in the stale namespace ended by itself")
	}
	if _, err := os.Lstat(stale.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the stale namespace is still there (%v)", err)
	}
	if _, err := os.Lstat(r.Host.Path); err != nil {
		t.Errorf("the living rig's namespace was taken away: %v", err)
	}
}

func TestSocketsStayInside(t *testing.T) {
	r := New(t, Config{})
	var l net.Listener
	err := r.Host.Do(func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("a listener inside is reachable from outside")
	}
	err = r.Host.Do(func() error {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Close()
		}
		return err
	})
	if err != nil {
		t.Errorf("a listener inside is not reachable from inside: %v", err)
	}
}
