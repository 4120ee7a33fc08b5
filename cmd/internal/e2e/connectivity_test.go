package e2e

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// ports of the usual machine: two IP identities and one MAC identity.
const (
	a4, a6 = "10.9.1.1", "fd09::a"
	b4, b6 = "10.9.1.2", "fd09::b"
	m4, m6 = "10.9.1.3", "fd09::c"
	mMAC   = "02:00:00:00:09:03"
	n4, n6 = "10.9.1.4", "fd09::d" // of a second MAC identity; see everybody
	nMAC   = "02:00:00:00:09:04"
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

// everybody is usual with a second MAC identity, n in container 3, so that there
// are two of each kind.
func everybody(t *testing.T, attach ...string) (*machine, []node) {
	t.Helper()
	m := usual(t, nictest.Config{Containers: 4}, attach...)
	m.add(3, "n", n4+"/16,"+n6+"/64", "--mac", nMAC)
	return m, append(m.nodes(), node{"mac-n", m.Containers[3], n4, n6})
}

// TestEverybodyReachesEverybody: wire, host, IP identities and MAC identities,
// each to each, both families, small, 1,400 bytes and as large as the MTU.
func TestEverybodyReachesEverybody(t *testing.T) {
	nictest.Require(t, "ping")
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			m, nodes := everybody(t, "--mode", mode)
			pingAll(t, nodes)
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
// address, with the MAC of its owner: on the wire for those of the containers
// and of the host, in each container for those of its neighbours, of the host
// and of the wire.
func TestNeighboursAnswer(t *testing.T) {
	nictest.Require(t, "arping", "ndisc6")
	m, nodes := everybody(t)
	own := fmtMAC(m.Host.MAC(t, m.NIC))
	at := map[string]string{
		"wire": fmtMAC(m.Wire.MAC(t, m.WireNIC)), "ip-a": own, "ip-b": own, "mac-m": mMAC, "mac-n": nMAC,
		"host": fmtMAC(m.Host.MAC(t, hostPortName)), // to containers; to the wire it is its kernel that answers
	}
	var all sync.WaitGroup
	for _, from := range nodes {
		dev := map[string]string{"wire": m.WireNIC, "host": ""}[from.name]
		if from.name == "host" {
			continue // it needs to ask nobody, and asks for no container
		}
		if dev == "" {
			dev = "eth0"
		}
		for _, to := range nodes {
			want := at[to.name]
			if from.name == "wire" && to.name == "host" {
				want = own
			}
			if from != to {
				all.Go(func() { requireAnswers(t, from, dev, to, want) })
			}
		}
	}
	all.Wait()
}

// requireAnswers requires that who asks for an address is answered once for each
// question, with this MAC. An answer that is late, on a busy machine, is asked
// for again; one too much, or another one, is not forgiven.
func requireAnswers(t *testing.T, from node, dev string, to node, want string) {
	var out4, out6 string
	for range 3 {
		out4, _ = from.ns.Try("arping", "-c", "3", "-W", "0.5", "-I", dev, to.v4)
		out6, _ = from.ns.Try("ndisc6", "-m", "-r", "1", "-w", "1500", to.v6, dev)
		out4, out6 = strings.ToLower(out4), strings.ToLower(out6)
		if answers(out4) >= 3 && answers(out6) >= 1 {
			break
		}
	}
	if answers(out4) != 3 || strings.Count(out4, want) != 3 {
		t.Errorf("%s: arping %s, wanted 3 answers of %s:\n%s", from.name, to.v4, want, out4)
	}
	if answers(out6) != 1 || strings.Count(out6, want) != 1 {
		t.Errorf("%s: ndisc6 %s, wanted 1 answer of %s:\n%s", from.name, to.v6, want, out6)
	}
}

var lladdr = regexp.MustCompile(`(?:[0-9a-f]{2}:){5}[0-9a-f]{2}`)

// answers is how many answers arping or ndisc6 printed, which are the only
// lines with a MAC address.
func answers(out string) int { return len(lladdr.FindAllString(out, -1)) }

func fmtMAC(mac [6]byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])
}

// TestLocalTrafficStaysLocal: not one frame between two containers, or between
// a container and the host, is seen on the wire: neither an echo nor a segment
// of TCP, nor a question who has a neighbour's address, whoever forgot it.
func TestLocalTrafficStaysLocal(t *testing.T) {
	nictest.Require(t, "ping", "tcpdump")
	m, nodes := everybody(t)
	atHome := newHome(t, m, nodes[1:])
	dump := startDump(t, m.Wire, m.WireNIC)
	local := nodes[1:]
	for range 2 { // the first time with what they know, the second with nothing
		reachAll(t, local)
		for _, from := range local {
			for _, to := range local {
				if from != to {
					startTalk(t, from.ns, to.ns, to.v4)
					startTalk(t, from.ns, to.ns, to.v6)
				}
			}
		}
		for _, n := range local {
			n.ns.Run(t, "ip", "neigh", "flush", "all")
			n.ns.Run(t, "ip", "-6", "neigh", "flush", "all")
		}
	}
	// The dump must see what does go over the wire, else it proves nothing; and
	// all that went before it.
	way := path{src: m.Host.MAC(t, m.NIC), dst: m.Wire.MAC(t, m.WireNIC)}.between(a4, wire4)
	openRaw(t, m.Containers[0], "eth0").send(t, marked(way.udp(t, 32), 1))
	frames := dump.until(t, isMarked)
	for _, frame := range frames {
		if atHome.between(frame) {
			t.Errorf("local traffic on the wire: %v", decode(frame))
		}
	}
	t.Logf("the wire saw %d frames", len(frames))
}

// home is who lives behind the NIC.
type home struct {
	macs map[mac]bool
	ips  map[netip.Addr]bool
}

func newHome(t *testing.T, m *machine, nodes []node) home {
	t.Helper()
	h := home{map[mac]bool{}, map[netip.Addr]bool{}}
	for _, n := range nodes {
		dev := "eth0"
		if n.name == "host" {
			dev = m.NIC
			h.macs[m.Host.MAC(t, hostPortName)] = true
		}
		h.macs[n.ns.MAC(t, dev)] = true
		h.ips[n.ns.LinkLocal(t, dev)] = true
		h.ips[netip.MustParseAddr(n.v4)], h.ips[netip.MustParseAddr(n.v6)] = true, true
	}
	return h
}

// between says that a frame is from one who is at home to another, or asks for
// one. What somebody tells everybody of itself is not.
func (h home) between(frame []byte) bool {
	if h.macs[mac(frame[:6])] {
		return true
	}
	from, to := netip.Addr{}, netip.Addr{}
	for _, layer := range decode(frame).Layers() {
		switch p := layer.(type) {
		case *layers.ARP:
			from, _ = netip.AddrFromSlice(p.SourceProtAddress)
			to, _ = netip.AddrFromSlice(p.DstProtAddress)
		case *layers.IPv4:
			from, _ = netip.AddrFromSlice(p.SrcIP.To4())
			to, _ = netip.AddrFromSlice(p.DstIP.To4())
		case *layers.IPv6:
			from, _ = netip.AddrFromSlice(p.SrcIP)
			to, _ = netip.AddrFromSlice(p.DstIP)
		case *layers.ICMPv6NeighborSolicitation:
			to, _ = netip.AddrFromSlice(p.TargetAddress)
		}
	}
	return h.ips[to] && from != to
}

// dump is a tcpdump of what an interface receives.
type dump struct {
	tcpdump *nictest.Process
	file    string
}

func startDump(t *testing.T, ns *nictest.NS, ifname string) *dump {
	t.Helper()
	d := &dump{file: filepath.Join(t.TempDir(), "pcap")}
	d.tcpdump = ns.Start(t, "tcpdump", "-n", "-U", "--immediate-mode", "-B", "16384", "-Z", "root", "-Q", "in", "-i", ifname, "-w", d.file)
	nictest.Eventually(t, "tcpdump to listen", func() bool { return strings.Contains(d.tcpdump.Output(), "listening on") })
	return d
}

// until waits until the dump has such a frame, ends it, and returns all that it
// has. It must have missed none.
func (d *dump) until(t *testing.T, last func(frame []byte) bool) (frames [][]byte) {
	t.Helper()
	nictest.Eventually(t, "tcpdump to see the last frame", func() bool {
		frames = d.frames()
		return slices.ContainsFunc(frames, last)
	})
	if err := d.tcpdump.Stop(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(d.tcpdump.Output(), "\n0 packets dropped by kernel") {
		t.Errorf("tcpdump missed something:\n%s", d.tcpdump.Output())
	}
	return frames
}

// frames are those that are written so far.
func (d *dump) frames() (frames [][]byte) {
	f, err := os.Open(d.file)
	if err != nil {
		return nil
	}
	defer f.Close()
	r, err := pcapgo.NewReader(bufio.NewReader(f))
	for err == nil {
		var frame []byte
		if frame, _, err = r.ReadPacketData(); err == nil {
			frames = append(frames, frame)
		}
	}
	return frames
}

// flushNeighbour makes a container forget a neighbour that it knows.
func flushNeighbour(t *testing.T, ns *nictest.NS, ip, state string) {
	t.Helper()
	nictest.Eventually(t, ip+" to be known, and forgotten", func() bool {
		out, err := ns.Try("ip", "-s", "neigh", "flush", "dev", "eth0", "nud", state, "to", ip)
		return err == nil && strings.Contains(out, "1 entries")
	})
}

// TestGatewayOnTheWire: a container reaches what lies behind a gateway, also
// after its neighbour cache was flushed, permanent entries included.
func TestGatewayOnTheWire(t *testing.T) {
	nictest.Require(t, "ping", "ip")
	const far4, far6 = "198.51.100.1", "2001:db8::1"
	m := newMachine(t, nictest.Config{Containers: 3})
	m.Wire.Run(t, "ip", "addr", "add", far4+"/32", "dev", "lo")
	m.Wire.Run(t, "ip", "addr", "add", far6+"/128", "dev", "lo", "nodad")
	m.attach()
	m.add(0, "slash32", "10.9.1.1/32,fd09::a/128", "--gateway", wire4, "--gateway", wire6)
	m.add(1, "onlink", "10.9.1.2/16,fd09::b/64", "--gateway", wire4, "--gateway", wire6, "--mac", mMAC)
	m.add(2, "shared", "10.9.1.3/16,fd09::c/64", "--gateway", wire4, "--gateway", wire6)
	for i, c := range m.Containers {
		for _, flush := range []string{"", "all", "permanent"} {
			t.Run(fmt.Sprint(i, flush), func(t *testing.T) {
				if flush != "" {
					flushNeighbour(t, c, wire4, flush)
					flushNeighbour(t, c, wire6, flush)
				}
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
