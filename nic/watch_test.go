package nic

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// watching is a watch in a rig's host.
type watching struct {
	t      *testing.T
	first  State
	events <-chan Event
	cancel context.CancelFunc
}

func watchIn(t *testing.T, r *nictest.Rig, n *NIC, cfg WatchConfig) *watching {
	t.Helper()
	w := &watching{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	err := r.Host.Do(func() (err error) {
		w.first, w.events, err = n.Watch(ctx, cfg)
		return err
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	w.cancel = cancel
	t.Cleanup(w.stop)
	return w
}

// stop ends the watch and waits until it has.
func (w *watching) stop() {
	w.cancel()
	for range w.events {
	}
}

// next waits for the next event of a kind and skips others.
func (w *watching) next(kind EventKind) Event {
	w.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case e, ok := <-w.events:
			if !ok {
				w.t.Fatalf("the watch ended, waiting for %v", kind)
			}
			if e.Kind == kind {
				return e
			}
			if e.Kind == Failed {
				w.t.Fatalf("failed, waiting for %v: %v", kind, e.Err)
			}
		case <-timeout:
			w.t.Fatalf("waited 30 s in vain for %v", kind)
		}
	}
}

func TestWatch(t *testing.T) {
	r := nictest.New(t, nictest.Config{HostAddrs: []string{"10.9.0.1/16"}})
	n := openIn(t, r, Config{Name: r.NIC})
	r.Host.Run(t, "ip", "link", "add", "xdmx0", "type", "bridge")
	r.Host.Run(t, "ip", "addr", "add", "10.8.0.1/32", "dev", "xdmx0")
	w := watchIn(t, r, n, WatchConfig{Ignore: []string{"xdmx0"}})
	link := func(args ...string) { r.Host.Run(t, "ip", append([]string{"link", "set", r.NIC}, args...)...) }

	if l := w.first.Link; !l.Running() || l.Name != r.NIC || l.Index != n.Index() || l.MAC != r.Host.MAC(t, r.NIC) || l.MTU != 1500 || l.Master != 0 {
		t.Errorf("begins with %+v", l)
	}
	if len(w.first.Addrs) != 2 || w.first.Addrs[0].Prefix != netip.MustParsePrefix("10.9.0.1/16") || w.first.Addrs[0].Iface != r.NIC {
		t.Errorf("begins with %v", w.first.Addrs)
	}
	link("mtu", "1400")
	if e := w.next(MTUChanged); e.Link.MTU != 1400 || e.Before.MTU != 1500 {
		t.Errorf("MTU: %+v", e)
	}
	link("address", "02:00:00:00:00:07")
	if e := w.next(MACChanged); e.Link.MAC != [6]byte{2, 0, 0, 0, 0, 7} {
		t.Errorf("MAC: %+v", e)
	}
	link("down")
	w.next(CarrierOff)
	if e := w.next(Down); e.Link.Up || e.Link.Running() {
		t.Errorf("down: %+v", e)
	}
	link("name", "renamed0")
	if e := w.next(Renamed); e.Link.Name != "renamed0" || e.Before.Name != r.NIC {
		t.Errorf("renamed: %+v", e)
	}
	r.Host.Run(t, "ip", "link", "set", "renamed0", "name", r.NIC)
	w.next(Renamed)
	link("up")
	w.next(Up)
	if e := w.next(CarrierOn); !e.Link.Running() {
		t.Errorf("up: %+v", e)
	}
	r.Wire.Run(t, "ip", "link", "set", r.WireNIC, "down")
	if e := w.next(CarrierOff); !e.Link.Up || e.Link.Running() {
		t.Errorf("unplugged: %+v", e)
	}
	r.Wire.Run(t, "ip", "link", "set", r.WireNIC, "up")
	w.next(CarrierOn)
}

// A NIC that leaves its bridge has not gone away.
func TestWatchMaster(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	n := openIn(t, r, Config{Name: r.NIC})
	r.Host.Run(t, "ip", "link", "add", "br0", "type", "bridge")
	w := watchIn(t, r, n, WatchConfig{})
	r.Host.Run(t, "ip", "link", "set", r.NIC, "master", "br0")
	if e := w.next(MasterChanged); e.Link.Master != r.Host.Index(t, "br0") {
		t.Errorf("taken: %+v", e)
	}
	r.Host.Run(t, "ip", "link", "set", r.NIC, "nomaster")
	if e := w.next(MasterChanged); e.Link.Master != 0 {
		t.Errorf("let go: %+v", e)
	}
	r.Host.Run(t, "ip", "link", "set", r.NIC, "mtu", "1400")
	for e := range w.events {
		if e.Kind == Removed || e.Kind == Returned {
			t.Errorf("%v, though it stayed", e.Kind)
		}
		if e.Kind == MTUChanged {
			break
		}
	}
}

func TestWatchAddresses(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	n := openIn(t, r, Config{Name: r.NIC})
	r.Host.Run(t, "ip", "link", "add", "xdmx0", "type", "bridge")
	w := watchIn(t, r, n, WatchConfig{Ignore: []string{"xdmx0"}})
	addr := func(verb, a, dev string) { r.Host.Run(t, "ip", "addr", verb, a, "dev", dev) }
	for _, c := range []struct{ addr, dev string }{{"10.9.0.1/16", r.NIC}, {"fd09::1/64", r.NIC}, {"192.0.2.1/32", "lo"}} {
		addr("add", "10.8.0.1/32", "xdmx0")
		addr("add", "127.0.0.9/8", "lo")
		addr("add", c.addr, c.dev)
		if e := w.next(AddrAdded); e.Addr.Prefix.String() != c.addr || e.Addr.Iface != c.dev {
			t.Errorf("added %+v, want %s on %s", e.Addr, c.addr, c.dev)
		}
		addr("del", "10.8.0.1/32", "xdmx0")
		addr("del", "127.0.0.9/8", "lo")
		addr("del", c.addr, c.dev)
		if e := w.next(AddrRemoved); e.Addr.Prefix.String() != c.addr || e.Addr.Iface != c.dev {
			t.Errorf("removed %+v, want %s on %s", e.Addr, c.addr, c.dev)
		}
	}
	r.Host.Run(t, "ip", "link", "add", "d0", "type", "bridge")
	addr("add", "192.0.2.7/32", "d0")
	w.next(AddrAdded)
	r.Host.Run(t, "ip", "link", "del", "d0")
	if e := w.next(AddrRemoved); e.Addr.Iface != "d0" {
		t.Errorf("removed with its interface: %+v", e.Addr)
	}
}

func TestWatchRemovedAndReturned(t *testing.T) {
	r := nictest.New(t, nictest.Config{HostAddrs: []string{"10.9.0.1/16"}})
	n := openIn(t, r, Config{Name: r.NIC})
	w := watchIn(t, r, n, WatchConfig{})
	for range 3 {
		mac := r.Host.MAC(t, r.NIC)
		r.RemoveNIC(t)
		if e := w.next(Removed); e.Link.Present || e.Link.Running() || !e.Before.Present {
			t.Errorf("removed: %+v", e)
		}
		r.ReturnNIC(t)
		e := w.next(Returned)
		if e.Link.Index != r.Host.Index(t, r.NIC) || e.Link.MAC != mac || e.Before.Present {
			t.Errorf("returned: %+v", e)
		}
		mustDo(t, n.Rebind(e.Link.Index))
		if e := w.next(AddrAdded); e.Addr.Prefix.String() != "10.9.0.1/16" {
			t.Errorf("with address %+v", e.Addr)
		}
		w.next(CarrierOn)
		if f := facts(t, n); f.Index != e.Link.Index || !f.Up {
			t.Errorf("facts after the return: %+v", f)
		}
	}
}

// Moved into another namespace and back, it bears the same index and a new name.
func TestWatchMovedAwayAndBack(t *testing.T) {
	r := nictest.New(t, nictest.Config{Containers: 1})
	n := openIn(t, r, Config{Name: r.NIC})
	w := watchIn(t, r, n, WatchConfig{})
	r.Host.Run(t, "ip", "link", "set", r.NIC, "netns", r.Containers[0].Name)
	w.next(Removed)
	r.Containers[0].Run(t, "ip", "link", "set", r.NIC, "name", "back0")
	r.Containers[0].Run(t, "ip", "link", "set", "back0", "netns", r.Host.Name)
	if e := w.next(Returned); e.Link.Name != "back0" || e.Link.Index != r.Host.Index(t, "back0") {
		t.Errorf("returned: %+v", e)
	}
}

// view is what a reader of events believes.
type view struct {
	addrs    map[netip.Prefix]bool
	mtu      int
	resynced bool
}

// until takes events in until done says so.
func (v *view) until(t *testing.T, events <-chan Event, done func() bool) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for !done() {
		select {
		case e, ok := <-events:
			if !ok || e.Kind == Failed {
				t.Fatalf("the watch ended: %v", e.Err)
			}
			v.take(e)
		case <-timeout:
			t.Fatalf("waited 30 s in vain: resynced %v, MTU %d, %d addresses", v.resynced, v.mtu, len(v.addrs))
		}
	}
}

func (v *view) take(e Event) {
	v.mtu = e.Link.MTU
	switch e.Kind {
	case Resynced:
		v.resynced = true
	case AddrAdded:
		v.addrs[e.Addr.Prefix] = true
	case AddrRemoved:
		delete(v.addrs, e.Addr.Prefix)
	}
}

// A reader that sleeps through more than the buffer holds learns of everything,
// and does not fall back to what was true before.
func TestWatchOverflow(t *testing.T) {
	r := nictest.New(t, nictest.Config{HostAddrs: []string{"10.9.0.1/16"}})
	n := openIn(t, r, Config{Name: r.NIC})
	w := watchIn(t, r, n, WatchConfig{ReceiveBuffer: 4096})
	var batch strings.Builder
	// The first messages fit into the buffer, the last ones are lost.
	for i := range 40 {
		fmt.Fprintf(&batch, "addr add 10.66.0.%d/32 dev %s\n", i, r.NIC)
	}
	for i := range 500 {
		fmt.Fprintf(&batch, "addr add 10.77.%d.%d/32 dev %s\n", i/250, i%250+1, r.NIC)
	}
	for i := range 40 {
		fmt.Fprintf(&batch, "addr del 10.66.0.%d/32 dev %s\n", i, r.NIC)
	}
	fmt.Fprintf(&batch, "addr del 10.9.0.1/16 dev %[1]s\nlink set %[1]s mtu 1400\n", r.NIC)
	runBatch(t, r, batch.String())

	v := &view{addrs: map[netip.Prefix]bool{}, mtu: w.first.Link.MTU}
	for _, a := range w.first.Addrs {
		v.addrs[a.Prefix] = true
	}
	v.until(t, w.events, func() bool { return v.resynced && v.mtu == 1400 && len(v.addrs) == 501 })
	// Whatever was still on its way has come once this has.
	last := netip.MustParsePrefix("10.55.0.1/32")
	r.Host.Run(t, "ip", "addr", "add", last.String(), "dev", r.NIC)
	v.until(t, w.events, func() bool { return v.addrs[last] })
	gone := netip.MustParsePrefix("10.66.0.0/24")
	for a := range v.addrs {
		if gone.Contains(a.Addr()) || a.String() == "10.9.0.1/16" {
			t.Errorf("%s was removed and is still believed", a)
		}
	}
	if len(v.addrs) != 502 || v.mtu != 1400 {
		t.Errorf("%d addresses, MTU %d", len(v.addrs), v.mtu)
	}
}

func runBatch(t *testing.T, r *nictest.Rig, batch string) {
	t.Helper()
	r.Host.Run(t, "sh", "-c", "printf '%s' \"$0\" | ip -batch -", batch)
}

func TestWatchEndsWithoutTrace(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	n := openIn(t, r, Config{Name: r.NIC})
	before := goleak.IgnoreCurrent()
	for _, unread := range []bool{false, true} {
		w := watchIn(t, r, n, WatchConfig{})
		if unread {
			// The watch stands in the middle of telling somebody who does not listen.
			r.Host.Run(t, "ip", "link", "set", r.NIC, "mtu", "1400")
		}
		w.cancel()
		for e := range w.events {
			if e.Kind == Failed {
				t.Errorf("an ended watch calls it a failure: %v", e.Err)
			}
		}
	}
	goleak.VerifyNone(t, before)
}

func TestWatchOfNothing(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	n := openIn(t, r, Config{Name: r.NIC})
	r.RemoveNIC(t)
	err := r.Host.Do(func() error {
		_, _, err := n.Watch(t.Context(), WatchConfig{})
		return err
	})
	var missing *NotFoundError
	if !errors.As(err, &missing) {
		t.Errorf("watching a NIC that is gone: %v", err)
	}
}

func TestHostAddrs(t *testing.T) {
	r := nictest.New(t, nictest.Config{HostAddrs: []string{"10.9.0.1/16"}})
	n := openIn(t, r, Config{Name: r.NIC})
	addrs, err := n.HostAddrs()
	if err != nil || len(addrs) != 2 || addrs[0].Iface != r.NIC {
		t.Errorf("addresses: %v, %v", addrs, err)
	}
	if addrs, err := n.HostAddrs(r.NIC); err != nil || len(addrs) != 0 {
		t.Errorf("of nobody else: %v, %v", addrs, err)
	}
}
