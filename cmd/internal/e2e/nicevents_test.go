package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// stream is a ping that goes on, one request each 10 ms if nothing else is said.
type stream struct {
	what string
	ping *nictest.Process
}

func startStream(t *testing.T, from *nictest.NS, to string, args ...string) *stream {
	t.Helper()
	args = append(append([]string{"-n", "-i", "0.01", "-W", "10"}, args...), to)
	return &stream{from.Name + " to " + to, from.Start(t, "ping", args...)}
}

func (s *stream) answers() int { return strings.Count(s.ping.Output(), "icmp_seq=") }

// goesOn waits until 20 more requests were answered.
func (s *stream) goesOn(t *testing.T, while string) {
	t.Helper()
	now := s.answers()
	nictest.Eventually(t, s.what+" to go on "+while, func() bool { return s.answers() >= now+20 })
}

// lost ends the stream and returns how many requests had no answer. One that
// was answered twice fails the test.
func (s *stream) lost(t *testing.T) (lost int) {
	t.Helper()
	if err := s.ping.Stop(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	answered, last := answersOf(s.ping.Output())
	for seq := 1; seq < last; seq++ {
		switch answered[seq] {
		case 0:
			lost++
		case 1:
		default:
			t.Errorf("%s: request %d was answered %d times", s.what, seq, answered[seq])
		}
	}
	t.Logf("%s: %d of %d lost", s.what, lost, last)
	return lost
}

// locals are streams between containers, of each identity to each.
func (m *machine) locals(t *testing.T) []*stream {
	t.Helper()
	a, b, c := m.Containers[0], m.Containers[1], m.Containers[2]
	return []*stream{startStream(t, a, b4), startStream(t, b, a6), startStream(t, a, m4), startStream(t, c, b4), startStream(t, c, a6)}
}

// isAnnouncement says that a frame tells everybody, unasked, that ip is at mac:
// RFC 5227, section 3, or RFC 4861, section 7.2.6.
func isAnnouncement(frame []byte, ip string, at mac) bool {
	packet := decode(frame)
	if arp, ok := packet.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		return net.IP(arp.SourceProtAddress).String() == ip && net.IP(arp.DstProtAddress).String() == ip &&
			mac(arp.SourceHwAddress) == at && frame[0] == 0xff
	}
	na, ok := packet.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	return ok && na.TargetAddress.Equal(net.ParseIP(ip)) && na.Flags&0x60 == 0x20 && frame[0] == 0x33 &&
		slices.ContainsFunc(na.Options, func(o layers.ICMPv6Option) bool {
			return o.Type == layers.ICMPv6OptTargetAddress && mac(o.Data) == at
		})
}

// hears waits until the wire has been told where every address is.
func (m *machine) hears(t *testing.T, wire *rawSocket, own mac) {
	t.Helper()
	for ip, at := range map[string]mac{a4: own, a6: own, b4: own, b6: own, m4: {2, 0, 0, 0, 9, 3}, m6: {2, 0, 0, 0, 9, 3}} {
		nictest.Eventually(t, fmt.Sprintf("the wire to be told that %s is at %x", ip, at), func() bool {
			return wire.any(func(frame []byte) bool { return isAnnouncement(frame, ip, at) })
		})
	}
}

// wireResumes waits until every container is reached from the wire and reaches
// it.
func (m *machine) wireResumes(t *testing.T) {
	t.Helper()
	for _, to := range []string{a4, a6, b4, b6, m4, m6} {
		nictest.Eventually(t, "the wire to reach "+to, func() bool { return reaches(m.Wire, to) })
	}
	for i, c := range m.Containers[:3] {
		for _, to := range []string{wire4, wire6} {
			nictest.Eventually(t, fmt.Sprintf("container %d to reach %s", i, to), func() bool { return reaches(c, to) })
		}
	}
}

// reaches says whether one request is answered.
func reaches(from *nictest.NS, to string) bool {
	_, err := from.Try("ping", "-n", "-q", "-c", "1", "-W", "1", to)
	return err == nil
}

// says waits until the daemon has said this since it had printed so much.
func (m *machine) says(since int, what string) {
	m.t.Helper()
	nictest.Eventually(m.t, "the daemon to say "+what, func() bool { return strings.Contains(m.daemon.Output()[since:], what) })
}

// TestNICComesAndGoes: the NIC goes down and up, is renamed, is removed and
// comes back. Traffic between containers, and between host and containers as
// far as the host keeps its address, does not lose a frame; that of the wire
// resumes by itself, and the wire is told who is where.
func TestNICComesAndGoes(t *testing.T) {
	nictest.Require(t, "ping")
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			m := usual(t, nictest.Config{Queues: 2}, "--mode", mode)
			own := m.Host.MAC(t, m.NIC)
			reachAll(t, m.nodes())
			wire := listenRaw(t, m.Wire, 0, func([]byte) bool { return true })
			streams := append(m.locals(t), startStream(t, m.Host, a4))
			abroad := []*stream{startStream(t, m.Containers[0], wire4), startStream(t, m.Containers[2], wire6),
				startStream(t, m.Wire, b4), startStream(t, m.Wire, m6), startStream(t, m.Wire, host4)}
			for _, e := range []struct {
				name      string
				go_, come func()
				says      [2]string
			}{
				{"down", func() { m.Host.Run(t, "ip", "link", "set", m.NIC, "down") }, m.nicUp, [2]string{m.NIC + ": down", m.NIC + ": up"}},
				{"renamed", func() { m.rename("other0") }, func() { m.rename("nic0") }, [2]string{"nic0: is called other0 now", "other0: is called nic0 now"}},
				{"unplugged", func() { m.Wire.Run(t, "ip", "link", "set", m.WireNIC, "down") }, m.wireUp,
					[2]string{m.NIC + ": carrier off", m.NIC + ": carrier on"}},
				{"removed", func() { endHostStream(t, &streams); m.RemoveNIC(t) }, func() { m.ReturnNIC(t) }, [2]string{m.NIC + ": removed", m.NIC + ": returned"}},
				{"removed again", func() { m.RemoveNIC(t) }, func() { m.ReturnNIC(t) }, [2]string{m.NIC + ": removed", m.NIC + ": returned"}},
			} {
				wire.forget()
				printed := len(m.daemon.Output())
				e.go_()
				m.says(printed, e.says[0])
				for _, s := range streams {
					s.goesOn(t, "while the NIC is "+e.name)
				}
				e.come()
				m.says(printed, e.says[1])
				m.wireResumes(t)
				for _, s := range abroad {
					s.goesOn(t, "after the NIC was "+e.name)
				}
				if e.name != "renamed" {
					m.hears(t, wire, own)
				}
				m.requirePorts("a", "b", "m")
			}
			for _, s := range streams {
				if s.lost(t) > 0 {
					t.Errorf("%s lost frames", s.what)
				}
			}
			reachAll(t, m.nodes())
			m.detach()
		})
	}
}

// endHostStream ends the stream of the host, whose address goes with its NIC.
func endHostStream(t *testing.T, streams *[]*stream) {
	t.Helper()
	last := len(*streams) - 1
	if (*streams)[last].lost(t) > 0 {
		t.Errorf("%s lost frames", (*streams)[last].what)
	}
	*streams = (*streams)[:last]
}

// nicUp sets the NIC up, with the address that the kernel took away with the link.
func (m *machine) nicUp() {
	m.t.Helper()
	m.Host.Run(m.t, "ip", "link", "set", m.NIC, "up")
	m.Host.Run(m.t, "ip", "addr", "replace", host6+"/64", "dev", m.NIC, "nodad")
}

// wireUp plugs the wire in again.
func (m *machine) wireUp() {
	m.t.Helper()
	m.Wire.Run(m.t, "ip", "link", "set", m.WireNIC, "up")
	m.Wire.Run(m.t, "ip", "addr", "replace", wire6+"/64", "dev", m.WireNIC, "nodad")
}

// rename gives the NIC another name, as udev would.
func (m *machine) rename(to string) {
	m.t.Helper()
	from := map[string]string{"other0": "nic0", "nic0": "other0"}[to]
	m.Host.Run(m.t, "ip", "link", "set", from, "down")
	m.Host.Run(m.t, "ip", "link", "set", from, "name", to)
	m.Host.Run(m.t, "ip", "link", "set", to, "up")
	m.Host.Run(m.t, "ip", "addr", "replace", host6+"/64", "dev", to, "nodad")
}

// TestNICChangesItsMAC: the TAPs of IP identities bear the new MAC, the wire is
// told, everybody reaches everybody, also those who remember the old one, and
// gateways are found and followed in the new one's name.
func TestNICChangesItsMAC(t *testing.T) {
	nictest.Require(t, "ping")
	m := newMachine(t, nictest.Config{Containers: 4})
	// The host's own addresses are announced by its kernel, if it is told to.
	m.Host.SetSysctl(t, "net/ipv4/conf/"+m.NIC+"/arp_notify", "1")
	m.Host.SetSysctl(t, "net/ipv6/conf/"+m.NIC+"/ndisc_notify", "1")
	m.attach()
	m.add(0, "a", a4+"/16,"+a6+"/64", "--gateway", wire4)
	m.add(1, "b", b4+"/16,"+b6+"/64")
	m.add(2, "m", m4+"/16,"+m6+"/64", "--mac", mMAC)
	m.add(3, "behind", "10.9.1.4/32,fd09::d/128", "--mac", "02:00:00:00:09:04", "--gateway", b4, "--gateway", b6)
	reachAll(t, m.nodes())
	wire := listenRaw(t, m.Wire, 0, func([]byte) bool { return true })
	streams := m.locals(t)
	for _, fresh := range []mac{{2, 0xee, 0, 0, 0, 1}, {2, 0xee, 0, 0, 0, 2}} {
		wire.forget()
		printed := len(m.daemon.Output())
		m.Host.Run(t, "ip", "link", "set", m.NIC, "address", fmtMAC(fresh))
		m.says(printed, m.NIC+": MAC changed")
		for i := range 2 {
			nictest.Eventually(t, "the TAPs to bear the new MAC", func() bool { return m.Containers[i].MAC(t, "eth0") == fresh })
		}
		for _, s := range streams {
			s.goesOn(t, "with another MAC of the NIC")
		}
		m.hears(t, wire, fresh)
		m.wireResumes(t)
		reachAll(t, m.nodes())
		// The permanent neighbours are right: of a gateway on the wire, and of one that shares the NIC's MAC.
		for c, gw := range map[int]string{0: wire4, 3: b4} {
			want := map[string]mac{wire4: m.Wire.MAC(t, m.WireNIC), b4: fresh}[gw]
			nictest.Eventually(t, "the permanent neighbour "+gw, func() bool {
				return strings.Contains(m.Containers[c].Run(t, "ip", "neigh", "show", gw), "lladdr "+fmtMAC(want)+" PERMANENT")
			})
		}
	}
	for _, s := range streams {
		// A frame between two interfaces of which one has the new MAC and one the
		// old may be lost.
		if lost := s.lost(t); lost > 10 {
			t.Errorf("%s lost %d", s.what, lost)
		}
	}
	for _, p := range m.stats().Ports {
		t.Logf("%s: %v", p.Name, p.Tx.Drops)
	}
	m.detach()
}

// TestNICChangesItsMTU: ports and the host port that have no MTU of their own
// follow the NIC's, up and down, and what fits passes.
func TestNICChangesItsMTU(t *testing.T) {
	nictest.Require(t, "ping")
	m := newMachine(t, nictest.Config{Containers: 3})
	m.attach()
	m.add(0, "a", a4+"/16,"+a6+"/64")
	m.add(1, "b", b4+"/16,"+b6+"/64", "--mtu", "1300")
	m.add(2, "m", m4+"/16,"+m6+"/64", "--mac", mMAC)
	streams := m.locals(t)
	for _, mtu := range []int{1400, 1500, 3000, 1500} {
		m.Wire.Run(t, "ip", "link", "set", m.WireNIC, "mtu", fmt.Sprint(max(mtu, 1500)))
		m.Host.Run(t, "ip", "link", "set", m.NIC, "mtu", fmt.Sprint(mtu))
		for _, c := range []struct {
			ns       *nictest.NS
			dev      string
			mtu      int
			from, to string
		}{{m.Containers[0], "eth0", mtu, a4, wire4}, {m.Containers[1], "eth0", 1300, b4, wire4}, {m.Containers[2], "eth0", mtu, m4, wire4}, {m.Host, "xdmx0", mtu, host4, a4}} {
			nictest.Eventually(t, fmt.Sprintf("%s in %s to have the MTU %d", c.dev, c.ns.Name, c.mtu), func() bool {
				return strings.Contains(c.ns.Run(t, "ip", "link", "show", c.dev), fmt.Sprintf(" mtu %d ", c.mtu))
			})
			whole := fmt.Sprint(c.mtu - 28)
			nictest.Eventually(t, "a frame of the whole MTU from "+c.from+" to pass", func() bool {
				_, err := c.ns.Try("ping", "-n", "-q", "-c", "1", "-W", "1", "-M", "do", "-s", whole, c.to)
				return err == nil
			})
		}
	}
	for _, s := range streams {
		if s.lost(t) > 0 {
			t.Errorf("%s lost frames", s.what)
		}
	}
	m.detach()
}

// TestHostChangesItsAddresses: an address that the host gets, on the NIC or
// elsewhere, is reached from the containers at once, and by the way of the
// host port; one that it loses is not the host's any more.
func TestHostChangesItsAddresses(t *testing.T) {
	nictest.Require(t, "ping")
	m := usual(t, nictest.Config{Containers: 4})
	streams := append(m.locals(t), startStream(t, m.Host, a6))
	const more4, more6, far4 = "10.9.0.77", "fd09::77", "192.0.2.7"
	m.Containers[0].Run(t, "ip", "route", "add", far4, "dev", "eth0")
	for range 2 {
		m.Host.Run(t, "ip", "addr", "add", more4+"/16", "dev", m.NIC)
		m.Host.Run(t, "ip", "addr", "add", more6+"/64", "dev", m.NIC, "nodad")
		m.Host.Run(t, "ip", "addr", "add", far4+"/32", "dev", "lo")
		for _, to := range []string{more4, more6, far4} {
			before := m.stats().Host.Received
			nictest.Eventually(t, "the containers to reach "+to, func() bool { return reaches(m.Containers[0], to) })
			if m.stats().Host.Received == before {
				t.Errorf("the host answered %s by another way than the host port", to)
			}
		}
		if out, code := m.try("add", "late", "--ip", more4+"/16", "--netns", m.Containers[3].Path); code != 1 || !strings.Contains(out, "belongs to the host") {
			t.Errorf("a port with the host's new address: exit %d: %s", code, out)
		}
		m.Host.Run(t, "ip", "addr", "del", more4+"/16", "dev", m.NIC)
		m.Host.Run(t, "ip", "addr", "del", more6+"/64", "dev", m.NIC)
		m.Host.Run(t, "ip", "addr", "del", far4+"/32", "dev", "lo")
		nictest.Eventually(t, "a port to be allowed what was the host's", func() bool {
			_, code := m.try("add", "late", "--ip", more4+"/16", "--netns", m.Containers[3].Path)
			return code == 0
		})
		m.Containers[0].Run(t, "ip", "neigh", "flush", "dev", "eth0", "to", more4) // it was the host's a moment ago
		ping(t, m.Containers[0], more4, "-c", "1")
		m.run("del", "late")
	}
	for _, s := range streams {
		if s.lost(t) > 0 {
			t.Errorf("%s lost frames", s.what)
		}
	}
	// The address that the routes to the containers prefer goes; they stay.
	m.Host.Run(t, "ip", "addr", "add", more4+"/24", "dev", m.NIC)
	m.Host.Run(t, "ip", "addr", "del", host4+"/16", "dev", m.NIC)
	nictest.Eventually(t, "the host to reach its containers from its other address", func() bool {
		return reaches(m.Host, a4) && strings.Contains(m.Host.Run(t, "ip", "route", "get", a4), "xdmx0 src "+more4)
	})
	m.detach()
}

// TestGatewayFailsOver: a gateway moves to another MAC and says so, in each of
// the ways there are. The containers that use it have it as their permanent
// neighbour, heard it themselves, and go on; the others hear nothing.
func TestGatewayFailsOver(t *testing.T) {
	nictest.Require(t, "ping")
	m := newMachine(t, nictest.Config{Containers: 3})
	m.attach()
	m.add(0, "a", a4+"/16,"+a6+"/64", "--gateway", wire4, "--gateway", wire6)
	m.add(1, "b", b4+"/16,"+b6+"/64")
	m.add(2, "m", m4+"/32,"+m6+"/128", "--mac", mMAC, "--gateway", wire4, "--gateway", wire6)
	requireGateway := func(gw string, at mac) {
		t.Helper()
		for _, c := range []int{0, 2} {
			nictest.Eventually(t, fmt.Sprintf("container %d to know that %s is at %x", c, gw, at), func() bool {
				return strings.Contains(m.Containers[c].Run(t, "ip", "neigh", "show", gw), "lladdr "+fmtMAC(at)+" PERMANENT")
			})
		}
	}
	requireGateway(wire4, m.Wire.MAC(t, m.WireNIC))
	requireGateway(wire6, m.Wire.MAC(t, m.WireNIC))
	broadcast, allNodes := mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac{0x33, 0x33, 0, 0, 0, 1}
	ways := []struct {
		name, ip string
		frame    func(p path) []byte
	}{
		{"gratuitous request", wire4, func(p path) []byte { return p.toMAC(broadcast).between(wire4, wire4).arp(t, layers.ARPRequest, p.src) }},
		{"gratuitous reply", wire4, func(p path) []byte { return p.toMAC(broadcast).between(wire4, wire4).arp(t, layers.ARPReply, p.src) }},
		{"advertisement", wire6, func(p path) []byte {
			return p.toMAC(allNodes).between(wire6, "ff02::1").advertise(t, wire6, 0xa0, p.src)
		}},
	}
	var ears []*rawSocket
	for _, c := range m.Containers {
		ears = append(ears, openRaw(t, c, "eth0"))
	}
	for i, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			fresh := mac{2, 0xaa, 0, 0, 0, byte(i + 1)}
			m.Wire.Run(t, "ip", "link", "set", m.WireNIC, "address", fmtMAC(fresh))
			openRaw(t, m.Wire, m.WireNIC).send(t, marked(way.frame(path{src: fresh}), i))
			requireGateway(way.ip, fresh)
			for c, times := range []int{1, 0, 1} {
				nictest.Eventually(t, fmt.Sprintf("container %d to hear it %d times", c, times), func() bool { return ears[c].numbers()[i] == times })
			}
			for _, c := range []int{0, 2} {
				ping(t, m.Containers[c], way.ip, "-c", "1")
			}
		})
	}
	// What nobody announces is found, too: a worker sees who asks.
	silent := mac{2, 0xaa, 0, 0, 0, 0x99}
	m.Wire.Run(t, "ip", "link", "set", m.WireNIC, "address", fmtMAC(silent))
	nictest.Eventually(t, "the gateway to be answered where it is", func() bool { return reaches(m.Wire, a4) && reaches(m.Wire, m6) })
	requireGateway(wire4, silent)
	requireGateway(wire6, silent)
	m.detach()
}
