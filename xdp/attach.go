package xdp

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Mode is where in the receive path the program runs.
type Mode uint8

// The values of Mode.
const (
	// ModeAuto is native, or generic where the driver cannot; see
	// Program.NativeError.
	ModeAuto Mode = iota
	// ModeNative runs in the driver, before the kernel makes a packet of the frame.
	ModeNative
	// ModeGeneric runs in the kernel's stack; every driver has it.
	ModeGeneric
)

// String is the word that a user reads and writes.
func (m Mode) String() string {
	switch m {
	case ModeAuto:
		return "auto"
	case ModeNative:
		return "native"
	case ModeGeneric:
		return "generic"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// Attach has the program look at every frame of a device in the network
// namespace of the calling thread, and returns the mode that was obtained. A
// device that has a program already is left alone: *ForeignProgramError.
//
// The program sees the bytes of a frame and nothing beside them: a VLAN tag that
// the device takes off (rxvlan) is none to it, so that must be off.
//
// The attachment ends with Detach, with Close, or with the process.
func (p *Program) Attach(ifindex int, want Mode) (Mode, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return 0, ErrClosed
	case p.link != nil:
		return 0, fmt.Errorf("%w: the program is attached already: detach it first", ErrConfig)
	case want > ModeGeneric:
		return 0, fmt.Errorf("%w: %v: choose auto, native or generic", ErrConfig, want)
	}
	if err := foreignProgram(ifindex); err != nil {
		return 0, err
	}
	return p.attach(ifindex, want)
}

// NativeError is why ModeAuto ended in generic mode; nil if it did not.
func (p *Program) NativeError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.native
}

func (p *Program) attach(ifindex int, want Mode) (Mode, error) {
	p.native = nil
	if want != ModeGeneric {
		err := p.attachAs(ifindex, link.XDPDriverMode)
		if err == nil {
			return ModeNative, nil
		}
		if want == ModeNative || errors.As(err, new(*ForeignProgramError)) {
			return 0, err
		}
		p.native = err
	}
	if err := p.attachAs(ifindex, link.XDPGenericMode); err != nil {
		return 0, oneLine(p.native, err)
	}
	return ModeGeneric, nil
}

func (p *Program) attachAs(ifindex int, mode link.XDPAttachFlags) error {
	l, err := link.AttachXDP(link.XDPOptions{Program: p.objects.Steer, Interface: ifindex, Flags: mode})
	if err == nil {
		p.link, p.ifindex = l, ifindex
		return nil
	}
	// Somebody was faster than we between the look and the attachment.
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		if foreign := foreignProgram(ifindex); foreign != nil {
			return foreign
		}
	}
	return attachError(ifindex, mode, err)
}

// attachError says in words what a driver's answer usually means; the kernel
// says it itself only in a trace.
func attachError(ifindex int, mode link.XDPAttachFlags, err error) error {
	name := ModeNative
	if mode == link.XDPGenericMode {
		name = ModeGeneric
	}
	reason := "the kernel refused"
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		reason = "the driver has no XDP"
	case errors.Is(err, unix.ERANGE):
		reason = "the MTU is too large for this driver's XDP"
	case errors.Is(err, unix.ENOSPC):
		reason = "too few queues: a veth needs as many receive queues as its peer has transmit queues"
	case errors.Is(err, unix.EINVAL):
		reason = "the driver refused; LRO and hardware GRO are the usual cause"
	case errors.Is(err, unix.ENODEV):
		reason = "no such device in this network namespace"
	case errors.Is(err, unix.EPERM):
		reason = "run as root or with CAP_NET_ADMIN and CAP_BPF"
	}
	return fmt.Errorf("attach to device %d in %v mode: %s (%w)", ifindex, name, reason, err)
}

// Detach takes the program off its device. Its maps and their rules stay.
func (p *Program) Detach() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.detach()
}

func (p *Program) detach() error {
	if p.link == nil {
		return nil
	}
	err := p.link.Close()
	p.link = nil
	if err != nil {
		return fmt.Errorf("detach the steering program: %w", err)
	}
	return nil
}

// foreignProgram returns a *ForeignProgramError if the device has a program.
func foreignProgram(ifindex int) error {
	dev, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return fmt.Errorf("look for XDP programs on device %d: %w", ifindex, err)
	}
	xdp := dev.Attrs().Xdp
	if xdp == nil || !xdp.Attached {
		return nil
	}
	foreign := &ForeignProgramError{IfIndex: ifindex, ID: xdp.ProgId}
	foreign.describe()
	return foreign
}

// describe asks the kernel about the program. One that vanished or may not be
// looked at keeps its id alone.
func (e *ForeignProgramError) describe() {
	prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(e.ID))
	if err != nil {
		return
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return
	}
	e.Name, e.Tag = info.Name, info.Tag
}
