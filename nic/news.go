package nic

import (
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// news is one message of the kernel about a link or an address.
type news struct {
	kind uint16  // RTM_NEWLINK, …
	link linkMsg // of links
	addr HostAddr
}

// parseNews reads a datagram of rtnetlink messages. What is about neither
// links nor IP addresses is left out.
func parseNews(datagram []byte) ([]news, error) {
	msgs, err := syscall.ParseNetlinkMessage(datagram)
	if err != nil {
		return nil, fmt.Errorf("parse netlink messages: %w", err)
	}
	var list []news
	for _, m := range msgs {
		n := news{kind: m.Header.Type}
		ok := false
		switch n.kind {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			n.link, ok, err = parseLink(m.Data)
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			n.addr, ok = parseAddr(m.Data)
		}
		if err != nil {
			return list, err
		}
		if ok {
			list = append(list, n)
		}
	}
	return list, nil
}

// parseLink reads an ifinfomsg with its attributes. Messages of the bridge
// (AF_BRIDGE) bear the same types and say other things: there RTM_DELLINK means
// that a port left its bridge.
func parseLink(b []byte) (l linkMsg, ok bool, err error) {
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
		return l, false, nil
	}
	link, err := netlink.LinkDeserialize(nil, b)
	if err != nil {
		return l, false, fmt.Errorf("parse link message: %w", err)
	}
	return toLinkMsg(link), true, nil
}

func toLinkMsg(link netlink.Link) linkMsg {
	f := linkFacts(link)
	return linkMsg{
		index: f.Index, master: link.Attrs().MasterIndex, mtu: f.MTU, name: f.Name, kind: f.Kind,
		mac: f.MAC, permanent: f.PermanentMAC,
		ethernet: f.LinkType == "ether" && !f.Loopback,
		up:       f.Up, carrier: f.Carrier,
	}
}

// parseAddr reads an ifaddrmsg with its attributes, without interface name. On
// a point-to-point link IFA_ADDRESS is the other end's; IFA_LOCAL is ours.
func parseAddr(b []byte) (HostAddr, bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return HostAddr{}, false
	}
	msg := nl.DeserializeIfAddrmsg(b)
	attrs, err := parseAttrs(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return HostAddr{}, false
	}
	var own netip.Addr
	for _, a := range attrs {
		addr, ok := netip.AddrFromSlice(a.value)
		switch {
		case !ok:
		case a.kind == unix.IFA_LOCAL, a.kind == unix.IFA_ADDRESS && !own.IsValid():
			own = addr
		}
	}
	p := netip.PrefixFrom(own, int(msg.Prefixlen))
	return HostAddr{Index: int(msg.Index), Prefix: p}, p.IsValid()
}

// dump reads all links and addresses.
func (c *conn) dump() (dump, error) {
	links, err := c.links()
	if err != nil {
		return dump{}, err
	}
	var d dump
	for _, l := range links {
		d.links = append(d.links, toLinkMsg(l))
	}
	d.addrs, err = c.addrs()
	return d, err
}
