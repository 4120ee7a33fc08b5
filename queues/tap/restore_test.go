package tap

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
	"github.com/xdpdemux/xdpdemux/queues/netns"
)

func itoa(i int) string { return strconv.Itoa(i) }

// abandoned is what a process leaves that dies after Open.
func abandoned(t *testing.T, c Config) {
	t.Helper()
	q, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}

func mustRestore(t *testing.T, c Config) *Queue {
	t.Helper()
	q, err := Restore(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Remove(); err != nil {
			t.Error(err)
		}
	})
	return q
}

// passes checks that frames go both ways.
func passes(t *testing.T, ns *netns.NetNS, name string, q *Queue) {
	t.Helper()
	p := newPeer(t, ns, name)
	defer p.Close()
	f := frame.Frame{Data: make([]byte, 64)}
	copy(f.Data[12:], []byte{0x88, 0xb5, 'h', 'i'})
	for i := range q.Lanes() {
		if n, why := q.Lane(i).Deliver([]frame.Frame{f}); n != 1 {
			t.Fatalf("Deliver on lane %d: %d", i, why)
		}
		got := frame.Frame{Data: make([]byte, 2048)}
		if err := p.Recv(&got); err != nil || string(got.Data) != string(f.Data) {
			t.Fatalf("%x came (%v)", got.Data, err)
		}
	}
	if err := p.Send(f); err != nil {
		t.Fatal(err)
	}
	for tries := 0; ; tries++ {
		got := []frame.Frame{{Data: make([]byte, 2048)}}
		if q.Lane(0).Collect(got, 1<<20) == 1 && string(got[0].Data) == string(f.Data) {
			return
		}
		if tries == 1000 {
			t.Fatal("the container's frame did not come")
		}
	}
}

func TestRestoreKeepsEverything(t *testing.T) {
	ns := nstest.New(t)
	c := fullConfig(ns)
	abandoned(t, c)
	nstest.Run(t, ns, "ip", "addr", "add", "192.0.2.9/32", "dev", "eth0") // the container's own
	index := linkOf(t, ns, DefaultName).Attrs().Index
	q := mustRestore(t, c)
	if q.Index() != index || q.Lanes() != 2 || q.Lane(0).MaxFrame() != MaxSuperFrame {
		t.Errorf("index %d (was %d), %d lanes", q.Index(), index, q.Lanes())
	}
	got, routes := show(t, ns, DefaultName)
	expect(t, "addresses", got, append([]string{"10.1.2.3/24", "10.9.0.1/32", "192.0.2.9/32"}, fullAddrs[2:]...))
	expect(t, "routes", routes, fullRoutes)
	passes(t, ns, DefaultName, q)
}

// The Config may have changed meanwhile.
func TestRestoreApplies(t *testing.T) {
	ns := nstest.New(t)
	c := fullConfig(ns)
	abandoned(t, c)
	nstest.Run(t, ns, "ip", "addr", "flush", "dev", "eth0")
	c.MAC, c.MTU, c.Depth, c.GSO = [6]byte{2, 0, 0, 0, 0, 0x55}, 1450, 77, false
	q := mustRestore(t, c)
	link := linkOf(t, ns, DefaultName).Attrs()
	if link.MTU != 1450 || link.TxQLen != 77 || link.HardwareAddr.String() != "02:00:00:00:00:55" {
		t.Errorf("interface %+v", link)
	}
	got, routes := show(t, ns, DefaultName)
	expect(t, "addresses", got, fullAddrs)
	expect(t, "routes", routes, fullRoutes)
	if q.Lane(0).MaxFrame() != 1468 || q.Lane(0).Offloads() != frame.OffloadChecksum {
		t.Errorf("MaxFrame %d, offloads %b", q.Lane(0).MaxFrame(), q.Lane(0).Offloads())
	}
}

func TestRestoreFindsARenamedOne(t *testing.T) {
	ns := nstest.New(t)
	c := fullConfig(ns)
	abandoned(t, c)
	nstest.Run(t, ns, "sh", "-ec", "ip link set eth0 down; ip link set eth0 name lan7; ip link set lan7 up")
	nstest.Run(t, ns, "ip", "link", "add", "eth0", "type", "veth", "peer", "v1")
	q := mustRestore(t, c)
	if name := q.Config().Name; name != "lan7" {
		t.Errorf("restored as %s", name)
	}
	passes(t, ns, "lan7", q)
}

func TestRestoreRespectsDown(t *testing.T) {
	ns := nstest.New(t)
	c := fullConfig(ns)
	abandoned(t, c)
	nstest.Run(t, ns, "ip", "link", "set", "eth0", "down")
	mustRestore(t, c)
	if isUp(linkOf(t, ns, DefaultName)) {
		t.Error("Restore set it up")
	}
}

// One lane stays one lane, since the kernel made it so; more may be fewer.
func TestRestoreWithOtherLanes(t *testing.T) {
	for _, c := range []struct{ was, asked, got int }{{1, 1, 1}, {1, 3, 1}, {2, 3, 3}, {3, 1, 1}} {
		ns := nstest.New(t)
		cfg := testConfig(ns)
		cfg.Lanes = c.was
		abandoned(t, cfg)
		cfg.Lanes = c.asked
		q := mustRestore(t, cfg)
		if q.Lanes() != c.got || q.Config().Lanes != c.got {
			t.Errorf("%d lanes restored with %d: %d, want %d", c.was, c.asked, q.Lanes(), c.got)
		}
		passes(t, ns, DefaultName, q)
	}
}

func TestRestoreRefuses(t *testing.T) {
	ns := nstest.New(t)
	ours := testConfig(ns)
	for _, c := range []struct {
		name, prepare string
		is            error
	}{
		{"nothing is there", ":", ErrGone},
		{"a veth", "ip link add eth0 type veth peer v1", ErrNotOurs},
		{"somebody's TAP", "ip tuntap add eth0 mode tap vnet_hdr", ErrNotOurs},
		{"another port's", "ip tuntap add eth0 mode tap vnet_hdr; ip link set eth0 alias xdpdemux:test:other", ErrNotOurs},
		{"a TAP without header", "ip tuntap add eth0 mode tap; ip link set eth0 alias " + ours.Owner, ErrNotOurs},
		{"a TUN", "ip tuntap add eth0 mode tun vnet_hdr; ip link set eth0 alias " + ours.Owner, ErrNotOurs},
	} {
		nstest.Run(t, ns, "sh", "-ec", c.prepare)
		fds, before := nstest.FDs(t), links(t, ns)
		if _, err := Restore(ours); !errors.Is(err, c.is) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %v", c.name, err, c.is)
		}
		err := Delete(ns, DefaultName, ours.Owner)
		if errors.Is(c.is, ErrGone) != (err == nil) {
			t.Errorf("%s: Delete: %v", c.name, err)
		}
		if nstest.FDs(t) != fds || links(t, ns) != before {
			t.Errorf("%s: %d descriptors, %d before; %d interfaces, %d before", c.name, nstest.FDs(t), fds, links(t, ns), before)
		}
		nstest.Run(t, ns, "sh", "-c", "ip link del eth0 2>/dev/null; :")
	}
}

func TestRestoreInUse(t *testing.T) {
	ns := nstest.New(t)
	q := mustOpen(t, fullConfig(ns))
	if _, err := Restore(fullConfig(ns)); !errors.Is(err, ErrInUse) {
		t.Errorf("Restore of a queue that is open: %v, want ErrInUse", err)
	}
	passes(t, ns, DefaultName, q)
}

// A failed Restore leaves the interface, its addresses and its routes.
func TestRestoreFails(t *testing.T) {
	ns := nstest.New(t)
	c := fullConfig(ns)
	abandoned(t, c)
	var steps []string
	c.failAt = func(step string) error { steps = append(steps, step); return nil }
	q, err := Restore(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	fds := nstest.FDs(t)
	for _, failing := range steps {
		c.failAt = func(step string) error {
			if step == failing {
				return unix.EIO
			}
			return nil
		}
		if _, err := Restore(c); !errors.Is(err, unix.EIO) {
			t.Errorf("Restore whose step %s failed: %v", failing, err)
		}
		if n := nstest.FDs(t); n != fds {
			t.Errorf("step %s: %d descriptors, %d before", failing, n, fds)
		}
		got, routes := show(t, ns, DefaultName)
		expect(t, "addresses", got, fullAddrs)
		expect(t, "routes", routes, fullRoutes)
	}
	c.failAt = nil
	mustRestore(t, c)
}

func TestDelete(t *testing.T) {
	ns := nstest.New(t)
	before := links(t, ns)
	c := fullConfig(ns)
	abandoned(t, c)
	for range 2 { // the second finds nothing, which is no error
		if err := Delete(ns, c.Name, c.Owner); err != nil {
			t.Error(err)
		}
	}
	if n := links(t, ns); n != before {
		t.Errorf("%d interfaces, %d before", n, before)
	}
}

// A successor takes over descriptors while its predecessor still lives.
func TestAdopt(t *testing.T) {
	ns := nstest.New(t)
	c := fullConfig(ns)
	old, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	stranger := testConfig(ns)
	stranger.Name, stranger.Owner = "eth1", "xdpdemux:test:other"
	other := mustOpen(t, stranger)
	if _, err := Adopt(c, other.FDs()); !errors.Is(err, ErrNotOurs) {
		t.Errorf("Adopt of another port's descriptors: %v", err)
	}
	if _, err := Adopt(c, []int{0}); err == nil {
		t.Error("Adopt of standard input succeeded")
	}
	var fds []int
	for _, fd := range old.FDs() {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, dup)
	}
	q, err := Adopt(c, fds)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Remove()
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	passes(t, ns, DefaultName, q)
}
