package xdp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// OpenSocket takes a queue of a device, in the network namespace of the calling
// thread. It needs CAP_NET_RAW, and CAP_IPC_LOCK or a memory lock limit of the
// UMEM's size. No frame comes before Program.SetSocket.
//
// Errors: ErrConfig for sizes that can never be, *UnsupportedError for a kernel
// that is too old, *ZeroCopyError for a driver that cannot, and the kernel's own
// for the rest. Nothing is left behind by a failure.
func OpenSocket(c SocketConfig) (*Socket, error) {
	c, err := c.Validate()
	if err != nil {
		return nil, err
	}
	if c.ZeroCopy == ZeroCopyOff {
		return open(c, unix.XDP_COPY|unix.XDP_USE_SG)
	}
	s, reason := openZeroCopy(c)
	if reason == nil || c.ZeroCopy == ZeroCopyOn || !errors.As(reason, new(*ZeroCopyError)) {
		return s, reason
	}
	s, err = open(c, unix.XDP_COPY|unix.XDP_USE_SG)
	if err == nil {
		s.whyCopy = reason
	}
	return s, err
}

// openZeroCopy binds with chains where the driver has them. One that does not
// (virtio_net) is taken without, if no frame of the device's MTU needs them.
func openZeroCopy(c SocketConfig) (*Socket, error) {
	c = c.forZeroCopy()
	large := largeMTU(c)
	s, err := open(c, unix.XDP_ZEROCOPY|unix.XDP_USE_SG)
	if errors.Is(err, unix.EOPNOTSUPP) && large == 0 {
		s, err = open(c, unix.XDP_ZEROCOPY)
	}
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP):
		return nil, &ZeroCopyError{IfIndex: c.IfIndex, Queue: c.Queue, MTU: large, Err: err}
	}
	return nil, err
}

// largeMTU is the device's MTU in bytes if a frame of it, with a VLAN tag, does not
// fit into a chunk behind the headroom that the kernel keeps there; else 0.
func largeMTU(c SocketConfig) int {
	const headers, headroom = 18, 256
	dev, err := net.InterfaceByIndex(c.IfIndex)
	if err != nil || dev.MTU+headers+headroom <= c.FrameSize {
		return 0
	}
	return dev.MTU
}

// open makes a socket with these bind flags.
func open(c SocketConfig, flags uint16) (s *Socket, err error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, socketError(err)
	}
	memfd, m := -1, memory{}
	defer func() {
		if err != nil {
			m.unmap()
			closeAll(fd, memfd)
		}
	}()
	if memfd, err = createMemory(c.geometry().memoryBytes()); err != nil {
		return nil, err
	}
	if err = m.build(fd, memfd, c, flags); err != nil {
		return nil, err
	}
	s = newSocket(m, descriptorWaker(fd))
	s.fd, s.memfd = fd, memfd
	s.prime()
	if err = s.bind(c, flags); err != nil {
		return nil, err
	}
	return s, nil
}

// build makes the memory, tells the kernel of it and maps the rings.
func (m *memory) build(fd, memfd int, c SocketConfig, flags uint16) (err error) {
	g := c.geometry()
	if m.data, err = mapShared(memfd, 0, g.memoryBytes()); err != nil {
		return err
	}
	stateAt(m.data).format(c, stateFlags(flags))
	if err := registerUMEM(fd, m.data[g.stateBytes():], g.FrameSize); err != nil {
		return umemError(err, g.umemBytes())
	}
	if err := setSizes(fd, c); err != nil {
		return err
	}
	return m.mapRings(fd, g)
}

func stateFlags(bind uint16) uint32 {
	if bind&unix.XDP_USE_SG != 0 {
		return multiBuffer
	}
	return 0
}

func setSizes(fd int, c SocketConfig) error {
	rings := []struct {
		name         string
		option, size int
	}{
		{"XDP_UMEM_FILL_RING", unix.XDP_UMEM_FILL_RING, c.FillSize},
		{"XDP_UMEM_COMPLETION_RING", unix.XDP_UMEM_COMPLETION_RING, c.CompletionSize},
		{"XDP_RX_RING", unix.XDP_RX_RING, c.RxSize},
		{"XDP_TX_RING", unix.XDP_TX_RING, c.TxSize},
	}
	for _, r := range rings {
		if err := unix.SetsockoptInt(fd, unix.SOL_XDP, r.option, r.size); err != nil {
			return fmt.Errorf("%s of %d entries: %w", r.name, r.size, err)
		}
	}
	return nil
}

// bind joins the socket to its queue and has the kernel look at the fill ring,
// so that a driver in zero-copy is never without buffers.
func (s *Socket) bind(c SocketConfig, flags uint16) error {
	s.tune(c)
	s.setBusyPoll(c.BusyPoll)
	addr := &unix.SockaddrXDP{
		Flags:   flags | unix.XDP_USE_NEED_WAKEUP,
		Ifindex: uint32(c.IfIndex),
		QueueID: uint32(c.Queue),
	}
	b := binder{bind: func() error { return unix.Bind(s.fd, addr) }, holders: holders, sleep: time.Sleep, patience: c.Patience}
	if suspects, err := b.take(); err != nil {
		return bindError(c.IfIndex, c.Queue, suspects, err)
	}
	if err := s.learnMode(); err != nil {
		return err
	}
	s.wakeReceive()
	return nil
}

// tune asks for what is good to have and does no harm to lack.
func (s *Socket) tune(c SocketConfig) {
	// A batch leaves in one kick instead of two (Linux 6.17).
	_ = unix.SetsockoptInt(s.fd, unix.SOL_XDP, unix.XDP_MAX_TX_SKB_BUDGET, min(64, c.TxSize))
	// In copy mode a frame in flight counts toward the send buffer, whose
	// default holds some 160: less than the transmit half.
	perFrame := c.FrameSize + 1024
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, c.Frames/2*perFrame)
}

// setBusyPoll asks for busy polling. A kernel that refuses leaves the socket to
// interrupts, and whyInterrupts says why.
func (s *Socket) setBusyPoll(b BusyPoll) {
	if b.Micros == 0 {
		return
	}
	options := []struct {
		name          string
		option, value int
	}{
		{"SO_PREFER_BUSY_POLL", unix.SO_PREFER_BUSY_POLL, 1},
		{"SO_BUSY_POLL", unix.SO_BUSY_POLL, b.Micros},
		{"SO_BUSY_POLL_BUDGET", unix.SO_BUSY_POLL_BUDGET, b.Budget},
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o.option, o.value); err != nil {
			s.whyInterrupts = fmt.Errorf("%s %d: %w", o.name, o.value, err)
			_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL, 0)
			return
		}
	}
	s.busy, s.budget = true, b.Budget
}

// learnMode reads what the bind gave.
func (s *Socket) learnMode() error {
	options, err := unix.GetsockoptInt(s.fd, unix.SOL_XDP, unix.XDP_OPTIONS)
	if err != nil {
		return os.NewSyscallError("getsockopt XDP_OPTIONS", err)
	}
	s.direct = options&unix.XDP_OPTIONS_ZEROCOPY != 0
	return nil
}

func socketError(err error) error {
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		return &UnsupportedError{Feature: "AF_XDP (CONFIG_XDP_SOCKETS)", Min: "6.6", Err: err}
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("open an AF_XDP socket: run as root or with CAP_NET_RAW (%w)", err)
	}
	return os.NewSyscallError("socket AF_XDP", err)
}

func umemError(err error, size uint64) error {
	if errors.Is(err, unix.ENOBUFS) {
		return fmt.Errorf("lock %d bytes of memory: beyond RLIMIT_MEMLOCK; raise that, give CAP_IPC_LOCK, or choose fewer Frames (%w)", size, err)
	}
	return err
}

// closeAll closes descriptors and returns the first error.
func closeAll(fds ...int) error {
	var first error
	for _, fd := range fds {
		if fd < 0 {
			continue
		}
		if err := unix.Close(fd); err != nil && first == nil {
			first = os.NewSyscallError("close", err)
		}
	}
	return first
}
