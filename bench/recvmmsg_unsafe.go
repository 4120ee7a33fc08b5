package main

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// datagrams receives many datagrams with one system call, which package unix
// does not offer. It belongs to one goroutine.
type datagrams struct {
	heads [burst]messageHead
	parts [burst]unix.Iovec
	room  []byte
}

// messageHead is struct mmsghdr of linux/socket.h.
type messageHead struct {
	unix.Msghdr
	n uint32
	_ [4]byte
}

const datagramRoom = 2048

func newDatagrams() *datagrams {
	d := &datagrams{room: make([]byte, burst*datagramRoom)}
	for i := range d.heads {
		d.parts[i].Base = &d.room[i*datagramRoom]
		d.parts[i].SetLen(datagramRoom)
		d.heads[i].Iov = &d.parts[i]
		d.heads[i].SetIovlen(1)
	}
	return d
}

// receive takes what waits in the socket, up to a burst, and never blocks.
func (d *datagrams) receive(fd int) (int, error) {
	n, _, e := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&d.heads[0])), burst, unix.MSG_DONTWAIT, 0, 0)
	switch e {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	return 0, e
}

// data is the i-th of those that receive took, until it is called again.
func (d *datagrams) data(i int) []byte {
	return d.room[i*datagramRoom:][:d.heads[i].n]
}

// outgoing sends many datagrams with one system call, all to where the frames
// from the wire come from unless it is aimed elsewhere. It belongs to one goroutine.
type outgoing struct {
	heads [burst]messageHead
	parts [burst]unix.Iovec
	to    unix.RawSockaddrInet4
}

func newOutgoing() *outgoing {
	o := &outgoing{}
	o.aim(sourceAddr(), sourcePort)
	for i := range o.heads {
		h := &o.heads[i]
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&o.to)), uint32(unsafe.Sizeof(o.to))
		h.Iov = &o.parts[i]
		h.SetIovlen(1)
	}
	return o
}

// aim says where all go from now on.
func (o *outgoing) aim(to netip.Addr, port uint16) {
	o.to = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.As4()}
	order := [2]byte{byte(port >> 8), byte(port)}
	o.to.Port = *(*uint16)(unsafe.Pointer(&order))
}

// put makes data the i-th datagram. It must stay as it is until send.
func (o *outgoing) put(i int, data []byte) {
	o.parts[i].Base = &data[0]
	o.parts[i].SetLen(len(data))
}

// send sends the first n, of which it returns how many the kernel took.
func (o *outgoing) send(fd, n int) (int, error) {
	if n == 0 {
		return 0, nil
	}
	took, _, e := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&o.heads[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	switch e {
	case 0:
		return int(took), nil
	case unix.EAGAIN, unix.EINTR, unix.ENOBUFS:
		return 0, nil
	}
	return 0, e
}
