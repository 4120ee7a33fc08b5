// Package nstest makes network namespaces for tests. They have no name, only
// a descriptor, so even a killed test leaves none behind.
package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/netns"
)

// RequireRoot skips the test where it may not make network namespaces.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN) to make network namespaces")
	}
}

// Missing ends a test that needs a program or a feature of the kernel that this machine
// lacks: the test is skipped, and fails with CI=true in the environment, since a
// machine of CI has all that is needed and must never pass by skipping.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}

// New makes a network namespace that lasts until the end of the test.
func New(t testing.TB) *netns.NetNS {
	t.Helper()
	RequireRoot(t)
	ns, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

// Open makes a network namespace that the caller closes. It is made on a
// thread that comes home again: were it the process's first thread, it could
// not be thrown away, and /proc/self/ns/net would be the new namespace from
// then on.
func Open() (ns *netns.NetNS, err error) {
	home, err := netns.Self()
	if err != nil {
		return nil, err
	}
	defer home.Close()
	err = home.Do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		ns, err = netns.Self()
		return err
	})
	return ns, err
}

// Path is a path that leads to the namespace while it is held.
func Path(ns *netns.NetNS) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.Fd()) }

// Run runs a program inside the namespace and returns what it printed; its
// failure is the test's.
func Run(t testing.TB, ns *netns.NetNS, name string, args ...string) string {
	t.Helper()
	out, err := Command(ns, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Command prepares a program that will run inside the namespace.
func Command(ns *netns.NetNS, name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + Path(ns), "--", name}, args...)...)
}

// FDs counts the descriptors of the process. Those of the runtime's own poller,
// which it opens when it first needs them, are always among them.
func FDs(t testing.TB) int {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries) - 1 // one is the directory's own
}
