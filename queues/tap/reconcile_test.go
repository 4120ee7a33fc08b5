package tap

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
	"github.com/xdpdemux/xdpdemux/queues/netns"
)

// populated is a queue with everything that can be flushed.
func populated(t *testing.T) (*netns.NetNS, *Queue) {
	t.Helper()
	ns := nstest.New(t)
	q := mustOpen(t, fullConfig(ns))
	for _, gw := range fullConfig(ns).Gateways {
		if err := q.SetNeighbour(gw, [6]byte{2, 0, 0, 0, 0, 9}); err != nil {
			t.Fatal(err)
		}
	}
	return ns, q
}

func TestReconcilePutsBack(t *testing.T) {
	for _, c := range []struct {
		harm string
		want Repairs
	}{
		{"", Repairs{}},
		// With the addresses their on-link routes come back by themselves. The
		// IPv6 default has only lost its source; the IPv4 neighbours go with
		// the last IPv4 address.
		{"ip addr flush dev eth0", Repairs{Addrs: 4, Routes: 2, Neighbours: 1}},
		{"ip addr del 10.1.2.3/24 dev eth0", Repairs{Addrs: 1, Routes: 1}},
		{"ip -4 route flush dev eth0", Repairs{Routes: 2}},
		{"ip -6 route flush dev eth0", Repairs{Routes: 3}},
		{"ip route del default; ip -6 route del default", Repairs{Routes: 2}},
		{"ip route replace default via 10.1.2.77", Repairs{Routes: 1}},
		{"ip neigh flush dev eth0 nud permanent", Repairs{Neighbours: 2}},
		{"ip neigh replace 10.1.2.254 lladdr 02:00:00:00:00:66 dev eth0", Repairs{Neighbours: 1}},
		{"ip link set eth0 address 02:00:00:00:00:66", Repairs{MAC: true, Neighbours: 2}},
		{"ip link set eth0 alias mine", Repairs{Owner: true}},
		{"ip link set eth0 txqueuelen 100000", Repairs{Depth: true}},
		{"ip link set eth0 txqueuelen 10", Repairs{}},
		{"ip link set eth0 mtu 1300", Repairs{}},
		// keep_addr_on_down keeps all but the link-local address.
		{"ip link set eth0 down; ip link set eth0 up", Repairs{Addrs: 1, Routes: 2, Neighbours: 2}},
		{"ip link set eth0 down; ip link set eth0 name lan7; ip link set lan7 up; " +
			"ip addr flush dev lan7; ip link set lan7 down; ip link set lan7 name eth0; ip link set eth0 up",
			Repairs{Addrs: 4, Routes: 2, Neighbours: 2}},
	} {
		t.Run(c.harm, func(t *testing.T) {
			ns, q := populated(t)
			nstest.Run(t, ns, "sh", "-ec", c.harm+"\n:")
			r, err := q.Reconcile()
			if err != nil || r != c.want {
				t.Errorf("Reconcile = %+v, %v, want %+v", r, err, c.want)
			}
			got, routes := show(t, ns, DefaultName)
			expect(t, "addresses", got, fullAddrs)
			expect(t, "routes", routes, fullRoutes)
			link := linkOf(t, ns, DefaultName).Attrs()
			if link.HardwareAddr.String() != "02:00:00:00:00:01" || link.Alias != q.Config().Owner || link.TxQLen > 300 {
				t.Errorf("interface %+v", link)
			}
			out := nstest.Run(t, ns, "ip", "neigh", "show", "dev", DefaultName, "nud", "permanent")
			if strings.Count(out, "02:00:00:00:00:09") != 2 {
				t.Errorf("neighbours:\n%s", out)
			}
			if r, err := q.Reconcile(); err != nil || r != (Repairs{}) {
				t.Errorf("a second Reconcile = %+v, %v", r, err)
			}
		})
	}
}

// What the container's administrator decides stays.
func TestReconcileRespects(t *testing.T) {
	ns, q := populated(t)
	nstest.Run(t, ns, "ip", "link", "set", "eth0", "down")
	for range 2 {
		if r, err := q.Reconcile(); err != nil || !r.Down {
			t.Errorf("Reconcile of an interface that is down = %+v, %v", r, err)
		}
	}
	if isUp(linkOf(t, ns, DefaultName)) {
		t.Error("Reconcile set it up")
	}
	nstest.Run(t, ns, "sh", "-ec", `ip link set eth0 up
		ip link add v0 type veth peer v1; ip link set v0 up; ip link set v1 up
		ip addr add 10.77.0.1/24 dev v0; ip route replace default via 10.77.0.2
		ip addr add 192.0.2.9/32 dev eth0; ip route add 198.51.100.0/24 via 10.1.2.9`)
	if r, err := q.Reconcile(); err != nil || r != (Repairs{Routes: 1, Neighbours: 2}) {
		t.Errorf("Reconcile = %+v, %v", r, err) // the IPv6 default, which went with the link
	}
	out := nstest.Run(t, ns, "ip", "-4", "route")
	for _, want := range []string{"default via 10.77.0.2 dev v0", "198.51.100.0/24 via 10.1.2.9 dev eth0"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q went:\n%s", want, out)
		}
	}
	got, _ := show(t, ns, DefaultName)
	if !strings.Contains(strings.Join(got, " "), "192.0.2.9/32") {
		t.Errorf("the administrator's own address went: %q", got)
	}
}

// A setting that is made while the interface is down comes into force when it
// is up again.
func TestSetAddrsWhileDown(t *testing.T) {
	ns, q := populated(t)
	nstest.Run(t, ns, "ip", "link", "set", "eth0", "down")
	err := q.SetAddrs(Addressing{Addrs: prefixes("10.1.2.8/24"), Gateways: addrs("10.1.2.1")})
	if err != nil {
		t.Fatal(err)
	}
	nstest.Run(t, ns, "ip", "link", "set", "eth0", "up")
	if _, err := q.Reconcile(); err != nil {
		t.Fatal(err)
	}
	got, routes := show(t, ns, DefaultName)
	expect(t, "addresses", got, []string{"10.1.2.8/24"})
	expect(t, "routes", routes, []string{
		"10.1.2.0/24 proto kernel scope link src 10.1.2.8", "default via 10.1.2.1 proto static src 10.1.2.8"})
}

func TestSetAddrsAfterRename(t *testing.T) {
	ns, q := populated(t)
	nstest.Run(t, ns, "ip", "link", "set", "eth0", "down")
	nstest.Run(t, ns, "ip", "link", "set", "eth0", "name", "lan7")
	nstest.Run(t, ns, "ip", "link", "set", "lan7", "up")
	if err := q.SetAddrs(Addressing{Addrs: prefixes("2001:db8::8/64")}); err != nil {
		t.Fatal(err)
	}
	got, _ := show(t, ns, "lan7")
	expect(t, "addresses", got, []string{"2001:db8::8/64"})
}

// An interface that the container deleted: nothing panics, spins or blocks,
// everything says so, and Remove is content.
func TestDeletedInside(t *testing.T) {
	ns, q := populated(t)
	nstest.Run(t, ns, "ip", "link", "del", "eth0")
	l := q.Lane(0)
	if n, why := l.Deliver([]frame.Frame{{Data: make([]byte, 60)}}); n != 0 || why != frame.Gone {
		t.Errorf("Deliver = %d, %d, want gone", n, why)
	}
	f := []frame.Frame{{Data: make([]byte, 2048)}}
	if n := l.Collect(f, 1<<20); n != 0 {
		t.Errorf("Collect = %d", n)
	}
	if s := q.Stats(); s.Errors != 0 {
		t.Errorf("counters %+v", s)
	}
	if _, err := q.Reconcile(); !errors.Is(err, ErrGone) {
		t.Errorf("Reconcile: %v, want ErrGone", err)
	}
	for name, err := range map[string]error{
		"SetMAC": q.SetMAC([6]byte{2}), "SetMTU": q.SetMTU(1450), "SetDepth": q.SetDepth(9),
		"SetAddrs":     q.SetAddrs(Addressing{}),
		"SetNeighbour": q.SetNeighbour(netip.MustParseAddr("10.1.2.1"), [6]byte{2}),
	} {
		if !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v, want ErrGone", name, err)
		}
	}
	// Another one of the same name and index is not ours to delete.
	nstest.Run(t, ns, "ip", "link", "add", "eth0", "index", itoa(q.Index()), "type", "veth", "peer", "v1")
	if err := q.Remove(); err != nil {
		t.Error(err)
	}
	linkOf(t, ns, DefaultName)
}

// An interface that was moved to another namespace goes with its queue.
func TestMovedAway(t *testing.T) {
	ns, q := populated(t)
	other := nstest.New(t)
	before := links(t, other)
	nstest.Run(t, ns, "ip", "link", "set", "eth0", "netns", nstest.Path(other))
	if _, err := q.Reconcile(); !errors.Is(err, ErrGone) {
		t.Errorf("Reconcile: %v, want ErrGone", err)
	}
	if err := q.Remove(); err != nil {
		t.Error(err)
	}
	if n := links(t, other); n != before {
		t.Errorf("%d interfaces are left where it was moved to, %d before", n, before)
	}
}

func TestWatcher(t *testing.T) {
	ns, q := populated(t)
	_, innocent := populated(t)
	w := mustWatch(t)
	told := make(chan *Queue, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- w.Run(ctx, func(q *Queue) {
			if _, err := q.Reconcile(); err != nil {
				t.Error(err)
			}
			told <- q
		})
	}()
	for _, other := range []*Queue{q, innocent} {
		if err := w.Add(other); err != nil {
			t.Fatal(err)
		}
	}
	for _, harm := range []string{"ip addr flush dev eth0", "ip route flush dev eth0", "ip route del default",
		"ip link set eth0 down; ip link set eth0 up", "ip link set eth0 address 02:00:00:00:00:66", "ip link set eth0 txqueuelen 100000"} {
		nstest.Run(t, ns, "sh", "-ec", harm)
		if got := awaitTold(t, told); got != q {
			t.Fatalf("%s: told of another queue", harm)
		}
		// A repair is a change too: it may be told of again.
		awaitWhole(t, ns)
	}
	w.Remove(q)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	for len(told) > 0 {
		if got := <-told; got != q {
			t.Error("told of a queue that nobody touched")
		}
	}
	if w.Overruns() != 0 {
		t.Errorf("%d overruns", w.Overruns())
	}
}

// awaitWhole waits until the Watcher's repair is complete.
func awaitWhole(t *testing.T, ns *netns.NetNS) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		addrs, routes := show(t, ns, DefaultName)
		link := linkOf(t, ns, DefaultName).Attrs()
		whole := link.HardwareAddr.String() == "02:00:00:00:00:01" && link.TxQLen <= 300
		if whole && len(addrs) == len(fullAddrs) && len(routes) == len(fullRoutes) {
			return
		}
	}
	t.Fatal("it was not put back")
}

func mustWatch(t *testing.T) *Watcher {
	t.Helper()
	w, err := NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return w
}

func awaitTold(t *testing.T, told <-chan *Queue) *Queue {
	t.Helper()
	select {
	case q := <-told:
		return q
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was told")
		return nil
	}
}

// The Watcher's own namespace has no number.
func TestWatcherAtHome(t *testing.T) {
	ns := nstest.New(t)
	inNS(t, ns, func(c Config) error {
		q, err := Open(c)
		if err != nil {
			return err
		}
		defer q.Remove()
		w, err := NewWatcher()
		if err != nil {
			return err
		}
		defer w.Close()
		told := make(chan *Queue, 100)
		ended := make(chan error, 1)
		if err := w.Add(q); err != nil {
			return err
		}
		go func() { ended <- w.Run(context.Background(), func(q *Queue) { told <- q }) }()
		nstest.Run(t, ns, "ip", "link", "set", "eth0", "down")
		select {
		case <-told:
		case <-time.After(20 * time.Second):
			t.Error("nothing was told")
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			t.Errorf("Run of a closed Watcher: %v", err)
		}
		return nil
	})
}
