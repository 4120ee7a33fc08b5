package e2e

import (
	"errors"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// interfaces is what the machine's interfaces have counted, by themselves, of
// the frames that the daemon says it moved: a witness that is not the daemon.
type interfaces struct {
	members map[string]*nictest.NS // the containers, by the names of their ports
	host    *nictest.NS
	wire    *nictest.NS
	wireNIC string
	in, out *tally // what the host's stack got from the NIC, and gave to it
}

func (m *machine) watchInterfaces(names ...string) *interfaces {
	m.t.Helper()
	w := &interfaces{members: map[string]*nictest.NS{}, host: m.Host, wire: m.Wire, wireNIC: m.WireNIC}
	for i, name := range names {
		w.members[name] = m.Containers[i]
	}
	w.in, w.out = openTally(m.t, m.Host, m.NIC, false), openTally(m.t, m.Host, m.NIC, true)
	return w
}

// counted is what all of them have counted so far: what came in by each
// container's interface ("a.in"), by the host port ("host.in") and by the wire's
// end ("wire.in"), what each of them let out, and what went between the host's
// own stack and the NIC ("stack.in", "stack.out").
func (w *interfaces) counted(t testing.TB) counts {
	t.Helper()
	c := counts{}
	note := func(name string, ns *nictest.NS, dev string) {
		s := linkStats(t, ns, dev)
		c.add(name+".in", int(s.RxPackets))
		c.add(name+".out", int(s.TxPackets))
	}
	for name, ns := range w.members {
		note(name, ns, "eth0")
	}
	note("host", w.host, hostPortName)
	c.add("wire.in", int(linkStats(t, w.wire, w.wireNIC).RxPackets))
	c.add("stack.in", w.in.count(t))
	c.add("stack.out", w.out.count(t))
	return c
}

// tally counts the frames between an interface and its namespace's own stack,
// after any XDP program. It reads none of them: the kernel counts also those for
// which a packet socket has no room.
type tally struct {
	fd int
	n  int
}

func openTally(t testing.TB, ns *nictest.NS, ifname string, outgoing bool) *tally {
	t.Helper()
	c := &tally{fd: -1}
	index := ns.Index(t, ifname)
	err := ns.Do(func() (err error) {
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		filter, err := onlyOutgoing(outgoing)
		return errors.Join(err,
			unix.SetsockoptSockFprog(c.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
			unix.Bind(c.fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: index})) // ETH_P_ALL
	})
	if err != nil {
		t.Fatalf("counting on %s in %s: %v", ifname, ns.Name, err)
	}
	t.Cleanup(func() { unix.Close(c.fd) })
	return c
}

// count is how many there were since the beginning.
func (c *tally) count(t testing.TB) int {
	t.Helper()
	s, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		t.Fatal(err)
	}
	c.n += int(s.Packets) // those since the last time
	return c.n
}

// onlyOutgoing is a filter for frames that the stack sends, or for all others.
func onlyOutgoing(yes bool) ([]unix.SockFilter, error) {
	keep, not := uint32(1<<16), uint32(0)
	if !yes {
		keep, not = not, keep
	}
	return assemble(
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipFalse: 1},
		bpf.RetConstant{Val: keep},
		bpf.RetConstant{Val: not},
	)
}

// assemble is a filter as the kernel takes it.
func assemble(program ...bpf.Instruction) ([]unix.SockFilter, error) {
	raw, err := bpf.Assemble(program)
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return filter, err
}
