package e2e

import (
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestMemifUnprivileged: a process without any privilege, in a namespace with lo
// alone, answers the wire's, the host's and its neighbour's ping over its socket
// and shared memory.
func TestMemifUnprivileged(t *testing.T) {
	m := newMachine(t, nictest.Config{Containers: 2})
	m.openRunDir()
	m.attach()
	m.add(1, "tap", b4+"/16")
	e := m.addMemif("fast", a4+"/16")
	p := startPMD(t, m.Containers[0], e, pmdConfig{})
	c := m.awaitClient("fast")
	if c.PID != p.Cmd.Process.Pid || c.UID != nobody || c.GID != nobody || c.Rings != 1 || c.RingSize != 1024 || c.Regions != 1 ||
		c.MemoryBytes == 0 || !strings.HasPrefix(c.Name, "DPDK") || c.ConnectedSince.IsZero() {
		t.Errorf("the client is %+v", c)
	}
	if caps := capabilities(t, c.PID); caps != 0 {
		t.Errorf("it has capabilities %x", caps)
	}
	if links := m.Containers[0].Run(t, "ls", "/proc/self/net/dev_snmp6"); strings.TrimSpace(links) != "lo" {
		t.Errorf("it has the interfaces %s", links)
	}
	ping(t, m.Wire, a4)
	ping(t, m.Host, a4)
	ping(t, m.Containers[1], a4)
	ping(t, m.Wire, a4, "-s", "1400")
	ping(t, m.Wire, a4, "-s", "1472", "-M", "do")
	if out := m.run("ls"); !strings.Contains(out, "DPDK") || !strings.Contains(out, "uid 65534, 1 ring of 1024, 1 region") {
		t.Error(out)
	}
	m.run("del", "fast")
	m.requirePorts("tap")
}
