package xdp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// outletVectors is what one frame needs beside its bytes: never moved, since its
// vectors point into it.
type outletVectors struct {
	hdr [vnetLen]byte
	iov [2]unix.Iovec
}

func (v *outletVectors) init() {
	v.iov[0].Base = &v.hdr[0]
	v.iov[0].SetLen(vnetLen)
}

// send hands one frame to the kernel. As with kicks the call is a raw one: it does
// not sleep, and the worker keeps its processor.
func (v *outletVectors) send(fd int, f *frame.Frame) unix.Errno {
	v.describe(&f.Meta)
	v.iov[1].Base = unsafe.SliceData(f.Data)
	v.iov[1].SetLen(len(f.Data))
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&v.iov[0])), uintptr(len(v.iov)))
	v.iov[1].Base = nil
	return errno
}

// describe writes the header that says what m says, in the machine's byte order.
func (v *outletVectors) describe(m *frame.Meta) {
	v.hdr = [vnetLen]byte{}
	if m.Flags&frame.NeedsChecksum != 0 {
		v.hdr[0] = vnetNeedsCsum
		binary.NativeEndian.PutUint16(v.hdr[6:], m.CsumStart)
		binary.NativeEndian.PutUint16(v.hdr[8:], m.CsumOffset)
	}
	switch m.GSO {
	case frame.GSOTCPv4:
		v.hdr[1] = vnetGSOTCPv4
	case frame.GSOTCPv6:
		v.hdr[1] = vnetGSOTCPv6
	default:
		return
	}
	binary.NativeEndian.PutUint16(v.hdr[2:], m.HdrLen)
	binary.NativeEndian.PutUint16(v.hdr[4:], m.GSOSize)
}
