package xdp

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// rig is a veth pair between two network namespaces that have no name, so that
// they vanish with the test however it ends. The test's thread stands in the
// host's, and ends with the test.
type rig struct {
	t      testing.TB
	wireNS netns.NsHandle
	nic    netlink.Link // the NIC, in the host's namespace
	index  int
	mac    mac // the NIC's
	wire   int // a packet socket at the other end
	peer   int // the index of the other end
	veth   netlink.Veth
}

type rigConfig struct {
	queues int
	mtu    int
}

func newRig(t testing.TB, c rigConfig) *rig {
	t.Helper()
	needRoot(t)
	setDefault(&c.queues, 1)
	setDefault(&c.mtu, 1500)
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	r := &rig{t: t}
	r.wireNS = newNamespace(t)
	hostNS := newNamespace(t)
	t.Cleanup(func() { r.wireNS.Close(); hostNS.Close() })
	r.veth = netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: "nic0", MTU: c.mtu, NumTxQueues: c.queues, NumRxQueues: c.queues, TxQLen: 1000},
		PeerName:      "wire0",
		PeerMTU:       uint32(c.mtu),
		PeerNamespace: netlink.NsFd(r.wireNS),
	}
	r.plug()
	return r
}

// newNamespace makes a namespace without IPv6 of its own, and moves the thread there.
func newNamespace(t testing.TB) netns.NsHandle {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, which := range []string{"all", "default"} {
		path := "/proc/sys/net/ipv6/conf/" + which + "/disable_ipv6"
		if err := os.WriteFile(path, []byte("1"), 0); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return ns
}

// plug makes the veth pair, both ends up, and opens the wire.
func (r *rig) plug() {
	r.t.Helper()
	attrs := r.veth
	if err := netlink.LinkAdd(&attrs); err != nil {
		r.t.Fatal(err)
	}
	nic, err := netlink.LinkByName("nic0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.nic, r.index = nic, nic.Attrs().Index
	copy(r.mac[:], nic.Attrs().HardwareAddr)
	r.up(true)
	wire, err := netlink.NewHandleAt(r.wireNS)
	if err != nil {
		r.t.Fatal(err)
	}
	defer wire.Close()
	peer, err := wire.LinkByName("wire0")
	if err != nil {
		r.t.Fatal(err)
	}
	if err := wire.LinkSetUp(peer); err != nil {
		r.t.Fatal(err)
	}
	r.peer = peer.Attrs().Index
	r.onWire(func() { r.wire = packetSocket(r.t, r.peer) })
}

func (r *rig) up(up bool) {
	r.t.Helper()
	set := netlink.LinkSetDown
	if up {
		set = netlink.LinkSetUp
	}
	if err := set(r.nic); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) unplug() {
	r.t.Helper()
	if err := netlink.LinkDel(r.nic); err != nil {
		r.t.Fatal(err)
	}
}

// onWire runs f with the thread in the wire's namespace.
func (r *rig) onWire(f func()) {
	r.t.Helper()
	here, err := netns.Get()
	if err != nil {
		r.t.Fatal(err)
	}
	defer here.Close()
	if err := netns.Set(r.wireNS); err != nil {
		r.t.Fatal(err)
	}
	defer func() {
		if err := netns.Set(here); err != nil {
			r.t.Fatal(err)
		}
	}()
	f()
}

// packetSocket sends and receives whole frames on a device; a receive waits for
// two seconds at most.
func packetSocket(t testing.TB, index int) int {
	t.Helper()
	all := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index, Protocol: all}); err != nil {
		t.Fatal(err)
	}
	for option, value := range map[int]int{unix.PACKET_IGNORE_OUTGOING: 1, unix.PACKET_QDISC_BYPASS: 1} {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, option, value); err != nil {
			t.Fatal(err)
		}
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// send puts frames on the wire.
func (r *rig) send(frames ...[]byte) {
	r.t.Helper()
	for _, data := range frames {
		for {
			err := unix.Send(r.wire, data, 0)
			if err == nil {
				break
			}
			if err != unix.ENOBUFS && err != unix.EAGAIN {
				r.t.Fatalf("send: %v", err)
			}
			runtime.Gosched()
		}
	}
}

// receive takes a frame off a packet socket, nil if none comes.
func receive(fd int) []byte {
	buf := make([]byte, 70000)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// program loads and attaches one, with these rules.
func (r *rig) program(mode Mode, rules ...Rule) *Program {
	r.t.Helper()
	p := loadProgram(r.t, ProgramConfig{MaxExact: 1024, MaxPrefixes: 64, MaxMACs: 64})
	r.attach(p, mode, rules...)
	return p
}

func (r *rig) attach(p *Program, mode Mode, rules ...Rule) {
	r.t.Helper()
	if err := p.SetNIC(r.mac); err != nil {
		r.t.Fatal(err)
	}
	if err := p.Insert(rules...); err != nil {
		r.t.Fatal(err)
	}
	got, err := p.Attach(r.index, mode)
	if err != nil || (mode != ModeAuto && got != mode) {
		r.t.Fatalf("attach in mode %v: %v, %v", mode, got, err)
	}
}

// socket opens one on a queue and puts it into its slot.
func (r *rig) socket(p *Program, c SocketConfig) *Socket {
	r.t.Helper()
	c.IfIndex = r.index
	s, err := OpenSocket(c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { s.Close() })
	if p != nil {
		if err := p.SetSocket(c.Queue, s); err != nil {
			r.t.Fatal(err)
		}
	}
	return s
}

// patience bounds how long a test waits for what must come; nothing is measured
// by it.
const patience = 20 * time.Second

// eventually polls until done says so.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// take receives want frames and returns copies of them.
func take(t testing.TB, s *Socket, want int) (got [][]byte) {
	t.Helper()
	f := make([]frame.Frame, 64)
	eventually(t, "frames from the socket", func() bool {
		n := s.Recv(f)
		for _, fr := range f[:n] {
			got = append(got, append([]byte(nil), fr.Data...))
		}
		s.Release()
		return len(got) >= want
	})
	return got
}

// drain receives until nothing more is there, and returns how many frames came.
func drain(s *Socket) (total int) {
	f := make([]frame.Frame, 64)
	for n := s.Recv(f); n > 0; n = s.Recv(f) {
		total += n
		s.Release()
	}
	return total
}
