package e2e

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
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
	told  map[netip.Addr]int // by whose address it is about; invalid: nobody's
	asked map[netip.Addr]int // questions for others, by who asks
}

func listenToGroups(t testing.TB, ns *nictest.NS, ifname string) *groupEars {
	t.Helper()
	e := &groupEars{heard: counts{}, told: map[netip.Addr]int{}, asked: map[netip.Addr]int{}}
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
	if who, asks := about(frame); asks {
		e.asked[who]++
	} else {
		e.told[who]++
	}
}

// about is whose address a frame concerns: its sender's, or what it announces or
// probes; and whether it is a question for another's address.
func about(frame []byte) (who netip.Addr, asks bool) {
	var target netip.Addr
	for _, layer := range decode(frame).Layers() {
		switch p := layer.(type) {
		case *layers.ARP:
			who, _ = netip.AddrFromSlice(p.SourceProtAddress)
			target, _ = netip.AddrFromSlice(p.DstProtAddress)
		case *layers.IPv4:
			who, _ = netip.AddrFromSlice(p.SrcIP.To4())
		case *layers.IPv6:
			who, _ = netip.AddrFromSlice(p.SrcIP)
		case *layers.ICMPv6NeighborSolicitation:
			target, _ = netip.AddrFromSlice(p.TargetAddress)
		case *layers.ICMPv6NeighborAdvertisement:
			who, _ = netip.AddrFromSlice(p.TargetAddress)
		}
	}
	if target.IsValid() && who.IsUnspecified() {
		who = target
	}
	return who, target.IsValid() && who != target
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

// gatewayQuestions are those for next hops that the daemon may ask, for all who
// use them, in the name of one.
const gatewayQuestions = 20

// check requires that it was told of every one of these owners, each with an IPv4
// address, an IPv6 address and a link-local one, that no owner told and asked it
// too much, and that it heard next to nothing of anybody else.
func (e *groupEars) check(t *testing.T, owners [][]netip.Addr) {
	t.Helper()
	if lost, err := e.missed(); err != nil || lost > 0 {
		t.Errorf("%d frames were not heard: %v", lost, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t.Logf("the wire saw broadcast and multicast frames: %v", e.heard)
	surplus := 0
	for _, addrs := range owners {
		if e.told[addrs[0]] == 0 || e.told[addrs[1]] == 0 {
			t.Errorf("the wire was not told of %v", addrs[:2])
		}
		told, asked := take(e.told, addrs), take(e.asked, addrs)
		if told > groupFrames {
			t.Errorf("the wire was told %d times about %v", told, addrs)
		}
		surplus += max(0, told+asked-groupFrames)
	}
	others := take(e.told, slices.Collect(maps.Keys(e.told))) + take(e.asked, slices.Collect(maps.Keys(e.asked)))
	t.Logf("%d more than %d of each container, %d of others", surplus, groupFrames, others)
	if surplus > gatewayQuestions || others > len(owners)/20 {
		t.Errorf("too many broadcast and multicast frames: %d more than %d of each container, %d of others", surplus, groupFrames, others)
	}
}

// take is how many there are of these, and they are taken out.
func take(from map[netip.Addr]int, of []netip.Addr) (n int) {
	for _, a := range of {
		n += from[a]
		delete(from, a)
	}
	return n
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
