package tap

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/netns"
)

// iface is the interface inside, seen through a netlink socket that lives for
// one change.
type iface struct {
	handle *netlink.Handle
	ns     *netns.NetNS // nil: the process's own
	index  int
}

// inside runs fn on a thread in ns.
func inside(ns *netns.NetNS, fn func() error) error {
	if ns == nil {
		return fn()
	}
	return ns.Do(fn)
}

func nsName(ns *netns.NetNS) string {
	if ns == nil {
		return "self"
	}
	return ns.String()
}

func newHandle(ns *netns.NetNS) (handle *netlink.Handle, err error) {
	err = inside(ns, func() error {
		handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open netlink in netns %s: %w", nsName(ns), err)
	}
	return handle, nil
}

// link returns the interface as it is now.
func (i *iface) link() (netlink.Link, error) {
	link, err := i.handle.LinkByIndex(i.index)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) || errors.Is(err, unix.ENODEV) {
		return nil, ErrGone
	}
	return link, err
}

// ref names the interface by its index alone, which a renaming does not change.
func (i *iface) ref() netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: i.index}}
}

func (i *iface) setMAC(mac [6]byte) error {
	return i.explain("set the MAC", i.handle.LinkSetHardwareAddr(i.ref(), net.HardwareAddr(mac[:])))
}

func (i *iface) setMTU(mtu int) error {
	return i.explain(fmt.Sprintf("set the MTU to %d", mtu), i.handle.LinkSetMTU(i.ref(), mtu))
}

func (i *iface) setDepth(depth int) error {
	return i.explain(fmt.Sprintf("set the queue length to %d", depth), i.handle.LinkSetTxQLen(i.ref(), depth))
}

// setNoQueue takes the interface's queueing discipline away, before it is up.
// The lanes are the queue: nothing could ever wait in front of them. The
// kernel's default would cost 3.5 MiB for each TAP, since it is made for all
// 256 queues that a TAP could have.
func (i *iface) setNoQueue() error {
	err := i.handle.QdiscReplace(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: i.index, Parent: netlink.HANDLE_ROOT},
		QdiscType:  "noqueue",
	})
	return i.explain("take its queueing discipline away", err)
}

func (i *iface) setOwner(owner string) error {
	return i.explain("set the alias", i.handle.LinkSetAlias(i.ref(), owner))
}

func (i *iface) setUp() error {
	return i.explain("set it up", i.handle.LinkSetUp(i.ref()))
}

func (i *iface) remove() error {
	err := i.explain("delete it", i.handle.LinkDel(i.ref()))
	if errors.Is(err, ErrGone) {
		return nil
	}
	return err
}

func (i *iface) setNeighbour(ip netip.Addr, mac [6]byte) error {
	err := i.handle.NeighSet(&netlink.Neigh{
		LinkIndex: i.index, Family: family(ip), State: netlink.NUD_PERMANENT,
		IP: ip.AsSlice(), HardwareAddr: net.HardwareAddr(mac[:]),
	})
	return i.explain("set the neighbour "+ip.String(), err)
}

func (i *iface) delNeighbour(ip netip.Addr) error {
	err := i.handle.NeighDel(&netlink.Neigh{LinkIndex: i.index, Family: family(ip), IP: ip.AsSlice()})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return i.explain("delete the neighbour "+ip.String(), err)
}

func family(ip netip.Addr) int {
	if ip.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

// explain says what failed and where; a missing interface becomes ErrGone.
func (i *iface) explain(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%s (interface %d in netns %s): %w", what, i.index, nsName(i.ns), ErrGone)
	}
	return fmt.Errorf("%s (interface %d in netns %s): %w", what, i.index, nsName(i.ns), err)
}
