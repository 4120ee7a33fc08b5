// Package netns opens network namespaces, remembers them by a held
// descriptor, and runs code inside them. Nothing here changes a namespace.
package netns

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NetNS is a network namespace, held open by a descriptor: it cannot vanish
// or become another one while it is held, whatever becomes of the path or
// process that it was found by. Its methods may be called by any goroutine,
// save that Close must come last.
type NetNS struct {
	file  *os.File
	spec  string
	inode uint64
	self  bool // opened by Self: spec leads nowhere
}

// Errors that Open and Find wrap.
var (
	// ErrNotFound: there is no such name, path or process.
	ErrNotFound = errors.New("no such network namespace")
	// ErrNotNetNS: there is such a file, but it is no network namespace.
	ErrNotNetNS = errors.New("not a network namespace")
	// ErrVanished: the network namespace that was meant is gone, or another
	// one is in its place.
	ErrVanished = errors.New("the network namespace is gone")
)

// String returns what the namespace was opened by.
func (n *NetNS) String() string { return n.spec }

// Inode is the namespace's number in the kernel's nsfs. It is unique among the
// namespaces that exist, and may be used again when this one is gone; Cookie
// is not.
func (n *NetNS) Inode() uint64 { return n.inode }

// Fd is the held descriptor. It stays the NetNS's own.
func (n *NetNS) Fd() int { return int(n.file.Fd()) }

// Close lets go of the namespace.
func (n *NetNS) Close() error { return n.file.Close() }

// Cookie is a number that no other network namespace of this boot bears or
// will bear (SO_NETNS_COOKIE, Linux 5.14).
func (n *NetNS) Cookie() (cookie uint64, err error) {
	err = n.Do(func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open a socket in netns %s: %w", n.spec, err)
		}
		defer unix.Close(fd)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		if err != nil {
			return fmt.Errorf("ask netns %s for its cookie: %w", n.spec, err)
		}
		return nil
	})
	return cookie, err
}

// Handle opens a route netlink socket in the namespace. The caller closes it.
func (n *NetNS) Handle() (handle *netlink.Handle, err error) {
	err = n.Do(func() error {
		handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink in netns %s: %w", n.spec, err)
		}
		return nil
	})
	return handle, err
}
