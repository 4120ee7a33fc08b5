package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// crowd is how many containers there are; every fifth is a MAC identity.
const crowd = 1000

// groupFrames is how many broadcast and multicast frames the wire may see of
// each container.
const groupFrames = 3

// TestThousandContainers: a thousand containers are added in one request, each
// answers wire, neighbour and host, v4 and v6, nobody fills the kernel's
// neighbour tables or the wire with broadcasts, and when they are deleted
// nothing is left of them. A second thousand, added and removed with apply,
// leaves no more than the first.
func TestThousandContainers(t *testing.T) {
	nictest.Require(t, "fping", "ip")
	m := newMachine(t, nictest.Config{DAD: true})
	m.AddContainers(t, crowd)
	innocent := newInnocents(t, m)
	m.knowCrowd(t)
	m.attach()
	idle := m.quit(t)
	m.attach()
	host, before := nictest.Snapshot(t, m.Host), residue(t, m)
	m.requirePorts()
	ears := listenToGroups(t, m.Wire, m.WireNIC)

	addCrowd(t, m)
	m.requireHeld(t, before)
	pingCrowd(t, "wire", m.Wire, 0)
	pingCrowd(t, "neighbour with its own MAC", m.Containers[0], 1)
	pingCrowd(t, "neighbour with the NIC's MAC", m.Containers[1], 2)
	pingCrowd(t, "host", m.Host, 0)
	requireNoneLearned(t, m.Containers[:crowd])
	innocent.ping(t)
	owners := crowdOwners(t, m)
	deleteCrowd(t, m)
	once := m.requireLetGo(t, before)
	ears.check(t, owners)

	applyCrowd(t, m, crowdSpecs(m))
	applyCrowd(t, m, []api.PortSpec{})
	m.requireRest(t, once, m.requireLetGo(t, before))
	for _, d := range nictest.Diff(host, nictest.Snapshot(t, m.Host)) {
		t.Errorf("left on the host: %s", d)
	}
	if d := m.quit(t).differs(idle); d != "" || len(idle) < 5 {
		t.Errorf("goroutines are not those of a fresh start, by who started them:\n%s%v", d, idle)
	}
}

// requireHeld requires that the daemon holds what a thousand ports need, or to
// find it gone later proves nothing.
func (m *machine) requireHeld(t *testing.T, before leftover) {
	t.Helper()
	now := settled(t, m, before, counts{
		"/dev/net/tun": crowd, "netns": crowd, "entries of macs": crowd / 5,
		"entries of exact4": crowd, "entries of exact6": 2 * crowd, // a link-local one each
	})
	t.Logf("%d KiB of memory for each port", (now.rss-before.rss)/crowd)
}

// requireLetGo requires that the daemon soon holds what it did before, and that
// the containers have only their loopback again.
func (m *machine) requireLetGo(t *testing.T, before leftover) leftover {
	t.Helper()
	m.requirePorts()
	now := settled(t, m, before, counts{})
	if now.threads > before.threads+crowd/20 {
		t.Errorf("%d threads, before %d", now.threads, before.threads)
	}
	for _, c := range m.Containers[:crowd] {
		if err := c.Do(onlyLoopback); err != nil {
			t.Errorf("left in %s: %v", c.Name, err)
		}
	}
	return now
}

// settled requires that the daemon soon holds so much more than before, and no
// more; a look at a container that is under way holds a little for a moment.
func settled(t *testing.T, m *machine, before leftover, more counts) (now leftover) {
	t.Helper()
	diff := "never looked"
	for end := time.Now().Add(auditLimit); diff != "" && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		now = residue(t, m)
		diff = now.held.minus(before.held).differs(more)
	}
	if diff != "" {
		t.Errorf("what the daemon holds more than before is not as it should be:\n%s", diff)
	}
	return now
}

// requireRest compares what is left after the second thousand with what was
// left after the first: memory that the runtime keeps for later is the same,
// memory that was lost is twice as much.
func (m *machine) requireRest(t *testing.T, once, twice leftover) {
	t.Helper()
	t.Logf("%d MiB after the first thousand, %d MiB after the second", once.rss>>10, twice.rss>>10)
	if twice.rss > once.rss+perPortLeak*crowd {
		t.Errorf("memory grew from %d KiB to %d KiB with a second thousand of containers", once.rss, twice.rss)
	}
}

// perPortLeak is how much memory in KiB a port may seem to leave behind, for
// the garbage collector is not exact.
const perPortLeak = 8

func onlyLoopback() error {
	links, err := net.Interfaces()
	if err == nil && len(links) != 1 {
		err = fmt.Errorf("%d interfaces: %v", len(links), links)
	}
	return err
}

func crowdIPs(i int) (v4, v6 netip.Addr) {
	v4 = netip.AddrFrom4([4]byte{10, 50, byte(i / 250), byte(i%250 + 1)})
	return v4, netip.MustParseAddr(fmt.Sprintf("fd50::%x", i+1))
}

// crowdMAC is zero for an IP identity.
func crowdMAC(i int) (m api.MAC) {
	if i%5 == 0 {
		m = api.MAC{2, 0x50, 0, 0, byte(i >> 8), byte(i)}
	}
	return m
}

// crowdOwners are the addresses of each container, the link-local one that the
// daemon has given it among them.
func crowdOwners(t *testing.T, m *machine) [][]netip.Addr {
	t.Helper()
	owners := make([][]netip.Addr, crowd)
	for i := range owners {
		v4, v6 := crowdIPs(i)
		owners[i] = []netip.Addr{v4, v6, m.Containers[i].LinkLocal(t, "eth0")}
	}
	return owners
}

func crowdSpecs(m *machine) []api.PortSpec {
	specs := make([]api.PortSpec, crowd)
	for i := range specs {
		v4, v6 := crowdIPs(i)
		specs[i] = api.PortSpec{
			Name: fmt.Sprint("c", i), NetNS: m.Containers[i].Path, MAC: crowdMAC(i),
			IPs:      []netip.Prefix{netip.PrefixFrom(v4, 32), netip.PrefixFrom(v6, 128)},
			Gateways: []netip.Addr{netip.MustParseAddr(wire4), netip.MustParseAddr(wire6)},
		}
	}
	return specs
}

// addCrowd adds all containers in one request.
func addCrowd(t *testing.T, m *machine) {
	t.Helper()
	c := m.client()
	defer c.Close()
	began := time.Now()
	if _, err := c.Add(t.Context(), crowdSpecs(m)); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d containers were added in %v", crowd, time.Since(began).Round(time.Millisecond))
}

func deleteCrowd(t *testing.T, m *machine) {
	t.Helper()
	names := make([]string, crowd)
	for i := range names {
		names[i] = fmt.Sprint("c", i)
	}
	c := m.client()
	defer c.Close()
	began := time.Now()
	if err := c.Delete(t.Context(), names); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d containers were deleted in %v", crowd, time.Since(began).Round(time.Millisecond))
}

// applyCrowd makes the ports what specs says, with a file as a user would.
func applyCrowd(t *testing.T, m *machine, specs []api.PortSpec) {
	t.Helper()
	data, err := json.Marshal(api.ApplyRequest{Ports: specs})
	file := filepath.Join(t.TempDir(), "ports.json")
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	out := m.run("apply", "-f", file)
	t.Logf("apply: %s in %v", strings.TrimSpace(out), time.Since(began).Round(time.Millisecond))
}

// knowCrowd tells the wire where the containers are, in a way that does not
// fill its own tables: the IP identities behind the NIC's address, the MAC
// identities by permanent entries.
func (m *machine) knowCrowd(t *testing.T) {
	t.Helper()
	for family, nets := range map[string][2]string{"-4": {"10.50.0.0/16", host4}, "-6": {"fd50::/64", host6}} {
		var batch strings.Builder
		say := func(ip string, mac [6]byte) {
			fmt.Fprintf(&batch, "neigh replace %s lladdr %s dev %s nud permanent\n", ip, fmtMAC(mac), m.WireNIC)
		}
		say(nets[1], m.Host.MAC(t, m.NIC))
		fmt.Fprintf(&batch, "route replace %s via %s dev %s\n", nets[0], nets[1], m.WireNIC)
		for i := 0; i < crowd; i += 5 {
			v4, v6 := crowdIPs(i)
			ip := sameFamily(nets[1], v4.String(), v6.String())
			fmt.Fprintf(&batch, "route replace %s dev %s\n", ip, m.WireNIC)
			say(ip, crowdMAC(i))
		}
		ipBatch(t, m.Wire, family, batch.String())
	}
}

// ipBatch runs many commands of ip of one family.
func ipBatch(t testing.TB, ns *nictest.NS, family, commands string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "batch")
	if err := os.WriteFile(file, []byte(commands), 0o600); err != nil {
		t.Fatal(err)
	}
	ns.Run(t, "ip", family, "-batch", file)
}

// pingCrowd sends one echo request to each address of the containers from
// first on, and requires that all are answered.
func pingCrowd(t *testing.T, name string, from *nictest.NS, first int) {
	t.Helper()
	var ips []string
	for i := first; i < crowd; i++ {
		v4, v6 := crowdIPs(i)
		ips = append(ips, v4.String(), v6.String())
	}
	began := time.Now()
	out, err := from.Command("fping", append([]string{"-r", "0", "-t", "5000", "-i", "1", "-u"}, ips...)...).CombinedOutput()
	if err != nil {
		t.Errorf("%s pinged %d addresses, once each (%v); these did not answer:\n%s", name, len(ips), err, out)
	}
	t.Logf("%s pinged %d addresses in %v", name, len(ips), time.Since(began).Round(time.Millisecond))
}

// requireNoneLearned requires that the containers have learned no neighbours:
// what they know is permanent, and counts against no limit.
func requireNoneLearned(t *testing.T, containers []*nictest.NS) {
	t.Helper()
	var learned []string
	for _, c := range containers {
		err := c.Do(func() error {
			list, err := learnedHere()
			for _, ip := range list {
				learned = append(learned, c.Name+" "+ip.String())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(learned) > 0 {
		t.Errorf("%d neighbours were learned: %v", len(learned), learned[:min(20, len(learned))])
	}
}

// learnedHere are the neighbours of the thread's namespace that are neither
// permanent nor groups.
func learnedHere() (ips []net.IP, err error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	list, err := handle.NeighList(0, netlink.FAMILY_ALL)
	for _, n := range list {
		if n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) == 0 {
			ips = append(ips, n.IP)
		}
	}
	return ips, err
}
