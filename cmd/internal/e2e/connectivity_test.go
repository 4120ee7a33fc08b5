package e2e

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// ports of the usual machine: two IP identities and one MAC identity.
const (
	a4, a6 = "10.9.1.1", "fd09::a"
	b4, b6 = "10.9.1.2", "fd09::b"
	m4, m6 = "10.9.1.3", "fd09::c"
	mMAC   = "02:00:00:00:09:03"
)

// usual is a machine with the ports a and b, which share the NIC's MAC, and m,
// which has its own, in containers 0, 1 and 2.
func usual(t *testing.T, cfg nictest.Config, attach ...string) *machine {
	t.Helper()
	cfg.Containers = max(cfg.Containers, 3)
	m := newMachine(t, cfg)
	m.attach(attach...)
	m.add(0, "a", a4+"/16,"+a6+"/64")
	m.add(1, "b", b4+"/16,"+b6+"/64")
	m.add(2, "m", m4+"/16,"+m6+"/64", "--mac", mMAC)
	return m
}

// node is somebody who can ping and be pinged.
type node struct {
	name   string
	ns     *nictest.NS
	v4, v6 string
}

func (m *machine) nodes() []node {
	return []node{
		{"wire", m.Wire, wire4, wire6}, {"host", m.Host, host4, host6},
		{"ip-a", m.Containers[0], a4, a6}, {"ip-b", m.Containers[1], b4, b6}, {"mac-m", m.Containers[2], m4, m6},
	}
}

// TestEverybodyReachesEverybody: wire, host, IP identities and MAC identities,
// each to each, both families, small, 1,400 bytes and as large as the MTU.
func TestEverybodyReachesEverybody(t *testing.T) {
	nictest.Require(t, "ping")
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			m := usual(t, nictest.Config{}, "--mode", mode)
			pingAll(t, m.nodes())
			m.detach()
		})
	}
}

// pingAll has each ping each other, all at once.
func pingAll(t *testing.T, nodes []node) {
	var all sync.WaitGroup
	for _, from := range nodes {
		for _, to := range nodes {
			if from == to {
				continue
			}
			all.Go(func() {
				for _, size := range []int{56, 1400, 1472} {
					ping(t, from.ns, to.v4, "-M", "do", "-s", fmt.Sprint(size))
					ping(t, from.ns, to.v6, "-M", "do", "-s", fmt.Sprint(min(size, 1452)))
				}
			})
		}
	}
	all.Wait()
}

// TestNeighboursAnswer: arping and ndisc6 get exactly one answer for each
// address, with the MAC of its owner.
func TestNeighboursAnswer(t *testing.T) {
	nictest.Require(t, "arping", "ndisc6")
	m := usual(t, nictest.Config{})
	nicMAC := fmtMAC(m.Host.MAC(t, m.NIC))
	for _, c := range []struct{ v4, v6, mac string }{{a4, a6, nicMAC}, {b4, b6, nicMAC}, {m4, m6, mMAC}} {
		out := m.Wire.Run(t, "arping", "-c", "3", "-W", "0.2", "-I", m.WireNIC, c.v4)
		if strings.Count(strings.ToLower(out), c.mac) != 3 || strings.Contains(out, "DUP") {
			t.Errorf("arping %s, wanted 3 answers of %s:\n%s", c.v4, c.mac, out)
		}
		out = m.Wire.Run(t, "ndisc6", "-m", "-r", "1", "-w", "500", c.v6, m.WireNIC)
		if strings.Count(strings.ToLower(out), c.mac) != 1 {
			t.Errorf("ndisc6 %s, wanted 1 answer of %s:\n%s", c.v6, c.mac, out)
		}
	}
}

func fmtMAC(mac [6]byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])
}

// TestLocalTrafficStaysLocal: not one frame between two containers, or between
// a container and the host, is seen on the wire.
func TestLocalTrafficStaysLocal(t *testing.T) {
	nictest.Require(t, "ping", "tcpdump")
	m := usual(t, nictest.Config{})
	dump := m.Wire.Start(t, "tcpdump", "-n", "-l", "--immediate-mode", "-i", m.WireNIC, "icmp or icmp6 or arp")
	nictest.Eventually(t, "tcpdump to listen", func() bool { return strings.Contains(dump.Output(), "listening on") })
	nodes := m.nodes()[1:]
	for _, from := range nodes {
		for _, to := range nodes {
			if from != to {
				ping(t, from.ns, to.v4)
				ping(t, from.ns, to.v6)
			}
		}
	}
	// The dump must have seen what does go over the wire, else it proves nothing.
	ping(t, m.Wire, a4)
	nictest.Eventually(t, "tcpdump to see the wire", func() bool { return strings.Contains(dump.Output(), "echo reply") })
	if err := dump.Stop(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(dump.Output()) {
		if strings.Contains(line, "echo re") && !strings.Contains(line, wire4) {
			t.Errorf("local traffic on the wire: %s", line)
		}
	}
}

// TestGatewayOnTheWire: a container reaches what lies behind a gateway, also
// after its neighbour cache was flushed, permanent entries included.
func TestGatewayOnTheWire(t *testing.T) {
	nictest.Require(t, "ping", "ip")
	const far4, far6 = "198.51.100.1", "2001:db8::1"
	m := newMachine(t, nictest.Config{Containers: 2})
	m.Wire.Run(t, "ip", "addr", "add", far4+"/32", "dev", "lo")
	m.Wire.Run(t, "ip", "addr", "add", far6+"/128", "dev", "lo", "nodad")
	m.attach()
	m.add(0, "slash32", "10.9.1.1/32,fd09::a/128", "--gateway", wire4, "--gateway", wire6)
	m.add(1, "onlink", "10.9.1.2/16,fd09::b/64", "--gateway", wire4, "--gateway", wire6, "--mac", mMAC)
	for i, c := range m.Containers {
		for _, flush := range [][]string{nil, {"all"}, {"permanent"}} {
			if flush != nil {
				c.Run(t, "ip", "neigh", "flush", "dev", "eth0", "nud", flush[0])
				c.Run(t, "ip", "-6", "neigh", "flush", "dev", "eth0", "nud", flush[0])
			}
			t.Run(fmt.Sprint(i, flush), func(t *testing.T) {
				ping(t, c, far4)
				ping(t, c, far6)
			})
		}
	}
	// The short cut: neighbours of a /32 container are reached without the gateway.
	ping(t, m.Containers[0], "10.9.1.2")
	ping(t, m.Containers[0], "fd09::b")
	ping(t, m.Containers[0], host4)
	ping(t, m.Containers[0], host6)
	ping(t, m.Host, "10.9.1.1")
	ping(t, m.Host, "fd09::a")
}
