package tap

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// FDs are the descriptors of all lanes, in order, to be handed to another
// process. They stay the queue's own.
func (q *Queue) FDs() []int {
	fds := make([]int, len(q.lanes))
	for i, l := range q.lanes {
		fds[i] = l.fd
	}
	return fds
}

// Adopt makes a queue of the descriptors that a running process handed over
// (Queue.FDs), while that process may still hold its own copies. The interface
// is not touched but for what cfg has and it has not, as by Restore. The
// descriptors become the queue's own; on an error they stay the caller's.
func Adopt(cfg Config, fds []int) (*Queue, error) {
	cfg.Lanes = len(fds)
	o, err := newOpening(cfg)
	if err != nil {
		return nil, err
	}
	defer o.iface.handle.Close()
	link, err := o.iface.owned(o.cfg.Name, o.cfg.Owner)
	if err != nil {
		return nil, err
	}
	for _, fd := range fds {
		if err := checkFD(fd, link); err != nil {
			return nil, err
		}
	}
	o.take(link)
	o.cfg.Lanes, o.dev.fds = len(fds), fds
	if err := o.reconfigure(); err != nil {
		return nil, err
	}
	return o.queue(), nil
}

// checkFD checks that fd is a queue of the interface, and will not block.
func checkFD(fd int, link *netlink.Tuntap) error {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr); err != nil {
		return fmt.Errorf("descriptor %d is no queue of TAP %s: %w", fd, link.Name, err)
	}
	if ifr.Name() != link.Name {
		return fmt.Errorf("descriptor %d is a queue of TAP %s, not of %s: %w", fd, ifr.Name(), link.Name, ErrNotOurs)
	}
	return unix.SetNonblock(fd, true)
}

// isUp reports whether an interface's administrator wants it up.
func isUp(link netlink.Link) bool { return link.Attrs().Flags&net.FlagUp != 0 }
