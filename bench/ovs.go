package main

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

func ovsContenders() []contender {
	const perPort = 60 * time.Millisecond
	return []contender{
		{name: "ovs", about: "Open vSwitch with its kernel datapath and a veth pair for each container", refuses: ovsRefuses, perPort: perPort, open: openOVSKernel},
		{name: "ovs-afxdp", about: "Open vSwitch in user space, with AF_XDP on the NIC and packet sockets on a veth pair for each container", refuses: ovsUserRefuses, perPort: perPort, open: openOVSUser},
	}
}

// ovsRefuses says whether this kernel lacks the datapath.
func ovsRefuses(c *testCase) string {
	if _, err := netlink.GenlFamilyGet("ovs_datapath"); err != nil {
		return "this kernel has no Open vSwitch datapath (module openvswitch)"
	}
	return ovsUserRefuses(c)
}

func ovsUserRefuses(c *testCase) string {
	if _, err := exec.LookPath("ovs-vswitchd"); err != nil {
		return "needs Open vSwitch: apt-get install openvswitch-switch"
	}
	return namespacesRefuse(c)
}

// ovs is a database and a switch daemon of our own, with all their files in one
// directory.
type ovs struct {
	b       *bed
	dir     string
	vswitch *nictest.Process
}

// startOVS starts both inside a namespace.
func startOVS(b *bed, ns *nictest.NS) *ovs {
	o := &ovs{b: b, dir: b.TempDir()}
	db, socket := filepath.Join(o.dir, "conf.db"), o.database()
	o.run("ovsdb-tool", "create", db, "/usr/share/openvswitch/vswitch.ovsschema")
	ns.Start(b, "env", o.env("ovsdb-server", db, "--remote=p"+socket, "--unixctl="+o.dir+"/db.ctl")...)
	o.run("ovs-vsctl", "--retry", "--timeout=30", "--no-wait", "--db="+socket, "init")
	o.vswitch = ns.Start(b, "env", o.env("ovs-vswitchd", socket, "--unixctl="+o.dir+"/vswitch.ctl")...)
	return o
}

func (o *ovs) database() string { return "unix:" + filepath.Join(o.dir, "db.sock") }

// env has a program keep its files in our directory.
func (o *ovs) env(program string, args ...string) []string {
	return append([]string{"OVS_RUNDIR=" + o.dir, "OVS_LOGDIR=" + o.dir, "OVS_DBDIR=" + o.dir, program}, args...)
}

func (o *ovs) run(program string, args ...string) {
	out, err := exec.Command("env", o.env(program, args...)...).CombinedOutput()
	if err != nil {
		o.b.Fatalf("%s: %v: %s", program, err, out)
	}
}

// The OpenFlow numbers of the ports: the NIC's, and container i's.
const ovsNIC = 1

func ovsPort(i int) int { return i + 2 }

// join makes the bridge with all ports, and a flow for each address: nothing has
// to be learned.
func (o *ovs) join(s *stage, datapath, nicType string, more ...string) {
	args := []string{"--retry", "--timeout=120", "--db=" + o.database()}
	args = append(args, more...)
	args = append(args, "--", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type="+datapath, "fail_mode=secure")
	port := func(name, kind string, number int) {
		args = append(args, "--", "add-port", "br0", name, "--", "set", "interface", name,
			"type="+kind, fmt.Sprintf("ofport_request=%d", number))
	}
	port(s.rig.NIC, nicType, ovsNIC)
	flows := []string{fmt.Sprintf("dl_dst=%s,actions=output:%d", s.wireMAC(), ovsNIC)}
	for i := range s.rig.Containers {
		mac := s.t.mac(i)
		port(outer(i), "system", ovsPort(i))
		flows = append(flows, fmt.Sprintf("dl_dst=%s,actions=output:%d", net.HardwareAddr(mac[:]), ovsPort(i)))
	}
	o.run("ovs-vsctl", args...)
	cmd := exec.Command("env", o.env("ovs-ofctl", "add-flows", "unix:"+filepath.Join(o.dir, "br0.mgmt"), "-")...)
	cmd.Stdin = strings.NewReader(strings.Join(flows, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		o.b.Fatalf("ovs-ofctl: %v: %s", err, out)
	}
}

// ovsStage is a rig with a veth pair for each container, whose outer ends are up.
func ovsStage(b *bed, c *testCase) *stage {
	s := kernelStage(b, c, true)
	addPairs(b, s, s.t.mac)
	addressContainers(b, s, s.wireMAC(), s.t.mac)
	var lines []string
	for i := range s.rig.Containers {
		lines = append(lines, fmt.Sprintf("link set %s up", outer(i)))
	}
	batch(b, s.rig.Host, "ip", lines)
	return s
}

func openOVSKernel(b *bed, c *testCase) *stage {
	s := ovsStage(b, c)
	startOVS(b, s.rig.Host).join(s, "system", "system")
	consume(b, s, c)
	return s
}

// openOVSUser has one polling thread, on the worker's processor. It polls for as
// long as it lives, so it is stopped by a signal while others are measured.
func openOVSUser(b *bed, c *testCase) *stage {
	s := ovsStage(b, c)
	for _, ns := range s.rig.Containers {
		ns.Run(b, "ethtool", "-K", inner, "tx", "off") // packet sockets lose unfinished checksums
	}
	o := startOVS(b, s.rig.Host)
	o.join(s, "netdev", "afxdp", "set", "Open_vSwitch", ".", fmt.Sprintf("other_config:pmd-cpu-mask=%#x", 1<<workerCPU))
	consume(b, s, c)
	pausable(b, s, o.vswitch)
	return s
}
