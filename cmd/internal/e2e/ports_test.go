package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestSetLosesNothing: a port answers a ping every millisecond without one loss,
// and whatever goes in and out, of either family, to and from wire, host and
// neighbour, loses nothing, while its addresses, MTU and gateways change. Its
// depth is another matter: the kernel drops what the container sends in that
// moment.
func TestSetLosesNothing(t *testing.T) {
	nictest.Require(t, "ping")
	m := usual(t, nictest.Config{})
	a := m.Containers[0]
	streams := []*stream{
		startStream(t, m.Wire, a4, "-i", "0.001"), startStream(t, m.Wire, a6), startStream(t, m.Host, a4), startStream(t, m.Containers[1], a6),
		startStream(t, a, wire4), startStream(t, a, wire6), startStream(t, a, host6), startStream(t, a, m4),
	}
	for _, change := range [][]string{
		nil, {"--ip", a4 + "/16," + a6 + "/64,10.9.1.77/16"}, {"--mtu", "1400"}, {"--gateway", wire4},
		{"--ip", a4 + "/16," + a6 + "/64"}, {"--mtu", "1500"}, {"--gateway", ""},
	} {
		if change != nil {
			m.run(append([]string{"set", "a"}, change...)...)
		}
		for _, s := range streams {
			s.goesOn(t, fmt.Sprint("after set ", change))
		}
	}
	for _, s := range streams {
		if s.lost(t) > 0 {
			t.Errorf("%s lost frames", s.what)
		}
	}
}

// TestSetTakesEffect: a new address answers, one that was given up does not,
// and what is larger than the new MTU does not pass.
func TestSetTakesEffect(t *testing.T) {
	nictest.Require(t, "ping")
	m := usual(t, nictest.Config{})
	m.run("set", "a", "--ip", a4+"/16,10.9.1.77/16", "--mtu", "1300")
	ping(t, m.Wire, "10.9.1.77")
	ping(t, m.Host, "10.9.1.77")
	ping(t, m.Wire, a4, "-M", "do", "-s", "1272")
	if out, err := m.Wire.Try("ping", "-n", "-c", "4", "-i", "0.3", "-W", "1", "-M", "do", "-s", "1273", a4); err == nil || !strings.Contains(out, "mtu=1300") && !strings.Contains(out, "mtu = 1300") {
		t.Errorf("a packet above the port's MTU: %v, want the sender to learn the path MTU:\n%s", err, out)
	}
	m.run("set", "a", "--ip", a4+"/16", "--depth", "123")
	if out := m.Containers[0].Run(t, "ip", "link", "show", "eth0"); !strings.Contains(out, "qlen 123") {
		t.Errorf("the depth is not 123:\n%s", out)
	}
	if out, err := m.Wire.Try("ping", "-n", "-c", "1", "-W", "1", "10.9.1.77"); err == nil {
		t.Errorf("an address that was given up still answers:\n%s", out)
	}
}

// TestPortsComeBack: after an orderly detach and after a crash the same
// containers work with attach alone, and the wire is told where they are.
func TestPortsComeBack(t *testing.T) {
	nictest.Require(t, "ping")
	m := usual(t, nictest.Config{})
	before := m.run("ls", "-o", "json")
	wire, own := listenRaw(t, m.Wire, 0, func([]byte) bool { return true }), m.Host.MAC(t, m.NIC)
	for _, end := range []func(){m.detach, m.kill} {
		end()
		wire.forget()
		m.attach()
		m.hears(t, wire, own)
		for _, n := range m.nodes()[2:] {
			ping(t, m.Wire, n.v4)
			ping(t, n.ns, host6)
		}
		if after := m.run("ls", "-o", "json"); strings.Count(after, `"ready"`) != strings.Count(before, `"ready"`) {
			t.Errorf("before %s\nafter %s", before, after)
		}
	}
}

// TestPrefixIdentity: a container owns a whole prefix, as a router does, and its
// neighbours on the wire and on the host reach what is behind it.
func TestPrefixIdentity(t *testing.T) {
	nictest.Require(t, "ping")
	m := newMachine(t, nictest.Config{Containers: 2})
	m.attach()
	m.add(0, "router", "10.9.1.1/16,fd09::a/64", "--prefix", "10.9.50.0/24", "--prefix", "fd50::/64")
	m.add(1, "other", "10.9.1.2/16,fd09::b/64")
	c := m.Containers[0]
	c.Run(t, "ip", "addr", "add", "10.9.50.7/32", "dev", "lo")
	c.Run(t, "ip", "addr", "add", "fd50::7/128", "dev", "lo", "nodad")
	m.Wire.Run(t, "ip", "route", "add", "fd50::/64", "via", "fd09::a")
	m.Containers[1].Run(t, "ip", "route", "add", "fd50::/64", "via", "fd09::a")
	for _, from := range []*nictest.NS{m.Wire, m.Host, m.Containers[1]} {
		ping(t, from, "10.9.50.7")
		ping(t, from, "fd50::7")
	}
}

// TestHostAsGateway: a container whose gateway is the host reaches what the
// host has behind it.
func TestHostAsGateway(t *testing.T) {
	nictest.Require(t, "ping")
	m := newMachine(t, nictest.Config{Containers: 1})
	m.Host.Run(t, "ip", "addr", "add", "198.51.100.9/32", "dev", "lo")
	m.Host.Run(t, "ip", "addr", "add", "2001:db8::9/128", "dev", "lo", "nodad")
	m.attach()
	m.add(0, "a", "10.9.1.1/32,fd09::a/128", "--gateway", host4, "--gateway", host6)
	ping(t, m.Containers[0], "198.51.100.9")
	ping(t, m.Containers[0], "2001:db8::9")
	if neighbours := m.Containers[0].Run(t, "ip", "neigh", "show", "dev", "eth0"); strings.Count(neighbours, "PERMANENT") != 2 || strings.Contains(neighbours, "REACHABLE") {
		t.Errorf("the container's neighbours are not its two gateways alone:\n%s", neighbours)
	}
}

// TestContainerCarriesOn: what somebody inside flushes is put back.
func TestContainerCarriesOn(t *testing.T) {
	nictest.Require(t, "ping")
	m := newMachine(t, nictest.Config{Containers: 1})
	m.attach()
	m.add(0, "a", a4+"/16,"+a6+"/64", "--gateway", wire4, "--gateway", wire6)
	c := m.Containers[0]
	for _, flush := range [][]string{{"addr", "flush", "dev", "eth0"}, {"route", "flush", "dev", "eth0"}, {"link", "del", "eth0"}} {
		c.Run(t, "ip", flush...)
		nictest.Eventually(t, "the interface to be whole again after ip "+strings.Join(flush, " "), func() bool {
			addrs, _ := c.Try("ip", "addr", "show", "dev", "eth0")
			routes, _ := c.Try("ip", "route")
			routes6, _ := c.Try("ip", "-6", "route")
			return strings.Contains(addrs, a4+"/16") && strings.Contains(addrs, a6+"/64") &&
				strings.Contains(routes, "default via "+wire4) && strings.Contains(routes6, "default via "+wire6)
		})
		ping(t, m.Wire, a4)
		ping(t, c, wire6)
	}
}

// TestMoreWorkersAfterACrash: interfaces that a daemon with one worker made
// serve one with two, and the other way round, whichever queue a frame comes by.
func TestMoreWorkersAfterACrash(t *testing.T) {
	nictest.Require(t, "ping")
	m := usual(t, nictest.Config{Queues: 2}, "--workers", "1")
	for _, workers := range []string{"2", "1"} {
		m.kill()
		m.attach("--workers", workers)
		pingAll(t, m.nodes())
	}
}
