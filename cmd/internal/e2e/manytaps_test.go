package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestManyTAPs is frames that come at once for many containers, which the kernel
// takes in one system call where it has io_uring, and one by one where it has not:
// everybody gets his own, all of them and once.
func TestManyTAPs(t *testing.T) {
	t.Run("in one call", func(t *testing.T) { frameForEach(t, "") })
	t.Run("without io_uring", func(t *testing.T) { frameForEach(t, "io_uring") })
}

func frameForEach(t *testing.T, lacks string) {
	const taps, rounds = 24, 60
	m := newMachine(t, nictest.Config{Containers: taps})
	m.lacks = lacks
	m.attach()
	if said := strings.Contains(m.daemon.Output(), "io_uring"); said != (lacks != "") {
		t.Errorf("it speaks of io_uring: %v\n%s", said, m.daemon.Output())
	}
	addr := func(i int) string { return fmt.Sprintf("10.9.2.%d", 10+i) }
	hear := make([]*rawSocket, taps)
	for i := range hear {
		m.add(i, fmt.Sprint("t", i), addr(i)+"/16")
		hear[i] = openRaw(t, m.Containers[i], "eth0")
	}
	wire := openRaw(t, m.Wire, m.WireNIC)
	way := path{src: m.Wire.MAC(t, m.WireNIC), dst: m.Host.MAC(t, m.NIC)}
	for round := range rounds {
		for i := range hear {
			wire.send(t, marked(way.between(wire4, addr(i)).udp(t, 40), round*taps+i))
		}
	}
	for i, s := range hear {
		nictest.Eventually(t, fmt.Sprint("container ", i, " to get its frames"), func() bool { return len(s.numbers()) >= rounds })
		for n, times := range s.numbers() {
			if times != 1 || n%taps != i {
				t.Errorf("container %d got frame %d, of container %d, %d times", i, n, n%taps, times)
			}
		}
	}
	for _, p := range m.stats().Ports {
		if p.RxFrames < rounds || len(p.RxDrops) > 0 {
			t.Errorf("%s: %d frames, lost %v", p.Name, p.RxFrames, p.RxDrops)
		}
	}
	m.detach()
}
