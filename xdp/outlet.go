package xdp

import (
	"errors"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// Outlet is a second way out of a device beside its sockets: a packet socket that
// takes frames with what is left to do on them, super-frames as well. The kernel
// sends them by the device's own transmit path, and cuts and completes what the
// device does not cut and complete itself. An AF_XDP socket can leave neither to
// anybody.
//
// What leaves here passes the device's queueing discipline and tc's egress hook, and
// is seen by packet sockets on it such as tcpdump's. What a queueing discipline
// drops later on is counted there.
//
// SendWhole belongs to one goroutine at a time. Close is called when it is not in
// there any more; Refused may be asked by anybody at any time.
type Outlet struct {
	fd      int
	out     outletVectors
	refused atomic.Uint64 // written by SendWhole alone
}

// outletBuffer is how many bytes of frames may be on their way in the kernel, with
// its own data about them.
const outletBuffer = 8 << 20

// OpenOutlet makes one for a device in the network namespace of the calling thread.
// It needs CAP_NET_RAW.
func OpenOutlet(ifindex int) (o *Outlet, err error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket AF_PACKET", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, unix.Close(fd))
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return nil, os.NewSyscallError("setsockopt PACKET_VNET_HDR", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, outletBuffer); err != nil {
		return nil, os.NewSyscallError("setsockopt SO_SNDBUFFORCE", err)
	}
	// Bound to no protocol it receives nothing.
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifindex}); err != nil {
		return nil, os.NewSyscallError("bind a packet socket", err)
	}
	o = &Outlet{fd: fd}
	o.out.init()
	return o, nil
}

// Offloads is what SendWhole takes.
func (o *Outlet) Offloads() frame.Offload {
	return frame.OffloadChecksum | frame.OffloadTCPv4 | frame.OffloadTCPv6
}

// SendWhole sends one frame, and returns false where the kernel did not take it: it
// has too much of us already, or the device is down or gone. It never blocks and
// keeps nothing of the frame.
func (o *Outlet) SendWhole(f *frame.Frame) bool {
	if o.out.send(o.fd, f) == 0 {
		return true
	}
	o.refused.Add(1)
	return false
}

// Refused is how many frames SendWhole could not send.
func (o *Outlet) Refused() uint64 { return o.refused.Load() }

// Close closes it.
func (o *Outlet) Close() error { return os.NewSyscallError("close", unix.Close(o.fd)) }

// The values of a virtio_net_hdr (virtio 1.2, section 5.1.6).
const (
	vnetLen       = 10
	vnetNeedsCsum = 1
	vnetGSOTCPv4  = 1
	vnetGSOTCPv6  = 4
)
