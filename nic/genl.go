package nic

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Generic netlink by hand: ethtool over netlink takes the interface's index,
// where the old ioctl takes its name and so may meet another device after a
// rename. See Documentation/networking/ethtool-netlink.rst in the kernel.

// generic sends one request to a family of generic netlink and returns the
// payload of the first answer, behind its header. A family that this kernel
// does not have is unix.EOPNOTSUPP.
func (c *conn) generic(family string, command uint8, attrs ...nl.NetlinkRequestData) ([]byte, error) {
	id, err := c.family(family)
	if err != nil {
		return nil, err
	}
	msgs, err := c.command(id, command, attrs...)
	if err != nil || len(msgs) == 0 {
		return nil, err
	}
	return msgs[0], nil
}

// genlHeader is struct genlmsghdr of linux/genetlink.h: command, version and
// two reserved bytes. nl.Genlmsg has the first two only and sends what happens
// to lie in memory behind it; families that check the reserved bytes, as netdev
// does, then answer EINVAL now and then.
type genlHeader [nl.SizeofGenlmsg]byte

const genlVersion = 1

// Len and Serialize are described at nl.NetlinkRequestData.
func (h genlHeader) Len() int          { return len(h) }
func (h genlHeader) Serialize() []byte { return h[:] }

func (c *conn) command(family uint16, command uint8, attrs ...nl.NetlinkRequestData) ([][]byte, error) {
	data := append([]nl.NetlinkRequestData{genlHeader{command, genlVersion, 0, 0}}, attrs...)
	msgs, err := c.ask(unix.NETLINK_GENERIC, int(family), unix.NLM_F_ACK, data)
	if err != nil {
		return nil, err
	}
	for i, m := range msgs {
		msgs[i] = m[min(len(m), nl.SizeofGenlmsg):]
	}
	return msgs, nil
}

// family looks up the number of a family of generic netlink.
func (c *conn) family(name string) (uint16, error) {
	msgs, err := c.command(nl.GENL_ID_CTRL, nl.GENL_CTRL_CMD_GETFAMILY,
		nl.NewRtAttr(nl.GENL_CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated(name)))
	if errors.Is(err, unix.ENOENT) {
		return 0, fmt.Errorf("kernel without netlink family %s: %w", name, unix.EOPNOTSUPP)
	}
	if err != nil {
		return 0, fmt.Errorf("netlink family %s: %w", name, err)
	}
	for _, m := range msgs {
		attrs, err := parseAttrs(m)
		if err != nil {
			return 0, err
		}
		for _, a := range attrs {
			if a.kind == nl.GENL_CTRL_ATTR_FAMILY_ID && len(a.value) == 2 {
				return binary.NativeEndian.Uint16(a.value), nil
			}
		}
	}
	return 0, fmt.Errorf("netlink family %s: the kernel answered without its number", name)
}

func (c *conn) ethtool(command uint8, attrs ...nl.NetlinkRequestData) ([]byte, error) {
	return c.generic(unix.ETHTOOL_GENL_NAME, command, attrs...)
}

// ethtoolHeader is the attribute that says which device is meant.
func ethtoolHeader(kind, index int) *nl.RtAttr {
	h := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	h.AddRtAttr(unix.ETHTOOL_A_HEADER_DEV_INDEX, nl.Uint32Attr(uint32(index)))
	return h
}

// attr is one netlink attribute; value is part of the message.
type attr struct {
	kind  uint16
	value []byte
}

func (a attr) uint32() (uint32, bool) {
	if len(a.value) != 4 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(a.value), true
}

func (a attr) uint64() (uint64, bool) {
	if len(a.value) != 8 {
		return 0, false
	}
	return binary.NativeEndian.Uint64(a.value), true
}

var errShortAttr = errors.New("netlink attribute longer than its message")

// parseAttrs takes a sequence of netlink attributes apart (linux/netlink.h):
// length and kind of 16 bits each in the machine's order, the value, padding to
// four bytes.
func parseAttrs(b []byte) ([]attr, error) {
	var list []attr
	for len(b) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			return nil, errShortAttr
		}
		kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		list = append(list, attr{kind: kind, value: b[unix.SizeofNlAttr:size]})
		b = b[min(len(b), (size+3)&^3):]
	}
	return list, nil
}
