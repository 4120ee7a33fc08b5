package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// client asks the daemon without a process for each question.
func (m *machine) client() *control.Client {
	c := control.NewClient(m.runDir, m.NIC)
	m.t.Cleanup(c.Close)
	return c
}

// ask reads the daemon's counters over c.
func ask(t testing.TB, c *control.Client) api.Stats {
	t.Helper()
	s, err := c.Stats(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// counts are counters by name. Zeroes are left out, so that two of them are
// equal if their counters are.
type counts map[string]int64

func (c counts) add(name string, n int) {
	if c[name] += int64(n); c[name] == 0 {
		delete(c, name)
	}
}

// countsOf are all counters of frames that the daemon shows, save for sums of
// others (see requireSums) and for what does not count frames.
func countsOf(s api.Stats) counts {
	c := counts{}
	c.addFlow("wire", s.Wire)
	c.addFlow("host", s.Host)
	c.addFlow("injected", s.Injected)
	c.add("wire_frames", int(s.WireFrames))
	for reason, n := range s.Kernel.Redirected {
		c.add("kernel.redirected."+reason, int(n))
	}
	for reason, n := range s.Kernel.Passed {
		c.add("kernel.passed."+reason, int(n))
	}
	for _, k := range s.Kernel.Sockets {
		c.add("sockets.received", int(k.Received))
		c.add("sockets.sent", int(k.Sent))
		c.add("sockets.lost", int(k.RxDropped+k.RxRingFull+k.Unread))
		c.add("sockets.bad", int(k.RxInvalidDescs+k.TxInvalidDescs+k.TxErrors))
	}
	for _, p := range s.Ports {
		c.addFlow(p.Name, p.Tx)
		c.add(p.Name+".rx", int(p.RxFrames))
		for reason, n := range p.RxDrops {
			c.add(p.Name+".rx_drops."+reason, int(n))
		}
	}
	return c
}

func (c counts) addFlow(name string, f api.Flow) {
	for part, n := range map[string]uint64{
		"received": f.Received, "delivered": f.Delivered, "flooded": f.Flooded, "to_host": f.ToHost,
		"to_wire": f.ToWire, "answered": f.Answered, "in_flight": f.InFlight,
	} {
		c.add(name+"."+part, int(n))
	}
	for reason, n := range f.Drops {
		c.add(name+".drops."+reason, int(n))
	}
}

// sum of the counters whose names begin so.
func (c counts) sum(prefix string) (n int64) {
	for name, v := range c {
		if strings.HasPrefix(name, prefix) {
			n += v
		}
	}
	return n
}

// minus is what c has more than was.
func (c counts) minus(was counts) counts {
	out := maps.Clone(c)
	for name, n := range was {
		out.add(name, -int(n))
	}
	return out
}

// differs lists, one a line, where c is not as wanted.
func (c counts) differs(want counts) string {
	var lines []string
	for name := range allKeys(c, want) {
		if c[name] != want[name] {
			lines = append(lines, fmt.Sprintf("  %s is %d, wanted %d\n", name, c[name], want[name]))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func allKeys(all ...counts) map[string]bool {
	keys := map[string]bool{}
	for _, c := range all {
		for name := range c {
			keys[name] = true
		}
	}
	return keys
}

// requireConserved requires the equation of the design of counters that are at
// rest: for each source and each port, in total, and toward the kernel.
func requireConserved(t testing.TB, s api.Stats) {
	t.Helper()
	flows := map[string]api.Flow{"total": s.Total, "wire": s.Wire, "host": s.Host, "injected": s.Injected, "containers": s.Containers}
	for _, p := range s.Ports {
		flows[p.Name] = p.Tx
	}
	for name, f := range flows {
		if f.Unaccounted() != 0 || f.InFlight != 0 {
			t.Errorf("%s: %d frames are unaccounted for, %d in flight: %+v", name, f.Unaccounted(), f.InFlight, f)
		}
	}
	requireSums(t, s)
	c := countsOf(s)
	redirected, received, lost := c.sum("kernel.redirected."), c["sockets.received"], c["sockets.lost"]
	if redirected != received+lost {
		t.Errorf("the program redirected %d frames, but the workers received %d and the kernel lost %d", redirected, received, lost)
	}
	if received != int64(s.Wire.Received) {
		t.Errorf("the sockets lent %d frames, but %d were received from the wire", received, s.Wire.Received)
	}
	if c["sockets.sent"] != int64(s.WireFrames) {
		t.Errorf("%d frames were committed to the wire, but the sockets sent %d", s.WireFrames, c["sockets.sent"])
	}
}

// requireSums requires that sums are those of their parts, while no port was
// detached: the total of its sources, the containers of the ports, and what
// went into containers of what came out of them.
func requireSums(t testing.TB, s api.Stats) {
	t.Helper()
	total, containers := counts{}, counts{}
	for _, f := range []api.Flow{s.Wire, s.Host, s.Injected, s.Containers} {
		total.addFlow("total", f)
	}
	var rx uint64
	for _, p := range s.Ports {
		containers.addFlow("containers", p.Tx)
		rx += p.RxFrames
	}
	for name, parts := range map[string]counts{"total": total, "containers": containers} {
		have := counts{}
		have.addFlow(name, map[string]api.Flow{"total": s.Total, "containers": s.Containers}[name])
		if d := have.differs(parts); d != "" {
			t.Errorf("%s are not the sum of their parts:\n%s", name, d)
		}
	}
	if rx != s.Total.Delivered {
		t.Errorf("%d frames were delivered, but the ports got %d", s.Total.Delivered, rx)
	}
}

// atRest waits until the daemon counts nothing any more and returns the
// counters.
func atRest(t testing.TB, c *control.Client) api.Stats {
	t.Helper()
	last, since := ask(t, c), time.Now()
	nictest.Eventually(t, "counters at rest", func() bool {
		now := ask(t, c)
		if countsOf(now).differs(countsOf(last)) != "" {
			last, since = now, time.Now()
		}
		return time.Since(since) > 500*time.Millisecond && last.Total.InFlight == 0
	})
	return last
}
