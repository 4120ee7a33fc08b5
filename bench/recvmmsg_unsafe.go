package main

import (
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
