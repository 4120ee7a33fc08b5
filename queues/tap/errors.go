package tap

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/netns"
)

// Errors that the functions of this package wrap.
var (
	// ErrGone: the interface is not in its namespace any more: somebody
	// deleted it or moved it away. Open can make it anew.
	ErrGone = errors.New("the interface is gone")
	// ErrNotOurs: there is an interface of that name, but it is not the one
	// that was meant.
	ErrNotOurs = errors.New("the interface is not ours")
	// ErrInUse: another process holds a queue of the interface.
	ErrInUse = errors.New("the interface is in use by another process")
	// ErrClosed: the queue was closed.
	ErrClosed = errors.New("the queue is closed")
)

// NameTakenError says that the wanted name belongs to another interface. It is
// an ErrNotOurs.
type NameTakenError struct {
	// Name that was wanted, in NetNS.
	Name, NetNS string
	// Kind of the interface that bears it (veth, tuntap, device, …); empty
	// where it could not be found out.
	Kind string
	// Alias of the interface that bears it, if any.
	Alias string
}

// Error says it in one line.
func (e *NameTakenError) Error() string {
	kind := e.Kind
	if kind == "" {
		kind = "another interface"
	}
	if e.Alias != "" {
		kind += fmt.Sprintf(", alias %q", e.Alias)
	}
	return fmt.Sprintf("interface %s exists already in netns %s (%s): choose another name or delete it", e.Name, e.NetNS, kind)
}

// Unwrap makes it an ErrNotOurs.
func (e *NameTakenError) Unwrap() error { return ErrNotOurs }

// taken is a NameTakenError about link.
func taken(ns *netns.NetNS, name string, link netlink.Link) *NameTakenError {
	return &NameTakenError{Name: name, NetNS: nsName(ns), Kind: link.Type(), Alias: link.Attrs().Alias}
}

// openError explains why /dev/net/tun did not open.
func openError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%s is missing: load the module tun (modprobe tun): %w", tunPath, err)
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return fmt.Errorf("no file descriptor left for a TAP, raise the limit (ulimit -n): %w", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to open %s, run as root: %w", tunPath, err)
	}
	return fmt.Errorf("open %s: %w", tunPath, err)
}

// attachError explains why a TAP queue was not made.
func attachError(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to make TAP %s, CAP_NET_ADMIN is needed in its netns: %w", name, err)
	case errors.Is(err, unix.E2BIG):
		return fmt.Errorf("TAP %s has no room for another queue, %d is the kernel's limit: %w", name, MaxLanes, err)
	}
	return fmt.Errorf("make a queue of TAP %s: %w", name, err)
}
