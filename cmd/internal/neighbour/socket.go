// Package neighbour speaks ARP and Neighbour Discovery on the wire for the
// control plane: it announces addresses, finds the next hops of the ports and
// follows them when they move. What is asked of the daemon's own addresses is
// answered by the workers, not here.
package neighbour

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// snap bounds what is read of one frame: the longest advertisement that says
// anything to us.
const snap = 256

// Socket is a packet socket on the NIC: it sends frames as they are, and
// receives the ARP packets and Neighbour Advertisements that the XDP program
// leaves to the host.
type Socket struct {
	file   *os.File
	closed atomic.Bool
}

// OpenSocket opens a packet socket on the interface with that index, in the
// calling thread's network namespace. It needs CAP_NET_RAW.
func OpenSocket(ifindex int) (*Socket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket: %w", err)
	}
	if err := configure(fd, ifindex); err != nil {
		return nil, errors.Join(fmt.Errorf("setting up a packet socket: %w", err), unix.Close(fd))
	}
	return &Socket{file: os.NewFile(uintptr(fd), "packet socket")}, nil
}

// configure binds last: a socket without a protocol receives nothing before
// the filter is in place.
func configure(fd, ifindex int) error {
	prog, err := filter()
	if err != nil {
		return err
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, prog); err != nil {
		return err
	}
	for _, opt := range []int{unix.PACKET_AUXDATA, unix.PACKET_IGNORE_OUTGOING} {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, opt, 1); err != nil {
			return err
		}
	}
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifindex})
}

// filter passes ARP and ICMPv6 Neighbour Advertisements, untagged as the
// kernel shows them.
func filter() (*unix.SockFprog, error) {
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: etherType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 5},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IPV6, SkipTrue: 5},
		bpf.LoadAbsolute{Off: l3 + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 3},
		bpf.LoadAbsolute{Off: l3 + ip6Len, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 136, SkipTrue: 1},
		bpf.RetConstant{Val: snap},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil, err
	}
	insns := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		insns[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return &unix.SockFprog{Len: uint16(len(insns)), Filter: &insns[0]}, nil
}

// Send puts one whole frame on the wire, its VLAN tag in its bytes. A queue
// that is full is an error; nothing is retried.
func (s *Socket) Send(frame []byte) error {
	conn, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	var werr error
	if err := conn.Write(func(fd uintptr) bool {
		_, werr = unix.Write(int(fd), frame)
		return true // os.File.Write would wait for room, and whoever waits for us with it
	}); err != nil {
		return s.closedError(err)
	}
	if werr != nil {
		return fmt.Errorf("sending on the NIC: %w", werr)
	}
	return nil
}

// Recv waits for a frame, reads it into buf and returns its length and VLAN.
// It returns an error that os.ErrClosed matches once the socket is closed; any
// other one (the NIC went down) may pass.
func (s *Socket) Recv(buf []byte) (n int, vlan uint16, err error) {
	conn, err := s.file.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	oob := make([]byte, unix.CmsgSpace(20))
	var oobn int
	var rerr error
	if err := conn.Read(func(fd uintptr) bool {
		n, oobn, _, _, rerr = unix.Recvmsg(int(fd), buf, oob, 0)
		return !errors.Is(rerr, unix.EAGAIN)
	}); err != nil {
		return 0, 0, s.closedError(err)
	}
	if rerr != nil {
		return 0, 0, fmt.Errorf("receiving from the NIC: %w", rerr)
	}
	return n, tag(oob[:oobn]), nil
}

// closedError names the error that package os does not name in raw access to a
// file that was closed.
func (s *Socket) closedError(err error) error {
	if s.closed.Load() {
		return os.ErrClosed
	}
	return err
}

// Close lets go of the socket; a Recv under way returns.
func (s *Socket) Close() error {
	s.closed.Store(true)
	return s.file.Close()
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
