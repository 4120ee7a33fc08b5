package nictest

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The names and MAC addresses of the two ends of every rig's veth pair.
const (
	nicName  = "nic0"
	wireName = "wire0"
)

// minIPv6MTU is the smallest MTU with which Linux runs IPv6 (RFC 8200, section 5).
const minIPv6MTU = 1280

// Config says what a rig looks like. The zero value is one queue, an MTU of
// 1,500, no container and no address but the IPv6 link-local ones.
type Config struct {
	// Queues is the number of receive and of transmit queues of both ends; 0 is 1.
	Queues int
	// MTU of both ends in bytes; 0 is 1,500.
	MTU int
	// Containers is how many container namespaces there are at first.
	Containers int
	// HostAddrs and WireAddrs are addresses with prefix length, such as
	// "10.9.0.1/16" or "fd09::1/64", for the NIC and for the wire's end.
	HostAddrs, WireAddrs []string
	// WireOffloads leaves checksum, segmentation and VLAN offloads of the
	// wire's end as the kernel sets them: frames then arrive with unfinished
	// checksums and, in generic mode, larger than the MTU.
	WireOffloads bool
	// NICGRO and WireGRO switch GRO on at that end, which on veth also gives it
	// NAPI: an XDP program may redirect frames into the other end only then,
	// or while a native program is attached here.
	NICGRO, WireGRO bool
	// NIC and WireNIC are the names of two interfaces of the caller's namespace
	// that are joined by a cable or a hub of their own. They take the place of the
	// veth pair, and come back when the test ends; Queues and the offloads are as
	// they are. Empty: a veth pair.
	NIC, WireNIC string
	// DAD leaves duplicate address detection and router solicitations on, in
	// all namespaces of the rig, as the kernel has them.
	DAD bool
}

// Rig is a veth NIC and its surroundings. It is cleaned up when the test ends.
type Rig struct {
	// Wire is the network's side, Host the namespace of the NIC under test.
	Wire, Host *NS
	// Containers are empty but for a loopback interface that is up.
	Containers []*NS
	// NIC is the name of the NIC in Host, WireNIC of its peer in Wire.
	NIC, WireNIC string

	cfg  Config
	base string // xdt-PID-N
}

// New builds a rig, or fails the test; without root it skips the test.
func New(t testing.TB, cfg Config) *Rig {
	t.Helper()
	RequireRoot(t)
	Require(t, "ip", "ethtool", "nsenter")
	RemoveStale()
	if cfg.Queues == 0 {
		cfg.Queues = 1
	}
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
	r := &Rig{NIC: cmp.Or(cfg.NIC, nicName), WireNIC: cmp.Or(cfg.WireNIC, wireName), cfg: cfg}
	t.Cleanup(func() { r.close(t) })
	r.makeSides(t)
	r.AddContainers(t, cfg.Containers)
	if cfg.NIC != "" {
		r.borrowNICs(t)
	} else {
		r.ReturnNIC(t)
	}
	return r
}

// makeSides finds a free number for this rig and makes its two namespaces.
func (r *Rig) makeSides(t testing.TB) {
	t.Helper()
	if err := prepareRunDir(); err != nil {
		t.Fatalf("prepare %s: %v", runDir, err)
	}
	for i := 0; r.Host == nil; i++ {
		base := prefix + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(i)
		host, err := r.makeNS(base + "-host")
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			t.Fatalf("make namespace: %v", err)
		}
		host.NICName, r.Host, r.base = r.NIC, host, base
	}
	wire, err := r.makeNS(r.base + "-wire")
	if err != nil {
		t.Fatalf("make namespace: %v", err)
	}
	wire.NICName, r.Wire = r.WireNIC, wire
}

// AddContainers makes n more container namespaces and appends them to
// r.Containers.
func (r *Rig) AddContainers(t testing.TB, n int) {
	t.Helper()
	for range n {
		ns, err := r.makeNS(r.base + "-c" + strconv.Itoa(len(r.Containers)))
		if err != nil {
			t.Fatalf("make namespace: %v", err)
		}
		r.Containers = append(r.Containers, ns)
	}
}

func (r *Rig) makeNS(name string) (*NS, error) {
	err := makeNetNS(name, func() error {
		if !r.cfg.DAD {
			if err := quietIPv6(); err != nil {
				return err
			}
		}
		return setUp("lo")
	})
	return &NS{Name: name, Path: filepath.Join(runDir, name)}, err
}

// quietIPv6 makes addresses usable at once, in the namespace of the thread.
func quietIPv6() error {
	for _, conf := range []string{"all", "default"} {
		for _, key := range []string{"accept_dad", "dad_transmits", "router_solicitations"} {
			err := writeSysctl("net/ipv6/conf/"+conf+"/"+key, "0")
			if err != nil && !errors.Is(err, os.ErrNotExist) { // no IPv6 in this kernel
				return err
			}
		}
	}
	return nil
}

// setUp sets an interface of the thread's namespace up.
func setUp(ifname string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(ifname)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return fmt.Errorf("flags of %s: %w", ifname, err)
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("set %s up: %w", ifname, err)
	}
	return nil
}

// RemoveNIC deletes the NIC, and with it its peer, as if it were pulled out.
func (r *Rig) RemoveNIC(t testing.TB) {
	t.Helper()
	r.Host.Run(t, "ip", "link", "del", r.NIC)
}

// ReturnNIC makes the veth pair anew, with the names, MAC addresses and
// addresses of the first time but another index, and waits until it works.
func (r *Rig) ReturnNIC(t testing.TB) {
	t.Helper()
	queues, mtu := strconv.Itoa(r.cfg.Queues), strconv.Itoa(r.cfg.MTU)
	r.Host.Run(t, "ip", "link", "add", r.NIC, "address", "02:6e:69:63:00:01", "mtu", mtu,
		"numrxqueues", queues, "numtxqueues", queues,
		"type", "veth", "peer", "name", r.WireNIC, "address", "02:77:69:72:00:01", "mtu", mtu,
		"numrxqueues", queues, "numtxqueues", queues, "netns", r.Wire.Name)
	r.setOffloads(t)
	r.bringUp(t)
}

// borrowNICs moves the caller's two interfaces into the rig's namespaces.
func (r *Rig) borrowNICs(t testing.TB) {
	t.Helper()
	for _, ns := range []*NS{r.Host, r.Wire} {
		if out, err := exec.Command("ip", "link", "set", ns.NICName, "netns", ns.Name).CombinedOutput(); err != nil {
			t.Fatalf("move %s into %s: %v\n%s", ns.NICName, ns.Name, err, out)
		}
		ns.Run(t, "ip", "link", "set", ns.NICName, "mtu", strconv.Itoa(r.cfg.MTU))
	}
	r.bringUp(t)
}

// bringUp gives both ends their addresses and waits until they work.
func (r *Rig) bringUp(t testing.TB) {
	t.Helper()
	setAddrs(t, r.Host, r.cfg.HostAddrs)
	setAddrs(t, r.Wire, r.cfg.WireAddrs)
	for _, ns := range []*NS{r.Host, r.Wire} {
		ns.Run(t, "ip", "link", "set", ns.NICName, "up")
	}
	for _, ns := range []*NS{r.Wire, r.Host} {
		Eventually(t, ns.NICName+" runs and has its link-local address", ns.ready)
	}
}

func (r *Rig) setOffloads(t testing.TB) {
	t.Helper()
	if !r.cfg.WireOffloads {
		// Without checksum offload the kernel switches UDP segmentation off too, but
		// not every kind of TSO.
		r.Wire.Run(t, "ethtool", "-K", r.WireNIC, "tx", "off", "tso", "off", "txvlan", "off", "tx-vlan-stag-hw-insert", "off")
	}
	if r.cfg.WireGRO {
		r.Wire.Run(t, "ethtool", "-K", r.WireNIC, "gro", "on")
	}
	if r.cfg.NICGRO {
		r.Host.Run(t, "ethtool", "-K", r.NIC, "gro", "on")
	}
}

func setAddrs(t testing.TB, ns *NS, addrs []string) {
	t.Helper()
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a)
		if err != nil {
			t.Fatalf("address of %s: %v", ns.NICName, err)
		}
		args := []string{"addr", "add", a, "dev", ns.NICName}
		if p.Addr().Is6() {
			args = append(args, "nodad")
		}
		ns.Run(t, "ip", args...)
	}
}

// ready says that the veth end runs and that its IPv6, if there is any, does:
// its link-local address exists and is no longer tentative.
func (n *NS) ready() bool {
	ok := false
	_ = n.Do(func() error {
		// Asking for this one link makes the kernel look at the carrier now;
		// listing all links, as package net does, may lag by a second.
		link, err := netlink.LinkByName(n.NICName)
		if err != nil {
			return err
		}
		attrs := link.Attrs()
		table, err := os.ReadFile("/proc/thread-self/net/if_inet6")
		noIPv6 := err != nil || attrs.MTU < minIPv6MTU
		ok = attrs.OperState == netlink.OperUp && (noIPv6 || linkLocalUsable(string(table), n.NICName))
		return nil
	})
	return ok
}

// linkLocalUsable looks into /proc/net/if_inet6, whose columns are address,
// index, prefix length, scope, flags (all hexadecimal) and name.
func linkLocalUsable(table, ifname string) bool {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) != 6 || f[5] != ifname || !strings.HasPrefix(f[0], "fe80") {
			continue
		}
		flags, err := strconv.ParseUint(f[4], 16, 32)
		return err == nil && flags&unix.IFA_F_TENTATIVE == 0
	}
	return false
}

// close ends what still runs in the rig's namespaces and removes them.
func (r *Rig) close(t testing.TB) {
	var names []string
	for _, ns := range append([]*NS{r.Host, r.Wire}, r.Containers...) {
		if ns != nil {
			names = append(names, ns.Name)
		}
	}
	for _, line := range killInside(names) {
		t.Logf("ended a process that the test left in its namespaces: %s", line)
	}
	r.giveUpNICs(t)
	for _, name := range names {
		removeNetNS(name)
	}
}

// giveUpNICs removes the veth pair, or gives the interfaces back. A descriptor
// somewhere may keep the namespaces; the NICs go anyway.
func (r *Rig) giveUpNICs(t testing.TB) {
	for _, ns := range []*NS{r.Host, r.Wire} {
		switch {
		case ns == nil:
		case r.cfg.NIC == "":
			_, _ = ns.Try("ip", "link", "del", ns.NICName)
		default:
			if _, err := ns.Try("ip", "link", "set", ns.NICName, "netns", strconv.Itoa(os.Getpid())); err != nil {
				t.Errorf("%s does not come back: %v", ns.NICName, err)
			}
		}
	}
}
