package xdp

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

var (
	// ErrConfig is in every error about a value that can never be right.
	ErrConfig = errors.New("invalid configuration")
	// ErrClosed is the error of a call on something that was closed.
	ErrClosed = fmt.Errorf("already closed: %w", os.ErrClosed)
)

// UnsupportedError says that the running kernel lacks something.
type UnsupportedError struct {
	Feature string // what is lacking
	Min     string // the first kernel that has it, as in "6.6"
	Err     error  // what the kernel answered
}

// Error says what is lacking and what to do.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("this kernel has no %s: run Linux %s or later (%v)", e.Feature, e.Min, e.Err)
}

// Unwrap returns the kernel's answer.
func (e *UnsupportedError) Unwrap() error { return e.Err }

// ForeignProgramError says that a device already has an XDP program of somebody
// else, which is left alone.
type ForeignProgramError struct {
	IfIndex int
	ID      uint32 // the program's id; 0: it was gone when it was looked at
	Name    string // its name; empty if it has none or may not be asked
	Tag     string // the hash of its instructions, in hexadecimal
}

// Error names the program and says what to do.
func (e *ForeignProgramError) Error() string {
	name := e.Name
	if name == "" {
		name = "without a name"
	}
	return fmt.Sprintf("device %d already has the XDP program %s (id %d, tag %s): detach that first, or take another NIC",
		e.IfIndex, name, e.ID, e.Tag)
}

// ZeroCopyError says why a device's queue does not do zero-copy.
type ZeroCopyError struct {
	IfIndex, Queue int
	MTU            int   // the device's in bytes, if it needs frames of several chunks; else 0
	Err            error // the driver's answer
}

// Error gives the driver's reason and says what to do.
func (e *ZeroCopyError) Error() string {
	at, choose := "", ""
	if e.MTU != 0 {
		at, choose = fmt.Sprintf(" at an MTU of %d", e.MTU), "a smaller one, "
	}
	return fmt.Sprintf("device %d queue %d does not do zero-copy%s: choose %sauto or off (%v)", e.IfIndex, e.Queue, at, choose, e.Err)
}

// Unwrap returns the driver's answer.
func (e *ZeroCopyError) Unwrap() error { return e.Err }

// bindError says in words what the kernel's answer to a bind means. The
// suspects may hold the queue, if it is taken.
func bindError(ifindex, queue int, suspects []Holder, err error) error {
	where := fmt.Sprintf("bind device %d queue %d", ifindex, queue)
	switch {
	case errors.Is(err, unix.EBUSY):
		return &BusyError{IfIndex: ifindex, Queue: queue, Holders: suspects, Err: err}
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%s: no such device in this network namespace (%w)", where, err)
	case errors.Is(err, unix.EINVAL) && kernelOlder(6, 6):
		return &UnsupportedError{Feature: "AF_XDP sockets with chains of descriptors (XDP_USE_SG)", Min: "6.6", Err: err}
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%s: has the device such a queue? `ethtool -l` lists them (%w)", where, err)
	}
	return fmt.Errorf("%s: %w", where, err)
}

// oneLine joins errors, nil ones left out, in one line.
func oneLine(errs ...error) error {
	var joined error
	for _, err := range errs {
		switch {
		case joined == nil:
			joined = err
		case err != nil:
			joined = fmt.Errorf("%w; %w", joined, err)
		}
	}
	return joined
}
