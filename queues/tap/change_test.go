package tap

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
)

func TestSetMACWhileUp(t *testing.T) {
	ns := nstest.New(t)
	q := mustOpen(t, fullConfig(ns))
	if err := q.SetNeighbour(q.Config().Gateways[0], [6]byte{2, 0, 0, 0, 0, 9}); err != nil {
		t.Fatal(err)
	}
	if err := q.SetMAC([6]byte{2, 0, 0, 0, 0, 0x77}); err != nil {
		t.Fatal(err)
	}
	link := linkOf(t, ns, DefaultName)
	if !isUp(link) || link.Attrs().HardwareAddr.String() != "02:00:00:00:00:77" {
		t.Errorf("up %t, MAC %s", isUp(link), link.Attrs().HardwareAddr)
	}
	got, routes := show(t, ns, DefaultName)
	expect(t, "addresses", got, fullAddrs)
	expect(t, "routes", routes, fullRoutes)
	if err := q.SetMAC([6]byte{1}); err == nil {
		t.Error("a multicast address was taken")
	}
	if r, err := q.Reconcile(); err != nil || r != (Repairs{}) {
		t.Errorf("Reconcile = %+v, %v", r, err)
	}
}

func TestSetMTU(t *testing.T) {
	ns := nstest.New(t)
	c := testConfig(ns)
	c.Addrs = prefixes("10.0.0.1/24")
	q := mustOpen(t, c)
	fits := func(size int) bool {
		n, _ := q.Lane(0).Deliver([]frame.Frame{{Data: make([]byte, size)}})
		return n == 1
	}
	for _, mtu := range []int{1500, 9000, 1000, 1300} {
		if err := q.SetMTU(mtu); err != nil {
			t.Fatal(err)
		}
		if got := linkOf(t, ns, DefaultName).Attrs().MTU; got != mtu {
			t.Errorf("MTU %d, want %d", got, mtu)
		}
		if !fits(mtu+14) || fits(mtu+15) || q.Lane(0).MaxFrame() != mtu+18 {
			t.Errorf("with an MTU of %d, does the largest frame fit: %t, a larger one: %t", mtu, fits(mtu+14), fits(mtu+15))
		}
	}
	// IPv6 went with the MTU below 1280 and came back tame.
	got, _ := show(t, ns, DefaultName)
	expect(t, "addresses", got, []string{"10.0.0.1/24"})
	ra, err := sysctlIn(ns, "ipv6", "conf", DefaultName, "accept_ra")
	if err != nil || ra != "0" {
		t.Errorf("accept_ra is %q (%v)", ra, err)
	}
	for _, mtu := range []int{MinMTU - 1, MaxMTU + 1, -1} {
		if err := q.SetMTU(mtu); err == nil {
			t.Errorf("an MTU of %d was taken", mtu)
		}
	}
	if got := q.Config().MTU; got != 1300 {
		t.Errorf("after refusals the MTU is %d", got)
	}
}

// A tagged frame may be 4 bytes longer.
func TestTaggedFrames(t *testing.T) {
	q := mustOpen(t, testConfig(nstest.New(t)))
	for _, c := range []struct {
		kind [2]byte
		size int
		why  frame.Refusal
	}{
		{[2]byte{0x08, 0x00}, 1514, frame.Accepted},
		{[2]byte{0x08, 0x00}, 1515, frame.TooBig},
		{[2]byte{0x81, 0x00}, 1518, frame.Accepted},
		{[2]byte{0x88, 0xa8}, 1518, frame.Accepted},
		{[2]byte{0x81, 0x00}, 1519, frame.TooBig},
	} {
		b := make([]byte, c.size)
		copy(b[12:], c.kind[:])
		if _, why := q.Lane(0).Deliver([]frame.Frame{{Data: b}}); why != c.why {
			t.Errorf("%d bytes of type %x: %d, want %d", c.size, c.kind, why, c.why)
		}
	}
}

func TestSetDepth(t *testing.T) {
	ns := nstest.New(t)
	silence(t, ns)
	c := testConfig(ns)
	c.Depth = 8
	q := mustOpen(t, c)
	p := newPeer(t, ns, DefaultName)
	defer p.Close()
	waiting := func() (n int) {
		f := make([]frame.Frame, 64)
		for i := range f {
			f[i].Data = make([]byte, 128)
		}
		return q.Lane(0).Collect(f, 1<<20)
	}
	fill := func(n int) {
		for range n {
			// That a lane is full may be said or not.
			if err := p.Send(frame.Frame{Data: make([]byte, 60)}); err != nil && !errors.Is(err, unix.ENOBUFS) {
				t.Fatal(err)
			}
		}
	}
	fill(20)
	if n := waiting(); n != 8 {
		t.Errorf("%d frames wait in a lane of 8", n)
	}
	fill(5)
	if err := q.SetDepth(32); err != nil {
		t.Fatal(err)
	}
	fill(40)
	if n := waiting(); n != 32 {
		t.Errorf("%d frames wait in a lane of 32", n)
	}
	if s, err := q.LinkStats(); err != nil || s.TxDropped != 12+13 {
		t.Errorf("the kernel dropped %d frames, want 25 (%v)", s.TxDropped, err)
	}
	for _, depth := range []int{0, -1, MaxDepth + 1} {
		if err := q.SetDepth(depth); err == nil {
			t.Errorf("a depth of %d was taken", depth)
		}
	}
}

// sysctlIn reads a setting inside a namespace.
func sysctlIn(ns interface{ Do(func() error) error }, parts ...string) (value string, err error) {
	err = ns.Do(func() error {
		b, err := os.ReadFile(sysctlPath(parts...))
		value = strings.TrimSpace(string(b))
		return err
	})
	return value, err
}

func TestSetAddrs(t *testing.T) {
	ns := nstest.New(t)
	q := mustOpen(t, fullConfig(ns))
	for _, c := range []struct {
		name          string
		to            Addressing
		addrs, routes []string
	}{
		{
			"another primary of the same subnet",
			Addressing{Addrs: prefixes("10.1.2.4/24", "10.9.0.1/32", "2001:db8::3/64"),
				LinkLocal: netip.MustParseAddr("fe80::1234"), Gateways: addrs("10.1.2.254", "2001:db8::1")},
			[]string{"10.1.2.4/24", "10.9.0.1/32", "2001:db8::3/64", "fe80::1234/64"},
			[]string{
				"10.1.2.0/24 proto kernel scope link src 10.1.2.4",
				"2001:db8::/64 proto kernel metric 256 pref medium",
				"default via 10.1.2.254 proto static src 10.1.2.4",
				"default via 2001:db8::1 proto static src 2001:db8::3 metric 1024 pref medium",
				"fe80::/64 proto kernel metric 256 pref medium",
			},
		},
		{
			"a secondary becomes the only one",
			Addressing{Addrs: prefixes("10.1.2.4/24", "10.1.2.5/24")},
			[]string{"10.1.2.4/24", "10.1.2.5/24"},
			[]string{"10.1.2.0/24 proto kernel scope link src 10.1.2.4"},
		},
		{
			"and is promoted",
			Addressing{Addrs: prefixes("10.1.2.5/24"), Gateways: addrs("10.1.2.1")},
			[]string{"10.1.2.5/24"},
			[]string{
				"10.1.2.0/24 proto kernel scope link src 10.1.2.5",
				"default via 10.1.2.1 proto static src 10.1.2.5",
			},
		},
		{
			"other prefix lengths, other gateways",
			Addressing{Addrs: prefixes("10.1.2.5/16", "2001:db8::5/64"), Gateways: addrs("10.1.99.1", "2001:db8::2")},
			[]string{"10.1.2.5/16", "2001:db8::5/64"},
			[]string{
				"10.1.0.0/16 proto kernel scope link src 10.1.2.5",
				"2001:db8::/64 proto kernel metric 256 pref medium",
				"default via 10.1.99.1 proto static src 10.1.2.5",
				"default via 2001:db8::2 proto static src 2001:db8::5 metric 1024 pref medium",
			},
		},
		{
			"another length of an IPv6 prefix",
			Addressing{Addrs: prefixes("2001:db8::5/48"), Gateways: addrs("2001:db8:0:1::2")},
			[]string{"2001:db8::5/48"},
			[]string{
				"2001:db8::/48 proto kernel metric 256 pref medium",
				"default via 2001:db8:0:1::2 proto static src 2001:db8::5 metric 1024 pref medium",
			},
		},
		{"nothing", Addressing{}, nil, nil},
	} {
		if err := q.SetAddrs(c.to); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got, routes := show(t, ns, DefaultName)
		expect(t, c.name+": addresses", got, c.addrs)
		slices.Sort(c.routes)
		expect(t, c.name+": routes", routes, c.routes)
		if r, err := q.Reconcile(); err != nil || r != (Repairs{}) {
			t.Errorf("%s: Reconcile = %+v, %v", c.name, r, err)
		}
	}
}

// An address that stays is not deleted and made again: a mark on it stays too.
func TestSetAddrsLeavesWhatStays(t *testing.T) {
	ns := nstest.New(t)
	c := testConfig(ns)
	c.Addrs = prefixes("10.1.2.3/24", "10.1.2.4/24", "2001:db8::3/64")
	q := mustOpen(t, c)
	for _, a := range []string{"10.1.2.4/24", "2001:db8::3/64"} {
		nstest.Run(t, ns, "ip", "addr", "change", a, "dev", DefaultName, "valid_lft", "5000", "preferred_lft", "5000")
	}
	err := q.SetAddrs(Addressing{Addrs: prefixes("10.1.2.4/24", "2001:db8::3/64", "10.1.2.9/24")})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"10.1.2.4/24", "2001:db8::3/64"} {
		out := nstest.Run(t, ns, "ip", "-o", "addr", "show", "to", strings.Split(a, "/")[0])
		if strings.Contains(out, "forever") || !strings.Contains(out, "sec") {
			t.Errorf("%s was touched: %s", a, out)
		}
	}
}

// What fails leaves the old set.
func TestSetAddrsFails(t *testing.T) {
	ns := nstest.New(t)
	nstest.Run(t, ns, "ip", "link", "add", "v0", "type", "veth", "peer", "v1")
	nstest.Run(t, ns, "ip", "link", "set", "v0", "up")
	nstest.Run(t, ns, "ip", "link", "set", "v1", "up")
	c := testConfig(ns)
	c.Addrs = prefixes("10.1.2.3/24")
	q := mustOpen(t, c)
	nstest.Run(t, ns, "ip", "addr", "add", "10.77.0.1/24", "dev", "v0")
	nstest.Run(t, ns, "ip", "route", "add", "default", "via", "10.77.0.2")
	for _, to := range []Addressing{
		{Addrs: prefixes("10.1.2.4/24"), Gateways: addrs("10.1.2.1")}, // v0 has the default route
		{Addrs: prefixes("224.0.0.1/24")},
	} {
		if err := q.SetAddrs(to); err == nil {
			t.Fatalf("SetAddrs(%v) succeeded", to)
		}
		got, routes := show(t, ns, DefaultName)
		expect(t, "addresses", got, []string{"10.1.2.3/24"})
		expect(t, "routes", routes, []string{"10.1.2.0/24 proto kernel scope link src 10.1.2.3"})
		if cfg := q.Config(); !slices.Equal(cfg.Addrs, c.Addrs) || len(cfg.Gateways) != 0 {
			t.Errorf("the queue believes in %+v", cfg)
		}
	}
}

func TestNeighbours(t *testing.T) {
	ns := nstest.New(t)
	q := mustOpen(t, fullConfig(ns))
	gw4, gw6 := netip.MustParseAddr("10.1.2.254"), netip.MustParseAddr("2001:db8::1")
	list := func() string { return nstest.Run(t, ns, "ip", "neigh", "show", "dev", DefaultName, "nud", "permanent") }
	for _, mac := range [][6]byte{{2, 0, 0, 0, 0, 8}, {2, 0, 0, 0, 0, 9}} {
		for _, gw := range []netip.Addr{gw4, gw6} {
			if err := q.SetNeighbour(gw, mac); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, want := range []string{"10.1.2.254 lladdr 02:00:00:00:00:09", "2001:db8::1 lladdr 02:00:00:00:00:09"} {
		if !strings.Contains(list(), want) {
			t.Errorf("neighbours without %q:\n%s", want, list())
		}
	}
	for range 2 {
		if err := errors.Join(q.DelNeighbour(gw4), q.DelNeighbour(gw6)); err != nil {
			t.Error(err)
		}
	}
	if out := list(); out != "" {
		t.Errorf("neighbours after DelNeighbour:\n%s", out)
	}
}

func TestClosedQueue(t *testing.T) {
	ns := nstest.New(t)
	q := mustOpen(t, testConfig(ns))
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"SetMAC":   func() error { return q.SetMAC([6]byte{2}) },
		"SetMTU":   func() error { return q.SetMTU(1500) },
		"SetDepth": func() error { return q.SetDepth(5) },
		"SetAddrs": func() error { return q.SetAddrs(Addressing{}) },
		"Reconcile": func() error {
			_, err := q.Reconcile()
			return err
		},
	} {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s of a closed queue: %v", name, err)
		}
	}
	link := linkOf(t, ns, DefaultName)
	if !isUp(link) {
		t.Error("Close set the interface down")
	}
	if err := q.Remove(); err != nil {
		t.Fatal(err)
	}
	if n := links(t, ns); n != links(t, nstest.New(t)) {
		t.Error("Remove after Close left the interface")
	}
}
