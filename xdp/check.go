package xdp

import (
	"errors"
	"math"

	"golang.org/x/sys/unix"
)

// CheckFree returns a *ForeignProgramError if the device, in the network namespace
// of the calling thread, has an XDP program. It touches nothing.
func CheckFree(ifindex int) error { return foreignProgram(ifindex) }

// CheckKernel says whether the running kernel has what sockets need: nil, or an
// *UnsupportedError. It touches no device. Where the caller may not even ask it
// says nothing.
func CheckKernel() error {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return socketError(err)
	}
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	return chainsError(unix.Bind(fd, &unix.SockaddrXDP{Flags: unix.XDP_USE_SG, Ifindex: math.MaxInt32}))
}

// chainsError judges the answer to a bind with XDP_USE_SG to a device that does
// not exist: a kernel that does not know the flag says so before it looks for
// the device.
func chainsError(err error) error {
	if errors.Is(err, unix.EINVAL) {
		return &UnsupportedError{Feature: "AF_XDP sockets with chains of descriptors (XDP_USE_SG)", Min: "6.6", Err: err}
	}
	return nil
}

// CheckProgram loads the steering program and lets it go again: nil, an
// *UnsupportedError, or the kernel's reason. It touches no device. Where the
// caller may not load programs it says nothing.
func CheckProgram() error {
	p, err := LoadProgram(ProgramConfig{MaxExact: 1, MaxPrefixes: 1, MaxMACs: 1, Queues: 1})
	if errors.Is(err, unix.EPERM) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.Close()
}
