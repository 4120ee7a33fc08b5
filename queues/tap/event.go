package tap

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// event is one message of the kernel, unread. A longer one is cut; what counts
// is at its start.
type event struct {
	data [8 << 10]byte
	oob  [64]byte
}

// gather waits for events and notes whom they are about.
func (w *Watcher) gather(seen map[place]bool) error {
	conn, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	var got bool
	readErr := conn.Read(func(fd uintptr) bool {
		got, err = w.take(int(fd), seen)
		return got || err != nil
	})
	return errors.Join(readErr, err)
}

// drain notes what has come meanwhile.
func (w *Watcher) drain(seen map[place]bool) {
	conn, err := w.file.SyscallConn()
	if err != nil {
		return // closed; gather will say so
	}
	_ = conn.Control(func(fd uintptr) {
		for more := true; more; {
			more, err = w.take(int(fd), seen)
		}
	})
}

// take reads one message and reports whether there was one.
func (w *Watcher) take(fd int, seen map[place]bool) (bool, error) {
	e := &w.last
	n, oobn, _, _, err := unix.Recvmsg(fd, e.data[:], e.oob[:], unix.MSG_DONTWAIT)
	switch {
	case errors.Is(err, unix.ENOBUFS):
		w.overruns.Add(1)
		return true, nil
	case errors.Is(err, unix.EINTR):
		return true, nil
	case errors.Is(err, unix.EAGAIN):
		return false, nil
	case err != nil:
		return false, err
	}
	if index := eventIndex(e.data[:n]); index > 0 {
		seen[place{eventNSID(e.oob[:oobn]), index}] = true
	}
	return true, nil
}

// eventIndex is the index of the interface that a message is about, or 0.
func eventIndex(b []byte) int {
	if len(b) < unix.SizeofNlMsghdr {
		return 0
	}
	kind, body := binary.NativeEndian.Uint16(b[4:]), b[unix.SizeofNlMsghdr:]
	switch {
	case kind == unix.RTM_DELROUTE && len(body) >= unix.SizeofRtMsg:
		return routeIndex(body[unix.SizeofRtMsg:])
	// Both struct ifinfomsg and struct ifaddrmsg have it at offset 4.
	case kind != unix.RTM_DELROUTE && len(body) >= 8:
		return int(binary.NativeEndian.Uint32(body[4:]))
	}
	return 0
}

// routeIndex finds RTA_OIF among the attributes of a route.
func routeIndex(attrs []byte) int {
	for len(attrs) >= unix.SizeofRtAttr {
		length := int(binary.NativeEndian.Uint16(attrs))
		if length < unix.SizeofRtAttr || length > len(attrs) {
			return 0
		}
		if binary.NativeEndian.Uint16(attrs[2:]) == unix.RTA_OIF && length >= 8 {
			return int(binary.NativeEndian.Uint32(attrs[4:]))
		}
		attrs = attrs[min((length+3)&^3, len(attrs)):]
	}
	return 0
}

// eventNSID reads which namespace a message came from; none is said for the
// socket's own.
func eventNSID(oob []byte) int {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nsidHome
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_NETLINK && m.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(m.Data) >= 4 {
			return int(int32(binary.NativeEndian.Uint32(m.Data)))
		}
	}
	return nsidHome
}

// bigEndian is v as a BPF program sees it that loads it from memory.
func bigEndian(v uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], v)
	return binary.BigEndian.Uint16(b[:])
}
