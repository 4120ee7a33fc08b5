package e2e

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/google/gopacket/layers"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// groupEars counts the broadcast and multicast frames that an interface
// receives, by what they are.
type groupEars struct {
	file *os.File

	mu    sync.Mutex
	heard counts
	total int
}

func listenToGroups(t testing.TB, ns *nictest.NS, ifname string) *groupEars {
	t.Helper()
	e := &groupEars{heard: counts{}}
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
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 1, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	})
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return filter, err
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
	e.total++
	e.heard.add(sortOf(frame), 1)
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
		case *layers.UDP:
			sort = fmt.Sprintf("UDP to port %d", p.DstPort)
		}
	}
	return sort
}

// check requires that there were not too many for so many containers.
func (e *groupEars) check(t *testing.T) {
	t.Helper()
	var lost int
	raw, err := e.file.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			stats, serr := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
			if err = serr; err == nil {
				lost = int(stats.Drops)
			}
		})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil || lost > 0 {
		t.Errorf("%d frames were not heard: %v", lost, err)
	}
	if e.total > groupFrames*crowd {
		t.Errorf("the wire saw %d broadcast and multicast frames of %d containers: %v", e.total, crowd, e.heard)
	}
	t.Logf("the wire saw %d broadcast and multicast frames: %v", e.total, e.heard)
}
