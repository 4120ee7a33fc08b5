package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// snapshots are of every namespace in which the daemon does something, by name.
type snapshots map[string]map[string]string

func (m *machine) snapshot() snapshots {
	m.t.Helper()
	all := snapshots{"host": nictest.Snapshot(m.t, m.Host)}
	for i, c := range m.Containers {
		all[fmt.Sprintf("container %d", i)] = nictest.Snapshot(m.t, c)
	}
	return all
}

// requireAsBefore waits until everything is as in the snapshots, and fails with
// what is not: the kernel takes its time with some of it.
func (m *machine) requireAsBefore(before snapshots) {
	m.t.Helper()
	var lines []string
	for range 20 {
		lines = nil
		for name, now := range m.snapshot() {
			for _, l := range nictest.Diff(before[name], now) {
				lines = append(lines, name+": "+l)
			}
		}
		if len(lines) == 0 {
			return
		}
	}
	m.t.Errorf("not as before:\n%s", strings.Join(lines, "\n"))
}

// requireNoRemains: neither socket nor lock nor record of a NIC that is held.
func (m *machine) requireNoRemains() {
	m.t.Helper()
	for _, pattern := range []string{m.runDir + "/*", m.runDir + "/.*.bind", m.stateDir + "/*/attach.json"} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			m.t.Errorf("left behind: %v %v", left, err)
		}
	}
}

// ports lists the ports as the daemon has them.
func (m *machine) ports() []api.Port {
	m.t.Helper()
	var list api.PortList
	if err := json.Unmarshal([]byte(m.run("ls", "-o", "json")), &list); err != nil {
		m.t.Fatal(err)
	}
	return list.Ports
}

// requirePorts requires that these ports exist, and no others, and all work.
func (m *machine) requirePorts(names ...string) {
	m.t.Helper()
	var have []string
	for _, p := range m.ports() {
		if have = append(have, p.Name); p.State != api.StateReady {
			m.t.Errorf("port %s is %s: %s", p.Name, p.State, p.Error)
		}
	}
	if !slices.Equal(have, names) {
		m.t.Errorf("ports %v, want %v", have, names)
	}
}

// TestEverythingIsGivenBack: NIC, routes, sysctls and all else of the host and
// the containers are, field by field, as before attach: after detach, however
// it is asked for, and after each way to clean up behind a daemon that died.
func TestEverythingIsGivenBack(t *testing.T) {
	nictest.Require(t, "ping")
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) { giveBack(t, mode) })
	}
}

func giveBack(t *testing.T, mode string) {
	m := newMachine(t, nictest.Config{Containers: 3, NICGRO: true, Queues: 2})
	m.Host.Run(t, "ethtool", "-K", m.NIC, "rxvlan", "on")
	before := m.snapshot()
	m.attach("--mode", mode)
	m.add(0, "a", a4+"/16,"+a6+"/64", "--gateway", wire4, "--gateway", wire6)
	m.add(1, "b", b4+"/32,"+b6+"/128", "--gateway", wire4, "--vlan", "7")
	m.add(2, "m", m4+"/16,"+m6+"/64", "--mac", mMAC, "--prefix", "10.20.0.0/16")
	m.detach()
	m.requireAsBefore(before)
	for _, way := range []struct {
		name string
		end  func(m *machine)
	}{
		{"SIGTERM", (*machine).detach},
		{"detach", func(m *machine) { m.run("detach", m.NIC); m.requireEnded() }},
		{"crash, detach", func(m *machine) { m.kill(); m.run("detach", m.NIC) }},
		{"crash, attach, detach", func(m *machine) { m.kill(); m.attach("--mode", mode); m.detach() }},
		{"crash, attach, crash, detach", func(m *machine) { m.kill(); m.attach("--mode", mode); m.kill(); m.run("detach", m.NIC) }},
		{"crash, attach otherwise, detach", func(m *machine) { m.kill(); m.attach("--no-host-port", "--workers", "1"); m.detach() }},
	} {
		t.Run(way.name, func(t *testing.T) {
			m := m.in(t)
			m.attach("--mode", mode)
			m.requirePorts("a", "b", "m")
			reachAll(t, []node{{"wire", m.Wire, wire4, wire6}, {"host", m.Host, host4, host6}, {"a", m.Containers[0], a4, a6}, {"m", m.Containers[2], m4, m6}})
			way.end(m)
			m.requireAsBefore(before)
			m.requireNoRemains()
		})
	}
}

// reachAll has each ping each other once, in both families, all at once.
func reachAll(t *testing.T, nodes []node) {
	t.Helper()
	var all sync.WaitGroup
	for _, from := range nodes {
		for _, to := range nodes {
			if from != to {
				all.Go(func() { ping(t, from.ns, to.v4, "-c", "1"); ping(t, from.ns, to.v6, "-c", "1") })
			}
		}
	}
	all.Wait()
}

// in is the same machine for a part of the test.
func (m *machine) in(t *testing.T) *machine {
	part := *m
	part.t = t
	return &part
}

// requireEnded waits for the daemon's own end, which must be a good one.
func (m *machine) requireEnded() {
	m.t.Helper()
	if err := m.daemon.Wait(); err != nil {
		m.t.Errorf("the daemon ended with %v:\n%s", err, m.daemon.Output())
	}
}

// TestCleanUpFindsTheNIC: a NIC that got another name after the crash is given
// back under that; one that was pulled out keeps nothing from being cleaned up.
func TestCleanUpFindsTheNIC(t *testing.T) {
	m := newMachine(t, nictest.Config{Containers: 2})
	m.Host.Run(t, "ethtool", "-K", m.NIC, "rxvlan", "on")
	before := m.snapshot()
	m.attach()
	m.add(0, "a", a4+"/16,"+a6+"/64", "--gateway", wire4)
	m.kill()
	m.rename("other0")
	m.run("detach", m.NIC)
	m.rename("nic0")
	m.requireAsBefore(before)
	m.attach()
	m.kill()
	m.RemoveNIC(t)
	m.run("detach", m.NIC)
	m.ReturnNIC(t)
	for i := range m.Containers {
		name := fmt.Sprintf("container %d", i)
		if lines := nictest.Diff(before[name], m.snapshot()[name]); len(lines) > 0 {
			t.Errorf("%s: %v", name, lines)
		}
	}
	m.requireNoRemains()
}

// TestSecondDetach: there is nothing to give back a second time, and so it is
// said.
func TestSecondDetach(t *testing.T) {
	m := newMachine(t, nictest.Config{})
	m.attach()
	m.run("detach", m.NIC)
	if out, code := m.try("detach", m.NIC); code != 3 || !strings.Contains(out, "no daemon runs, and none left anything behind") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// inside is what a container sees of its interface.
func inside(t *testing.T, ns *nictest.NS) string {
	t.Helper()
	var all strings.Builder
	fmt.Fprintln(&all, "index", ns.Index(t, "eth0"), "MAC", ns.MAC(t, "eth0"))
	for _, what := range []string{"addr show dev eth0", "route", "-6 route", "neigh show nud permanent"} {
		for line := range strings.Lines(ns.Run(t, "ip", strings.Fields(what)...)) {
			if !strings.Contains(line, "mtu") && !strings.Contains(line, "valid_lft") { // carrier, queues and lifetimes
				all.WriteString(line)
			}
		}
	}
	return all.String()
}

// TestKillIsSurvived: the daemon is killed and attached again. The containers
// have the very same interfaces, with all that was changed inside, their
// connections go on, and nobody had to add a port.
func TestKillIsSurvived(t *testing.T) {
	nictest.Require(t, "ping")
	m := newMachine(t, nictest.Config{Containers: 3})
	m.attach()
	m.add(0, "a", a4+"/16,"+a6+"/64", "--gateway", wire4, "--gateway", wire6)
	m.add(1, "b", b4+"/16,"+b6+"/64")
	m.add(2, "m", m4+"/16,"+m6+"/64", "--mac", mMAC)
	reachAll(t, m.nodes())
	m.Containers[0].Run(t, "ip", "route", "add", "198.18.0.0/15", "via", wire4)
	m.Containers[1].Run(t, "ip", "addr", "add", "192.0.2.1/32", "dev", "eth0")
	nictest.Eventually(t, "the gateways' permanent neighbours", func() bool {
		return strings.Count(m.Containers[0].Run(t, "ip", "neigh", "show", "nud", "permanent"), "lladdr") == 2
	})
	talks := []*talk{
		startTalk(t, m.Wire, m.Containers[0], a4), startTalk(t, m.Containers[1], m.Wire, wire6),
		startTalk(t, m.Containers[2], m.Containers[0], a6), startTalk(t, m.Host, m.Containers[2], m4),
	}
	var before []string
	for _, c := range m.Containers {
		before = append(before, inside(t, c))
	}
	for range 3 {
		m.kill()
		if out, code := m.try("ls"); code != 3 {
			t.Errorf("without a daemon: exit %d: %s", code, out)
		}
		m.attach()
		m.requirePorts("a", "b", "m")
		for i, c := range m.Containers {
			if now := inside(t, c); now != before[i] {
				t.Errorf("container %d was\n%snow\n%s", i, before[i], now)
			}
		}
		for _, talk := range talks {
			talk.say(t)
		}
		reachAll(t, m.nodes())
	}
	m.detach()
}

// patience is how long a connection may take over one line, with segments that
// are sent again.
const patience = 30 * time.Second

// talk is a TCP connection over which lines go and come back.
type talk struct {
	what string
	conn net.Conn
	in   *bufio.Scanner
	said int
}

func startTalk(t *testing.T, client, server *nictest.NS, addr string) *talk {
	t.Helper()
	conn, err := listenLines(t, server, addr).call(client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	k := &talk{what: client.Name + " to " + addr, conn: conn, in: bufio.NewScanner(conn)}
	k.say(t)
	return k
}

// say says one line, which must come back.
func (k *talk) say(t *testing.T) {
	t.Helper()
	k.said++
	if err := say(k.conn, k.in, fmt.Sprint("line ", k.said)); err != nil {
		t.Errorf("%s: %v", k.what, err)
	}
}
