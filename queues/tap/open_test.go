package tap

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
	"github.com/xdpdemux/xdpdemux/queues/netns"
)

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

func addrs(list ...string) (a []netip.Addr) {
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}

// fullConfig uses everything that a Config has.
func fullConfig(ns *netns.NetNS) Config {
	c := testConfig(ns)
	c.MTU, c.Lanes, c.Depth, c.GSO = 1400, 2, 300, true
	c.Addrs = prefixes("10.1.2.3/24", "10.9.0.1/32", "2001:db8::3/64")
	c.LinkLocal = netip.MustParseAddr("fe80::1234")
	c.Gateways = addrs("10.1.2.254", "2001:db8::1")
	return c
}

// show is what iproute2 says of the interface: addresses with their prefix
// lengths, and the routes of the main table, with a carrier or without.
func show(t testing.TB, ns *netns.NetNS, name string) (addrs, routes []string) {
	t.Helper()
	for line := range strings.Lines(nstest.Run(t, ns, "ip", "-o", "addr", "show", "dev", name)) {
		addrs = append(addrs, strings.Fields(line)[3])
	}
	for _, family := range []string{"-4", "-6"} {
		for line := range strings.Lines(nstest.Run(t, ns, "ip", family, "route", "show", "dev", name)) {
			routes = append(routes, strings.ReplaceAll(strings.Join(strings.Fields(line), " "), " linkdown", ""))
		}
	}
	slices.Sort(addrs)
	slices.Sort(routes)
	return addrs, routes
}

func expect(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

var (
	fullAddrs = []string{"10.1.2.3/24", "10.9.0.1/32", "2001:db8::3/64", "fe80::1234/64"}
	// A line each as "ip route" shows them.
	fullRoutes = []string{
		"10.1.2.0/24 proto kernel scope link src 10.1.2.3",
		"2001:db8::/64 proto kernel metric 256 pref medium",
		"default via 10.1.2.254 proto static src 10.1.2.3",
		"default via 2001:db8::1 proto static src 2001:db8::3 metric 1024 pref medium",
		"fe80::/64 proto kernel metric 256 pref medium",
	}
)

func TestOpenMakesTheInterface(t *testing.T) {
	ns := nstest.New(t)
	q := mustOpen(t, fullConfig(ns))
	link, ok := linkOf(t, ns, DefaultName).(*netlink.Tuntap)
	if !ok {
		t.Fatal("no TAP")
	}
	if link.MTU != 1400 || link.TxQLen != 300 || link.Alias != "xdpdemux:test:port" ||
		link.HardwareAddr.String() != "02:00:00:00:00:01" || link.Index != q.Index() {
		t.Errorf("interface %+v", link.LinkAttrs)
	}
	if !isUp(link) || link.OperState == netlink.OperDown {
		t.Errorf("flags %v, state %v", link.Flags, link.OperState)
	}
	if !isOurs(link, "xdpdemux:test:port") || link.Queues != 2 {
		t.Errorf("TAP %+v", link)
	}
	got, routes := show(t, ns, DefaultName)
	expect(t, "addresses", got, fullAddrs)
	expect(t, "routes", routes, fullRoutes)
	if out := nstest.Run(t, ns, "tc", "qdisc", "show", "dev", DefaultName); !strings.Contains(out, "noqueue") {
		t.Errorf("queueing discipline: %s", out)
	}
	if q.Lane(0).MaxFrame() != MaxSuperFrame {
		t.Errorf("MaxFrame %d", q.Lane(0).MaxFrame())
	}
}

// No address is ever tentative, and the kernel makes and accepts none.
func TestOpenKeepsIPv6Quiet(t *testing.T) {
	ns := nstest.New(t)
	mustOpen(t, fullConfig(ns))
	for line := range strings.Lines(nstest.Run(t, ns, "ip", "-o", "-6", "addr", "show", "dev", DefaultName)) {
		if !strings.Contains(line, "nodad") || strings.Contains(line, "tentative") {
			t.Errorf("address: %s", line)
		}
	}
	for _, s := range sysctls {
		path := "net/" + fmt.Sprintf(s.path, DefaultName)
		if got := nstest.Run(t, ns, "sysctl", "-n", strings.ReplaceAll(path, "/", ".")); strings.TrimSpace(got) != s.value {
			t.Errorf("%s = %s, want %s: %s", path, got, s.value, s.why)
		}
	}
}

// A host port has no addresses at all, and no IPv6 need exist.
func TestOpenWithoutAddresses(t *testing.T) {
	ns := nstest.New(t)
	silence(t, ns)
	c := testConfig(ns)
	c.Name = "xdmx0"
	mustOpen(t, c)
	got, routes := show(t, ns, "xdmx0")
	if len(got) != 0 || len(routes) != 0 {
		t.Errorf("addresses %q, routes %q", got, routes)
	}
}

// A namespace whose default forbids IPv6 does not keep a port from having it.
func TestOpenEnablesIPv6(t *testing.T) {
	ns := nstest.New(t)
	silence(t, ns)
	c := testConfig(ns)
	c.Addrs = prefixes("2001:db8::7/128")
	mustOpen(t, c)
	got, _ := show(t, ns, DefaultName)
	expect(t, "addresses", got, []string{"2001:db8::7/128"})
}

// A container with a /32 reaches its gateway without a prefix around it.
func TestOpenOnLinkGateways(t *testing.T) {
	ns := nstest.New(t)
	c := testConfig(ns)
	c.Addrs = prefixes("10.9.0.1/32", "2001:db8::9/128")
	c.LinkLocal = netip.MustParseAddr("fe80::9")
	c.Gateways = addrs("10.1.1.1", "fe80::1")
	q := mustOpen(t, c)
	_, routes := show(t, ns, DefaultName)
	expect(t, "routes", routes, []string{
		"2001:db8::9 proto kernel metric 256 pref medium",
		"default via 10.1.1.1 proto static src 10.9.0.1 onlink",
		"default via fe80::1 proto static src 2001:db8::9 metric 1024 pref medium",
		"fe80::/64 proto kernel metric 256 pref medium",
	})
	if err := q.SetNeighbour(c.Gateways[0], [6]byte{2, 0, 0, 0, 0, 9}); err != nil {
		t.Fatal(err)
	}
	out := nstest.Run(t, ns, "ip", "neigh", "show", "dev", DefaultName)
	if !strings.Contains(out, "10.1.1.1 lladdr 02:00:00:00:00:09 PERMANENT") {
		t.Errorf("neighbours: %s", out)
	}
}

// inNS runs fn for a Config without a NetNS: in the namespace of the thread.
func inNS(t *testing.T, ns *netns.NetNS, fn func(Config) error) {
	t.Helper()
	if err := ns.Do(func() error { return fn(testConfig(nil)) }); err != nil {
		t.Error(err)
	}
}

func TestOpenInOwnNamespace(t *testing.T) {
	ns := nstest.New(t)
	inNS(t, ns, func(c Config) error {
		q, err := Open(c)
		if err != nil {
			return err
		}
		if _, err := q.Reconcile(); err != nil {
			t.Error(err)
		}
		return q.Remove()
	})
}

// links counts the interfaces of a namespace.
func links(t testing.TB, ns *netns.NetNS) int {
	t.Helper()
	h, err := ns.Handle()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	list, err := h.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Whatever step fails, nothing is left.
func TestOpenIsAllOrNothing(t *testing.T) {
	ns := nstest.New(t)
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
	if len(steps) < 10 || steps[len(steps)-1] != "persist" {
		t.Fatalf("the steps are %q; persist must be the last, for the sake of a crash in between", steps)
	}
	fds, before := nstest.FDs(t), links(t, ns)
	for _, failing := range steps {
		c.failAt = func(step string) error {
			if step == failing {
				return fmt.Errorf("step %s: %w", step, os.ErrInvalid)
			}
			return nil
		}
		if _, err := Open(c); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("Open whose step %s failed: %v", failing, err)
		}
		if n := nstest.FDs(t); n != fds {
			t.Errorf("step %s: %d descriptors, %d before", failing, n, fds)
		}
		if n := links(t, ns); n != before {
			t.Errorf("step %s: %d interfaces, %d before", failing, n, before)
		}
	}
}

// The same with what really goes wrong.
func TestOpenRefuses(t *testing.T) {
	ns := nstest.New(t)
	nstest.Run(t, ns, "ip", "link", "add", "v0", "type", "veth", "peer", "v1")
	nstest.Run(t, ns, "ip", "link", "set", "v0", "up")
	nstest.Run(t, ns, "ip", "link", "set", "v1", "up")
	nstest.Run(t, ns, "ip", "addr", "add", "10.77.0.1/24", "dev", "v0")
	nstest.Run(t, ns, "ip", "route", "add", "default", "via", "10.77.0.2")
	nstest.Run(t, ns, "ip", "tuntap", "add", "tap7", "mode", "tap")
	vanished := nstest.New(t)
	vanished.Close()
	fds, before := nstest.FDs(t), links(t, ns)
	for _, c := range []struct {
		change func(*Config)
		says   string
	}{
		{func(c *Config) { c.Name = "v0" }, "v0 exists already in netns self (veth)"},
		{func(c *Config) { c.Name = "tap7" }, "tap7 exists already in netns self (tuntap)"},
		{func(c *Config) { c.Name = "lo" }, "lo exists already"},
		{func(c *Config) { c.Addrs = prefixes("10.1.2.3/24"); c.Gateways = addrs("10.1.2.1") },
			"there is one already (via 10.77.0.2 on interface"},
		{func(c *Config) { c.NetNS = vanished }, "netns self"},
		{func(c *Config) { c.Name = "a-name-too-long-" }, "16 bytes"},
		{func(c *Config) { c.Lanes = MaxLanes + 1 }, "lanes"},
	} {
		cfg := testConfig(ns)
		c.change(&cfg)
		q, err := Open(cfg)
		if err == nil {
			q.Remove()
			t.Errorf("%q: Open succeeded", c.says)
			continue
		}
		if msg := err.Error(); !strings.Contains(msg, c.says) || strings.Contains(msg, "\n") {
			t.Errorf("Open says %q, want one line with %q", msg, c.says)
		}
		if n := nstest.FDs(t); n != fds {
			t.Errorf("%q: %d descriptors, %d before", c.says, n, fds)
		}
		if n := links(t, ns); n != before {
			t.Errorf("%q: %d interfaces, %d before", c.says, n, before)
		}
	}
}

func TestNameTakenIsTyped(t *testing.T) {
	ns := nstest.New(t)
	mustOpen(t, testConfig(ns))
	_, err := Open(testConfig(ns))
	var taken *NameTakenError
	if !errors.As(err, &taken) || taken.Kind != "tuntap" || taken.Alias != "xdpdemux:test:port" {
		t.Errorf("the name of another port: %v", err)
	}
}

func TestOpenWithoutDescriptors(t *testing.T) {
	ns := nstest.New(t)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	c := testConfig(ns)
	c.Lanes = 40
	low := unix.Rlimit{Cur: uint64(nstest.FDs(t) + 20), Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	_, err := Open(c)
	if back := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); back != nil {
		t.Fatal(back)
	}
	if !errors.Is(err, unix.EMFILE) || !strings.Contains(err.Error(), "ulimit") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Open without descriptors: %v", err)
	}
	if n := links(t, ns); n != links(t, nstest.New(t)) {
		t.Errorf("%d interfaces are left", n)
	}
}

// Without CAP_NET_ADMIN nothing is made. Capabilities belong to a thread.
func TestOpenWithoutPrivilege(t *testing.T) {
	ns := nstest.New(t)
	inNS(t, ns, func(c Config) error {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var all, none [2]unix.CapUserData
		if err := unix.Capget(&hdr, &all[0]); err != nil {
			return err
		}
		none = all
		none[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		if err := unix.Capset(&hdr, &none[0]); err != nil {
			return err
		}
		_, err := Open(c)
		if back := unix.Capset(&hdr, &all[0]); back != nil {
			runtime.Goexit() // and with it, this thread
		}
		if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("Open without CAP_NET_ADMIN: %v", err)
		}
		return nil
	})
}

func TestOpenErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		err  error
		says string
	}{
		{unix.ENOENT, "modprobe tun"},
		{unix.ENODEV, "modprobe tun"},
		{unix.EMFILE, "ulimit -n"},
		{unix.EACCES, "run as root"},
		{unix.EIO, tunPath},
	} {
		if err := openError(c.err); !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want %q", c.err, err, c.says)
		}
	}
}

// A queue costs a descriptor per lane and nothing else.
func TestDescriptorsPerQueue(t *testing.T) {
	ns := nstest.New(t)
	before := nstest.FDs(t)
	for i, lanes := range []int{1, 2, 4} {
		c := fullConfig(ns)
		c.Name, c.Lanes, c.Gateways = fmt.Sprintf("t%d", i), lanes, nil
		c.Addrs, c.LinkLocal = nil, netip.Addr{}
		q, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		if n := nstest.FDs(t) - before; n != lanes {
			t.Errorf("%d lanes cost %d descriptors", lanes, n)
		}
		if err := q.Remove(); err != nil {
			t.Error(err)
		}
	}
	if n := nstest.FDs(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
}

// sysctlPath is used by tests that look behind the interface's back.
func sysctlPath(parts ...string) string {
	return filepath.Join(append([]string{"/proc/sys/net"}, parts...)...)
}
