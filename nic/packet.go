package nic

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// packetSocket is an AF_PACKET socket that receives nothing (protocol 0) and
// serves only to hold memberships (packet(7), PACKET_ADD_MEMBERSHIP).
type packetSocket struct {
	fd      int
	refused error // why there is none, if the caller may not have one
}

// openPacketSocket does not fail for want of privilege; joining will.
func openPacketSocket() (*packetSocket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) {
		return &packetSocket{fd: -1, refused: fmt.Errorf("open packet socket (needs CAP_NET_RAW, run as root): %w", err)}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	return &packetSocket{fd: fd}, nil
}

func (p *packetSocket) close() error {
	if p.fd < 0 {
		return nil
	}
	fd := p.fd
	p.fd, p.refused = -1, unix.EBADF
	return unix.Close(fd)
}

func (p *packetSocket) join(kind uint16, index int, mac [6]byte) error {
	return p.set(unix.PACKET_ADD_MEMBERSHIP, kind, index, mac)
}

func (p *packetSocket) leave(kind uint16, index int, mac [6]byte) error {
	return p.set(unix.PACKET_DROP_MEMBERSHIP, kind, index, mac)
}

func (p *packetSocket) set(opt int, kind uint16, index int, mac [6]byte) error {
	if p.refused != nil {
		return p.refused
	}
	req := unix.PacketMreq{Ifindex: int32(index), Type: kind, Alen: uint16(len(mac))}
	copy(req.Address[:], mac[:])
	return unix.SetsockoptPacketMreq(p.fd, unix.SOL_PACKET, opt, &req)
}
