package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

// How many memif ports there are, to how many of them somebody is connected, and
// what one to which nobody is may cost of the daemon's memory, in KiB: 7 were
// seen to be in use, and the garbage collector lets that grow to twice as much.
const (
	memifCrowd, memifConnected = 10000, 1000
	memifPortKiB               = 16
)

// TestMemifTenThousand: ten thousand ports are one descriptor and a little memory
// each, and no thread; a thousand clients are three descriptors each; and when
// they are gone, so is all of that.
func TestMemifTenThousand(t *testing.T) {
	m := newMachine(t, nictest.Config{})
	m.attach()
	c := m.client()
	ask(t, c) // connects
	before := residue(t, m)
	began := time.Now()
	ports, err := c.Add(t.Context(), memifSpecs())
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	now := holds(t, m, before, counts{"socket:": memifCrowd, "entries of exact4": memifCrowd})
	each := (now.rss - before.rss) / memifCrowd
	t.Logf("%d ports in %v, %d KiB of memory for each", memifCrowd, took.Round(time.Millisecond), each)
	if each >= memifPortKiB {
		t.Errorf("%d KiB of memory for each port", each)
	}

	began = time.Now()
	conns := dialAll(t, ports[:memifConnected])
	t.Logf("%d clients connected in %v", memifConnected, time.Since(began).Round(time.Millisecond))
	connected := holds(t, m, before, counts{"socket:": memifCrowd + memifConnected, "anon_inode:[eventfd]": 2 * memifConnected, "entries of exact4": memifCrowd})
	if connected.threads > before.threads+8 {
		t.Errorf("%d threads, before %d", connected.threads, before.threads)
	}
	exchange(t, ports[:memifConnected], conns)
	for _, conn := range conns {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	holds(t, m, before, counts{"socket:": memifCrowd, "entries of exact4": memifCrowd})
	names := make([]string, len(ports))
	for i := range ports {
		names[i] = ports[i].Name
	}
	if err := c.Delete(t.Context(), names); err != nil {
		t.Fatal(err)
	}
	holds(t, m, before, counts{})
	m.detach()
	m.requireNoRemains()
}

// holds waits until the daemon holds so much more than before, and no more.
func holds(t *testing.T, m *machine, before leftover, more counts) (now leftover) {
	t.Helper()
	diff := "never looked"
	for end := time.Now().Add(time.Minute); diff != "" && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		now = residue(t, m)
		diff = now.held.minus(before.held).differs(more)
	}
	if diff != "" {
		t.Errorf("what the daemon holds more than before is not as it should be:\n%s", diff)
	}
	return now
}

func memifSpecs() []api.PortSpec {
	specs := make([]api.PortSpec, memifCrowd)
	for i := range specs {
		ip := netip.AddrFrom4([4]byte{10, 60, byte(i / 250), byte(i%250 + 1)})
		specs[i] = api.PortSpec{Name: fmt.Sprint("p", i), Kind: api.KindMemif, IPs: []netip.Prefix{netip.PrefixFrom(ip, 32)},
			MemifSpec: api.MemifSpec{RingSize: 16}}
	}
	return specs
}

// dialAll connects to all ports, one after the other.
func dialAll(t *testing.T, ports []api.Port) (conns []*client.Conn) {
	t.Helper()
	for _, p := range ports {
		conn, err := dialMemif(t, *p.Endpoint, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		conns = append(conns, conn)
	}
	return conns
}

// exchange has each client send one frame to the next, which must get it.
func exchange(t *testing.T, ports []api.Port, conns []*client.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bufs := client.Buffers(8, 2048)
	for i, conn := range conns {
		next := (i + 1) % len(conns)
		from, to := ports[i].Endpoint, ports[next].Endpoint
		frame := path{src: mac(from.MAC), dst: mac(to.MAC)}.between(from.IPs[0].Addr().String(), to.IPs[0].Addr().String()).udp(t, 32)
		if _, err := conn.Ring(0).WriteContext(ctx, [][]byte{marked(frame, i)}); err != nil {
			t.Fatal(err)
		}
		for got := false; !got; {
			n, err := conns[next].Ring(0).ReadContext(ctx, bufs)
			if err != nil {
				t.Fatalf("%s to %s: %v", ports[i].Name, ports[next].Name, err)
			}
			for _, f := range bufs[:n] {
				got = got || isMarked(f) && numberOf(f) == i
			}
		}
	}
}
