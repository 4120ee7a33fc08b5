package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/qdisc/fifo"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

const nic = 1 // the stack's number of its only device

// queued is how many packets wait before the link.
const queued = 1024

// node is a host of its own: a stack with the endpoint's addresses and routes.
type node struct {
	stack   *stack.Stack
	link    *link
	session *client.Session
	ips     []netip.Addr // to be reached at, without the link-local one
}

func newNode(e client.Endpoint, session *client.Session) (*node, error) {
	s := stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			arp.NewProtocol,
			ipv4.NewProtocol,
			// Addresses and routes are the port's; nothing is learned.
			ipv6.NewProtocolWithOptions(ipv6.Options{}),
		},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
		},
	})
	n := &node{stack: s, link: newLink(e, session), session: session}
	err := n.configure(e)
	if err != nil {
		n.link.stop()
		s.Destroy()
		return nil, err
	}
	return n, nil
}

func (n *node) configure(e client.Endpoint) error {
	if err := n.tune(); err != nil {
		return err
	}
	q := fifo.New(n.link, 1, queued)
	if err := n.stack.CreateNICWithOptions(nic, n.link, stack.NICOptions{QDisc: q}); err != nil {
		return fmt.Errorf("make the device: %v", err)
	}
	for _, p := range e.IPs {
		if err := n.bear(p); err != nil {
			return err
		}
		n.ips = append(n.ips, p.Addr())
	}
	if e.LinkLocal.IsValid() {
		if err := n.bear(netip.PrefixFrom(e.LinkLocal, 64)); err != nil {
			return err
		}
	}
	for _, ip := range e.Gateways {
		hop := address(ip)
		to := header.IPv4EmptySubnet
		if ip.Is6() {
			to = header.IPv6EmptySubnet
		}
		n.route(netip.PrefixFrom(ip, ip.BitLen())) // it may be outside of every prefix
		n.stack.AddRoute(tcpip.Route{Destination: to, Gateway: hop, NIC: nic})
	}
	return nil
}

// tune sets TCP up for more than a few megabits a second.
func (n *node) tune() error {
	const most = 8 << 20
	sack, moderate, cubic := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true), tcpip.CongestionControlOption("cubic")
	for _, o := range []tcpip.SettableTransportProtocolOption{
		&sack, &moderate, &cubic,
		&tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: most},
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: most},
	} {
		if err := n.stack.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("set %T: %v", o, err)
		}
	}
	return nil
}

// bear gives the device an address, and a route to its prefix.
func (n *node) bear(p netip.Prefix) error {
	err := n.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
		Protocol:          family(p.Addr()),
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: address(p.Addr()), PrefixLen: p.Bits()},
	}, stack.AddressProperties{})
	if err != nil {
		return fmt.Errorf("bear %v: %v", p, err)
	}
	n.route(p)
	return nil
}

// route makes a prefix on-link. More specific routes come first.
func (n *node) route(p netip.Prefix) {
	subnet := tcpip.AddressWithPrefix{Address: address(p.Addr()), PrefixLen: p.Bits()}.Subnet()
	n.stack.AddRoute(tcpip.Route{Destination: subnet, NIC: nic})
}

func address(ip netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(ip.AsSlice()) }

func family(ip netip.Addr) tcpip.NetworkProtocolNumber {
	if ip.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// listen listens on an address of the node.
func (n *node) listen(ip netip.Addr, port uint16) (net.Listener, error) {
	return gonet.ListenTCP(n.stack, tcpip.FullAddress{NIC: nic, Addr: address(ip), Port: port}, family(ip))
}

// dial is DialContext of a web client. It resolves no names.
func (n *node) dial(ctx context.Context, _, to string) (net.Conn, error) {
	ap, err := netip.ParseAddrPort(to)
	if err != nil {
		return nil, errors.New("write the address into the URL, for there is nobody to resolve names")
	}
	return gonet.DialContextTCP(ctx, n.stack, tcpip.FullAddress{NIC: nic, Addr: address(ap.Addr()), Port: ap.Port()}, family(ap.Addr()))
}

// close ends connections, stack and session.
func (n *node) close() {
	n.stack.Close()
	n.link.stop()
	n.stack.Destroy()
	_ = n.session.Close()
}
