package nic

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// conn speaks rtnetlink and generic netlink in the namespace of the thread
// that made it. Any goroutine may use it.
type conn struct {
	sockets map[int]*nl.SocketHandle
	inet    int // a socket for ioctls
}

// answerTimeout bounds the wait for the kernel's answer, which comes at once
// unless the kernel is stuck.
const answerTimeout = 30 * time.Second

func dial() (_ *conn, err error) {
	inet, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	c := &conn{sockets: map[int]*nl.SocketHandle{}, inet: inet}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	for _, proto := range []int{unix.NETLINK_ROUTE, unix.NETLINK_GENERIC} {
		s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), proto)
		if err != nil {
			return nil, fmt.Errorf("open netlink socket: %w", err)
		}
		c.sockets[proto] = &nl.SocketHandle{Socket: s}
		if err := join(s.SetSendTimeout(&timeout), s.SetReceiveTimeout(&timeout)); err != nil {
			return nil, fmt.Errorf("netlink socket: %w", err)
		}
	}
	return c, nil
}

func (c *conn) close() {
	for _, s := range c.sockets {
		s.Close()
	}
	_ = unix.Close(c.inet)
}

// route sends an rtnetlink request and returns the payloads of the answers.
// A dump that the kernel interrupted is asked for again, a few times.
func (c *conn) route(msgType, flags int, data ...nl.NetlinkRequestData) ([][]byte, error) {
	var msgs [][]byte
	err := error(nl.ErrDumpInterrupted)
	for try := 0; try < 5 && errors.Is(err, nl.ErrDumpInterrupted); try++ {
		msgs, err = c.ask(unix.NETLINK_ROUTE, msgType, flags, data)
	}
	if errors.Is(err, nl.ErrDumpInterrupted) {
		// A table that never rests: what came is the best there is, and
		// whoever follows changes hears of the rest.
		err = nil
	}
	return msgs, err
}

func (c *conn) ask(proto, msgType, flags int, data []nl.NetlinkRequestData) ([][]byte, error) {
	req := nl.NewNetlinkRequest(msgType, flags)
	req.Sockets = c.sockets
	for _, d := range data {
		req.AddData(d)
	}
	return req.Execute(proto, 0)
}

// linkByIndex returns a *NotFoundError if there is none.
func (c *conn) linkByIndex(index int) (netlink.Link, error) {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	return c.link(&NotFoundError{Index: index}, msg)
}

// linkByName also finds alternative names. It returns a *NotFoundError if
// there is none.
func (c *conn) linkByName(name string) (netlink.Link, error) {
	if name == "" {
		return nil, &NotFoundError{}
	}
	attr := unix.IFLA_IFNAME
	if len(name) >= unix.IFNAMSIZ {
		attr = unix.IFLA_ALT_IFNAME
	}
	return c.link(&NotFoundError{Name: name}, nl.NewIfInfomsg(unix.AF_UNSPEC),
		nl.NewRtAttr(attr, nl.ZeroTerminated(name)))
}

func (c *conn) link(missing *NotFoundError, data ...nl.NetlinkRequestData) (netlink.Link, error) {
	msgs, err := c.route(unix.RTM_GETLINK, unix.NLM_F_ACK, data...)
	// ERANGE and EINVAL: a name that the kernel does not take as one.
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ERANGE) || errors.Is(err, unix.EINVAL) {
		return nil, missing
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", missing.what(), err)
	}
	if len(msgs) == 0 {
		return nil, missing
	}
	return netlink.LinkDeserialize(nil, msgs[0])
}

// links lists all links of the namespace.
func (c *conn) links() ([]netlink.Link, error) {
	msgs, err := c.route(unix.RTM_GETLINK, unix.NLM_F_DUMP, nl.NewIfInfomsg(unix.AF_UNSPEC))
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	list := make([]netlink.Link, 0, len(msgs))
	for _, m := range msgs {
		link, err := netlink.LinkDeserialize(nil, m)
		if err != nil {
			return nil, fmt.Errorf("list links: %w", err)
		}
		list = append(list, link)
	}
	return list, nil
}

// addrs lists all addresses of the namespace, without interface names.
func (c *conn) addrs() ([]HostAddr, error) {
	msgs, err := c.route(unix.RTM_GETADDR, unix.NLM_F_DUMP, nl.NewIfAddrmsg(unix.AF_UNSPEC))
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var list []HostAddr
	for _, m := range msgs {
		if a, ok := parseAddr(m); ok {
			list = append(list, a)
		}
	}
	return list, nil
}
