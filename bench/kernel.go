package main

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// What Linux itself offers: each container in a network namespace of its own,
// with a socket in it.
func kernelContenders() []contender {
	const perPort = 40 * time.Millisecond
	return []contender{
		{name: "bridge", about: "kernel bridge with a veth pair for each container", refuses: bridgeRefuses, perPort: perPort, open: openBridge},
		{name: "macvlan", about: "macvlan in bridge mode, one for each container", refuses: namespacesRefuse, perPort: perPort, open: openMacvlan},
		{name: "routed", about: "the host routes to a veth pair for each container", refuses: namespacesRefuse, perPort: perPort, open: openRouted},
	}
}

const (
	bridgePorts   = 1024 // the kernel's limit, BR_MAX_PORTS
	mostNamespace = 1000
)

func bridgeRefuses(c *testCase) string {
	if c.Containers >= bridgePorts {
		return "a bridge has at most 1,024 ports (BR_MAX_PORTS)"
	}
	return namespacesRefuse(c)
}

func namespacesRefuse(c *testCase) string {
	if c.Containers > mostNamespace {
		return "not built: making and removing 10,000 network namespaces takes longer than a chunk of the run"
	}
	return ""
}

// kernelStage is a rig with namespaces, whose kernels take what is for them,
// wherever it seems to come from.
func kernelStage(b *bed, c *testCase, byMAC bool) *stage {
	s := newStage(b, c, byMAC)
	s.rig.AddContainers(b, c.Containers)
	anySource(b, s.rig.Host)
	for _, ns := range s.rig.Containers {
		quiet(b, ns)
		anySource(b, ns)
	}
	return s
}

func anySource(b *bed, ns *nictest.NS) {
	ns.SetSysctl(b, "net/ipv4/conf/all/rp_filter", "0")
	ns.SetSysctl(b, "net/ipv4/conf/default/rp_filter", "0")
}

// consume starts the consumer over the stage's namespaces, or what measures in
// its place.
func consume(b *bed, s *stage, c *testCase) {
	if c.isTCP() {
		tcpStage(b, s, c)
		return
	}
	o := s.orders(c)
	o.Kind = kindUDP
	for _, ns := range s.rig.Containers {
		o.Places = append(o.Places, ns.Path)
	}
	startConsumer(b, o).attend(s)
}

// batch runs lines of ip or bridge commands in a namespace.
func batch(b *bed, ns *nictest.NS, program string, lines []string) {
	cmd := ns.Command(program, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s -batch in %s: %v: %s", program, ns.Name, err, out)
	}
}

// outer is the name of the host's end of container i's veth pair.
func outer(i int) string { return fmt.Sprintf("v%d", i) }

const inner = "eth0"

// outerMAC is the address of every host's end: no two of them are in one network.
func outerMAC() [6]byte { return [6]byte{0x02, 0x72, 0xff, 0, 0, 1} }

// addPairs makes a veth pair for each container.
func addPairs(b *bed, s *stage, mac func(i int) [6]byte) {
	var lines []string
	for i, ns := range s.rig.Containers {
		hw := mac(i)
		lines = append(lines, fmt.Sprintf("link add %s address %s type veth peer name %s address %s netns %s",
			outer(i), text(outerMAC()), inner, net.HardwareAddr(hw[:]), ns.Name))
	}
	batch(b, s.rig.Host, "ip", lines)
}

// addressContainers gives each container's interface its address and sets it
// up, with a route back to where all frames come from, over that neighbour.
func addressContainers(b *bed, s *stage, neighbour string, next func(i int) [6]byte) {
	for i, ns := range s.rig.Containers {
		lines := []string{
			fmt.Sprintf("addr add %s/32 dev %s", s.t.address(i), inner),
			fmt.Sprintf("link set %s up", inner),
		}
		lines = append(lines, wayBack(neighbour)...)
		batch(b, ns, "ip", append(lines, s.wayOn(i, next)...))
	}
}

// wayOn are the lines of ip for container i's way to the next one, which has that
// address for it: none where there is only one.
func (s *stage) wayOn(i int, mac func(i int) [6]byte) []string {
	if s.t.Containers < 2 {
		return nil
	}
	to := (i + 1) % s.t.Containers
	hw := mac(to)
	return []string{
		fmt.Sprintf("route add %s/32 dev %s scope link", s.t.address(to), inner),
		fmt.Sprintf("neigh add %s lladdr %s dev %s nud permanent", s.t.address(to), net.HardwareAddr(hw[:]), inner),
	}
}

// wayBack are the lines of ip for the route.
func wayBack(neighbour string) []string { return wayBackOver(inner, neighbour) }

func wayBackOver(device, neighbour string) []string {
	return []string{
		fmt.Sprintf("route add %s/32 dev %s scope link", sourceAddr(), device),
		fmt.Sprintf("neigh add %s lladdr %s dev %s nud permanent", sourceAddr(), neighbour, device),
	}
}

// text is a MAC address as programs read it.
func text(mac [6]byte) string { return net.HardwareAddr(mac[:]).String() }

// wireMAC is the address of the wire's end.
func (s *stage) wireMAC() string { return text(s.t.Src) }

func openBridge(b *bed, c *testCase) *stage {
	s := kernelStage(b, c, true)
	addPairs(b, s, s.t.mac)
	addressContainers(b, s, s.wireMAC(), s.t.mac)
	lines := []string{
		"link add br0 type bridge mcast_snooping 0",
		"link set " + s.rig.NIC + " master br0",
		"link set br0 up",
	}
	var known []string
	for i := range s.rig.Containers {
		mac := s.t.mac(i)
		lines = append(lines, fmt.Sprintf("link set %s master br0", outer(i)), fmt.Sprintf("link set %s up", outer(i)))
		known = append(known, fmt.Sprintf("fdb replace %s dev %s master static", net.HardwareAddr(mac[:]), outer(i)))
	}
	batch(b, s.rig.Host, "ip", lines)
	batch(b, s.rig.Host, "bridge", known)
	consume(b, s, c)
	return s
}

func openMacvlan(b *bed, c *testCase) *stage {
	s := kernelStage(b, c, true)
	var lines []string
	for i, ns := range s.rig.Containers {
		mac := s.t.mac(i)
		lines = append(lines, fmt.Sprintf("link add link %s name %s address %s netns %s type macvlan mode bridge",
			s.rig.NIC, inner, net.HardwareAddr(mac[:]), ns.Name))
	}
	batch(b, s.rig.Host, "ip", lines)
	addressContainers(b, s, s.wireMAC(), s.t.mac)
	consume(b, s, c)
	return s
}

func openRouted(b *bed, c *testCase) *stage {
	s := kernelStage(b, c, false)
	s.rig.Host.SetSysctl(b, "net/ipv4/ip_forward", "1")
	hidden := func(i int) [6]byte { return [6]byte{2, 0x72, 0, 0, byte(i >> 8), byte(i)} }
	addPairs(b, s, hidden)
	addressContainers(b, s, text(outerMAC()), func(int) [6]byte { return outerMAC() })
	lines := wayBackOver(s.rig.NIC, s.wireMAC())
	for i := range s.rig.Containers {
		mac := hidden(i)
		lines = append(lines,
			fmt.Sprintf("link set %s up", outer(i)),
			fmt.Sprintf("route add %s/32 dev %s", s.t.address(i), outer(i)),
			fmt.Sprintf("neigh add %s lladdr %s dev %s nud permanent", s.t.address(i), net.HardwareAddr(mac[:]), outer(i)))
	}
	batch(b, s.rig.Host, "ip", lines)
	consume(b, s, c)
	return s
}
