package netns_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
	"github.com/xdpdemux/xdpdemux/queues/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func self(t *testing.T) *netns.NetNS {
	t.Helper()
	ns, err := netns.Self()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// sleeper starts a process inside ns and returns its PID.
func sleeper(t *testing.T, ns *netns.NetNS) int {
	t.Helper()
	cmd := nstest.Command(ns, "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	waitFor(t, func() bool {
		var st unix.Stat_t
		return unix.Stat(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid), &st) == nil && st.Ino == ns.Inode()
	})
	return cmd.Process.Pid
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never happened")
		}
	}
}

// named gives a new namespace a name under /run/netns.
func named(t *testing.T) (name string) {
	t.Helper()
	nstest.RequireRoot(t)
	name = fmt.Sprintf("xdt-%d-netns", os.Getpid())
	_ = exec.Command("ip", "netns", "del", name).Run() // of a test with our PID that was killed
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add: %v\n%s", err, out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", name).Run() })
	return name
}

func TestOpenByPathPIDAndName(t *testing.T) {
	name := named(t)
	byName, err := netns.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer byName.Close()
	for _, spec := range []string{"/run/netns/" + name, strconv.Itoa(sleeper(t, byName)), nstest.Path(byName)} {
		ns, err := netns.Open(spec)
		if err != nil {
			t.Fatalf("Open(%s): %v", spec, err)
		}
		if ns.Inode() != byName.Inode() || ns.String() != spec {
			t.Errorf("Open(%s) = %s, inode %d, want inode %d", spec, ns, ns.Inode(), byName.Inode())
		}
		ns.Close()
	}
	if byName.Inode() == self(t).Inode() {
		t.Error("the new namespace is our own")
	}
}

// What is held outlives its name.
func TestHeldByDescriptor(t *testing.T) {
	name := named(t)
	ns, err := netns.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := ns.Check(); err != nil {
		t.Error(err)
	}
	if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns del: %v\n%s", err, out)
	}
	if _, err := netns.Open(name); !errors.Is(err, netns.ErrNotFound) {
		t.Errorf("Open of a deleted name: %v, want ErrNotFound", err)
	}
	if err := ns.Check(); !errors.Is(err, netns.ErrVanished) {
		t.Errorf("Check: %v, want ErrVanished", err)
	}
	if err := self(t).Check(); err != nil {
		t.Error(err)
	}
	if err := ns.Do(onlyLoopback); err != nil {
		t.Error(err)
	}
}

func onlyLoopback() error {
	list, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range list {
		if i.Flags&net.FlagLoopback == 0 {
			return fmt.Errorf("interface %s in an empty namespace", i.Name)
		}
	}
	return nil
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		spec string
		is   error
		says string
	}{
		{"", nil, "empty"},
		{"no-such-name", netns.ErrNotFound, "/run/netns/no-such-name does not exist"},
		{"/no/such/path", netns.ErrNotFound, "does not exist"},
		{file + "/below", netns.ErrNotFound, "does not exist"},
		{"4194999", netns.ErrNotFound, "does not exist"},
		{"0", nil, "no process"},
		{"99999999999999999999", nil, "no process"},
		{"../escape", nil, "neither"},
		{"..", nil, "neither"},
		{file, netns.ErrNotNetNS, "not a network namespace"},
		{dir, netns.ErrNotNetNS, "not a network namespace"},
		{fifo, netns.ErrNotNetNS, "not a network namespace"},
		{"/proc/self/ns/uts", netns.ErrNotNetNS, "not a network namespace"},
		{"/proc/self/ns/mnt", netns.ErrNotNetNS, "not a network namespace"},
	} {
		ns, err := netns.Open(c.spec)
		if err == nil {
			ns.Close()
			t.Errorf("Open(%q) succeeded", c.spec)
			continue
		}
		if c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("Open(%q): %v, want %v", c.spec, err, c.is)
		}
		if msg := err.Error(); !strings.Contains(msg, c.says) || strings.Contains(msg, "\n") {
			t.Errorf("Open(%q) says %q, want one line with %q", c.spec, msg, c.says)
		}
	}
}

// Nothing that Open refuses stays open.
func TestNoDescriptorLeft(t *testing.T) {
	before := nstest.FDs(t)
	for _, spec := range []string{"/proc/self/ns/uts", "/dev/null", "no-such-name"} {
		if ns, err := netns.Open(spec); err == nil {
			ns.Close()
			t.Errorf("Open(%s) succeeded", spec)
		}
	}
	ns, err := netns.Self()
	if err != nil {
		t.Fatal(err)
	}
	ns.Close()
	if after := nstest.FDs(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestNoDescriptorLimit(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	_, err := netns.Open("/proc/self/ns/net")
	if back := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); back != nil {
		t.Fatal(back)
	}
	if !errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), "ulimit") {
		t.Errorf("Open without a free descriptor: %v", err)
	}
}

func threadNS() (string, error) { return os.Readlink("/proc/thread-self/ns/net") }

func TestDoIsInsideAndHomeAgain(t *testing.T) {
	ns := nstest.New(t)
	home := fmt.Sprintf("net:[%d]", self(t).Inode())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				err := ns.Do(func() error {
					if at, err := threadNS(); err != nil || at != fmt.Sprintf("net:[%d]", ns.Inode()) {
						return fmt.Errorf("inside Do the thread is at %s (%v)", at, err)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				if at, err := threadNS(); err != nil || at != home {
					t.Errorf("after Do a thread is at %s (%v), home is %s", at, err, home)
				}
			}
		})
	}
	wg.Wait()
}

func TestDoReturnsErrors(t *testing.T) {
	ns := nstest.New(t)
	if err := ns.Do(func() error { return fs.ErrExist }); err != fs.ErrExist {
		t.Errorf("Do = %v", err)
	}
	if err := ns.Do(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("a function that ended its goroutine went unnoticed")
	}
	if at, err := threadNS(); err != nil || at != fmt.Sprintf("net:[%d]", self(t).Inode()) {
		t.Errorf("after Goexit inside Do: at %s (%v)", at, err)
	}
	ns.Close()
	if err := ns.Do(func() error { t.Error("fn ran"); return nil }); err == nil {
		t.Error("Do in a closed namespace succeeded")
	}
}

// A thread that was taken elsewhere by fn comes home all the same.
func TestDoThatStrays(t *testing.T) {
	ns, other := nstest.New(t), nstest.New(t)
	if err := ns.Do(func() error { return unix.Setns(other.Fd(), unix.CLONE_NEWNET) }); err != nil {
		t.Fatal(err)
	}
	home := fmt.Sprintf("net:[%d]", self(t).Inode())
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if at, err := os.Readlink(task); err == nil && at != home {
			t.Errorf("%s is at %s, home is %s", task, at, home)
		}
	}
}

func TestHandle(t *testing.T) {
	ns := nstest.New(t)
	h, err := ns.Handle()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil || len(links) == 0 {
		t.Fatalf("%d links: %v", len(links), err)
	}
	for _, l := range links {
		if l.Attrs().Flags&net.FlagLoopback == 0 && l.Attrs().Flags&net.FlagUp != 0 {
			t.Errorf("%s is up in an empty namespace", l.Attrs().Name)
		}
	}
}

func TestFind(t *testing.T) {
	ns := nstest.New(t)
	id, err := ns.Identity()
	if err != nil {
		t.Fatal(err)
	}
	if id.Inode != ns.Inode() || id.Cookie == 0 {
		t.Fatalf("identity %+v of inode %d", id, ns.Inode())
	}
	pid := sleeper(t, ns)
	// By a spec that leads there, one that leads elsewhere, one that leads nowhere.
	for _, spec := range []string{strconv.Itoa(pid), "/proc/self/ns/net", "no-such-name"} {
		found, err := netns.Find(spec, id)
		if err != nil {
			t.Fatalf("Find(%s): %v", spec, err)
		}
		if found.Inode() != ns.Inode() || found.String() != spec {
			t.Errorf("Find(%s) = %s, inode %d", spec, found, found.Inode())
		}
		found.Close()
	}
}

// An inode that was used again is not the namespace that had it.
func TestFindDistrustsInodes(t *testing.T) {
	ns := nstest.New(t)
	id, err := ns.Identity()
	if err != nil {
		t.Fatal(err)
	}
	id.Cookie++
	pid := sleeper(t, ns)
	before := nstest.FDs(t)
	if found, err := netns.Find(strconv.Itoa(pid), id); !errors.Is(err, netns.ErrVanished) {
		if err == nil {
			found.Close()
		}
		t.Errorf("Find of another cookie: %v, want ErrVanished", err)
	}
	if after := nstest.FDs(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
