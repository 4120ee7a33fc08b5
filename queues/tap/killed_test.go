package tap

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
	"github.com/xdpdemux/xdpdemux/queues/netns"
)

// What a child process of these tests is to do, by its environment.
const (
	childNS   = "TAP_TEST_NETNS" // the namespace to work in
	childStep = "TAP_TEST_STEP"  // the step of Open at which to die
)

// TestChild is the child. It makes an interface and kills itself on the way,
// or, without a step, afterwards.
func TestChild(t *testing.T) {
	path := os.Getenv(childNS)
	if path == "" {
		t.Skip("runs in a child process of other tests")
	}
	ns, err := netns.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	c := fullConfig(ns)
	c.failAt = func(step string) error {
		if step == os.Getenv(childStep) {
			die()
		}
		return nil
	}
	if _, err := Open(c); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	die()
}

func die() {
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	select {}
}

// runChild returns what the child printed, having checked that it died.
func runChild(t *testing.T, ns *netns.NetNS, step string, wrap ...string) string {
	t.Helper()
	args := append(wrap, os.Args[0], "-test.run=^TestChild$")
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childNS+"="+nstest.Path(ns), childStep+"="+step)
	out, err := cmd.CombinedOutput()
	var status *exec.ExitError
	if !errors.As(err, &status) {
		t.Fatalf("the child lived: %v\n%s", err, out)
	}
	return string(out)
}

// A process that is killed at any step of Open leaves nothing; one that is
// killed afterwards leaves everything, and the next takes it over.
func TestKilled(t *testing.T) {
	ns := nstest.New(t)
	before := links(t, ns)
	var steps []string
	c := fullConfig(ns)
	c.failAt = func(step string) error { steps = append(steps, step); return nil }
	q, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Remove(); err != nil {
		t.Fatal(err)
	}
	for _, step := range steps {
		runChild(t, ns, step)
		// The kernel closes a dead process's descriptors a little later.
		for end := time.Now().Add(20 * time.Second); links(t, ns) != before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("killed at step %s: %d interfaces, %d before", step, links(t, ns), before)
			}
		}
	}
	runChild(t, ns, "")
	c.failAt = nil
	q = mustRestore(t, c)
	got, routes := show(t, ns, DefaultName)
	expect(t, "addresses", got, fullAddrs)
	expect(t, "routes", routes, fullRoutes)
	passes(t, ns, DefaultName, q)
}

func TestWithoutTheTunModule(t *testing.T) {
	ns := nstest.New(t)
	before := links(t, ns)
	out := runChild(t, ns, "", "unshare", "--mount", "sh", "-c", `mount -t tmpfs none /dev/net && exec "$@"`, "sh")
	if !strings.Contains(out, tunPath+" is missing: load the module tun") {
		t.Errorf("Open without %s: %s", tunPath, out)
	}
	if n := links(t, ns); n != before {
		t.Errorf("%d interfaces, %d before", n, before)
	}
}

// Many queues may be made, changed and removed at once, in one namespace.
func TestManyAtOnce(t *testing.T) {
	ns := nstest.New(t)
	before, fds := links(t, ns), nstest.FDs(t)
	steering, err := LoadSteering()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 48 {
		wg.Go(func() {
			c := testConfig(ns)
			c.Name, c.Owner = fmt.Sprintf("t%d", i), fmt.Sprintf("xdpdemux:test:%d", i)
			c.Lanes, c.Steering = 1+i%2, steering
			c.Addrs = prefixes(fmt.Sprintf("10.7.%d.1/32", i), fmt.Sprintf("2001:db8:7::%d/128", i+1))
			if err := lifecycle(c); err != nil {
				t.Errorf("queue %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if err := steering.Close(); err != nil {
		t.Error(err)
	}
	if links(t, ns) != before || nstest.FDs(t) != fds {
		t.Errorf("%d interfaces, %d before; %d descriptors, %d before", links(t, ns), before, nstest.FDs(t), fds)
	}
}

// lifecycle is everything that a queue goes through.
func lifecycle(c Config) error {
	q, err := Open(c)
	if err != nil {
		return err
	}
	err = errors.Join(q.SetMTU(1400), q.SetMAC([6]byte{2, 9}), q.SetDepth(50),
		q.SetAddrs(Addressing{Addrs: c.Addrs[:1]}), q.Close())
	if err != nil {
		return errors.Join(err, q.Remove())
	}
	c.MTU, c.MAC, c.Addrs = 1400, [6]byte{2, 9}, c.Addrs[:1]
	if q, err = Restore(c); err != nil {
		return errors.Join(err, Delete(c.NetNS, c.Name, c.Owner))
	}
	r, err := q.Reconcile()
	if err == nil && r != (Repairs{}) {
		err = fmt.Errorf("Reconcile repaired %+v", r)
	}
	return errors.Join(err, q.Remove())
}
