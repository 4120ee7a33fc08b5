package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"

	"github.com/google/gopacket/layers"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// groupEars counts the broadcast and multicast frames that an interface
// receives, by what they are and by whose address they are about.
type groupEars struct {
	file *os.File

	mu    sync.Mutex
	heard counts
	about map[netip.Addr]int // invalid: about nobody's
}

func listenToGroups(t testing.TB, ns *nictest.NS, ifname string) *groupEars {
	t.Helper()
	e := &groupEars{heard: counts{}, about: map[netip.Addr]int{}}
	index := ns.Index(t, ifname)
	if err := ns.Do(func() error { return e.open(index) }); err != nil {
		t.Fatalf("listening on %s: %v", ifname, err)
	}
	go e.listen()
	t.Cleanup(func() { e.file.Close() })
	return e
}

func (e *groupEars) open(index int) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	e.file = os.NewFile(uintptr(fd), "packet socket")
	filter, err := onlyGroups()
	return errors.Join(err,
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: index})) // ETH_P_ALL
}

// onlyGroups is a filter for frames whose destination has the group bit.
func onlyGroups() ([]unix.SockFilter, error) {
	return assemble(
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 1, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	)
}

func (e *groupEars) listen() {
	buf := make([]byte, 1<<16)
	for {
		n, err := e.file.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err == nil {
			e.note(buf[:n])
		}
	}
}

func (e *groupEars) note(frame []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard.add(sortOf(frame), 1)
	e.about[about(frame)]++
}

// about is whose address a frame concerns: that which is asked for, announced or
// probed, else its sender's. A question for a gateway is asked for all who use it,
// in the name of one.
func about(frame []byte) (who netip.Addr) {
	for _, layer := range decode(frame).Layers() {
		switch p := layer.(type) {
		case *layers.ARP:
			who, _ = netip.AddrFromSlice(p.DstProtAddress)
		case *layers.IPv4:
			who, _ = netip.AddrFromSlice(p.SrcIP.To4())
		case *layers.IPv6:
			who, _ = netip.AddrFromSlice(p.SrcIP)
		case *layers.ICMPv6NeighborSolicitation:
			who, _ = netip.AddrFromSlice(p.TargetAddress)
		case *layers.ICMPv6NeighborAdvertisement:
			who, _ = netip.AddrFromSlice(p.TargetAddress)
		}
	}
	return who
}

// sortOf is what sort of frame to a group it is.
func sortOf(frame []byte) string {
	sort := "another frame"
	for _, layer := range decode(frame).Layers() {
		switch p := layer.(type) {
		case *layers.ARP:
			if sort = "ARP request"; string(p.SourceProtAddress) == string(p.DstProtAddress) {
				sort = "ARP announcement"
			}
		case *layers.IPv6:
			if sort = "another IPv6 packet"; p.SrcIP.IsUnspecified() {
				sort = "IPv6 packet without a source address"
			}
		case *layers.ICMPv6:
			sort = fmt.Sprintf("%v", p.TypeCode)
		case *layers.ICMPv6NeighborSolicitation:
			sort += " of " + p.TargetAddress.String()
		case *layers.UDP:
			sort = fmt.Sprintf("UDP to port %d", p.DstPort)
		}
	}
	return sort
}

// check requires that it was not told or asked too much of any one of these
// owners, each with all its addresses, and next to nothing of anybody else.
func (e *groupEars) check(t *testing.T, owners [][]netip.Addr) {
	t.Helper()
	if lost, err := e.missed(); err != nil || lost > 0 {
		t.Errorf("%d frames were not heard: %v", lost, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t.Logf("the wire saw broadcast and multicast frames: %v", e.heard)
	most := 0
	for _, addrs := range owners {
		n := 0
		for _, a := range addrs {
			n += e.about[a]
			delete(e.about, a)
		}
		if most = max(most, n); n > groupFrames {
			t.Errorf("the wire saw %d broadcast and multicast frames about %v", n, addrs)
		}
	}
	others := 0
	for _, n := range e.about {
		others += n
	}
	t.Logf("at most %d about one container, %d about nobody of them", most, others)
	if most == 0 || others > len(owners)/20 {
		t.Errorf("%d frames about one of %d owners, %d about others: %v", most, len(owners), others, e.about)
	}
}

// missed is how many frames the kernel had no room for.
func (e *groupEars) missed() (lost int, err error) {
	raw, err := e.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var stats *unix.TpacketStats
		if stats, err = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			lost = int(stats.Drops)
		}
	})
	return lost, errors.Join(cerr, err)
}
