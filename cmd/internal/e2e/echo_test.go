package e2e

import (
	"bytes"
	"context"
	endian "encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// responder is a small IP stack on the wire: it answers ARP requests,
// neighbour solicitations, and ICMP and UDP echo for its two addresses.
type responder struct {
	t        testing.TB
	mac      mac
	v4, v6   netip.Addr
	answered atomic.Int64 // echo requests, ICMP and UDP
	replies  atomic.Int64 // echo replies to requests of its own
}

func newResponder(m *machine) *responder {
	return &responder{t: m.t, mac: m.Wire.MAC(m.t, m.WireNIC), v4: netip.MustParseAddr(wire4), v6: netip.MustParseAddr(wire6)}
}

// seen is for asavieWire.
func (r *responder) seen(_ int, frame []byte) []byte {
	if len(frame) < 14 {
		return nil
	}
	p := path{src: r.mac, dst: mac(frame[6:12])}
	switch endian.BigEndian.Uint16(frame[12:14]) {
	case uint16(layers.EthernetTypeARP):
		return r.arp(p, frame)
	case uint16(layers.EthernetTypeIPv4):
		return r.ip(p, frame, 14+12, 4, 14+20, frame[14+9])
	case uint16(layers.EthernetTypeIPv6):
		return r.ip(p, frame, 14+8, 16, 14+40, frame[14+6])
	}
	return nil
}

func (r *responder) arp(p path, frame []byte) []byte {
	asker, asked := netip.AddrFrom4([4]byte(frame[28:32])), netip.AddrFrom4([4]byte(frame[38:42]))
	if frame[21] != byte(layers.ARPRequest) || asked != r.v4 {
		return nil
	}
	p.from, p.to = r.v4, asker
	return put(p.arp(r.t, layers.ARPReply, r.mac), 32, p.dst[:]...)
}

// ip answers a packet whose addresses, of size bytes each, begin at addrs, and
// whose upper protocol begins at l4.
func (r *responder) ip(p path, frame []byte, addrs, size, l4 int, proto uint8) []byte {
	from, _ := netip.AddrFromSlice(frame[addrs : addrs+size])
	to, _ := netip.AddrFromSlice(frame[addrs+size : addrs+2*size])
	isND := proto == uint8(layers.IPProtocolICMPv6) && frame[l4] == layers.ICMPv6TypeNeighborSolicitation
	switch {
	case isND && netip.AddrFrom16([16]byte(frame[l4+8:l4+24])) == r.v6 && !from.IsUnspecified():
		p.from, p.to = r.v6, from
		return p.advertise(r.t, wire6, 0x60, r.mac)
	case isND || to != r.v4 && to != r.v6:
		return nil
	}
	out := put(put(frame, 0, append(p.dst[:], r.mac[:]...)...), addrs, append(to.AsSlice(), from.AsSlice()...)...)
	return r.echo(out, l4, layers.IPProtocol(proto))
}

// echo turns a request, whose addresses are turned already, into its reply;
// turned addresses and ports do not change a checksum, another type does.
func (r *responder) echo(out []byte, l4 int, proto layers.IPProtocol) []byte {
	switch {
	case proto == layers.IPProtocolUDP:
		copy(out[l4:], append(append([]byte(nil), out[l4+2:l4+4]...), out[l4:l4+2]...))
	case proto == layers.IPProtocolICMPv4 && out[l4] == layers.ICMPv4TypeEchoRequest:
		retype(out[l4:], layers.ICMPv4TypeEchoReply)
	case proto == layers.IPProtocolICMPv6 && out[l4] == layers.ICMPv6TypeEchoRequest:
		retype(out[l4:], layers.ICMPv6TypeEchoReply)
	case proto == layers.IPProtocolICMPv4 && out[l4] == layers.ICMPv4TypeEchoReply,
		proto == layers.IPProtocolICMPv6 && out[l4] == layers.ICMPv6TypeEchoReply:
		r.replies.Add(1)
		return nil
	default:
		return nil
	}
	r.answered.Add(1)
	return out
}

// retype changes the type of an ICMP message and its checksum with it (RFC
// 1624, equation 3).
func retype(icmp []byte, to byte) {
	sum := uint32(^endian.BigEndian.Uint16(icmp[2:]))
	sum += uint32(^(uint16(icmp[0]) << 8)) + uint32(to)<<8
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	icmp[0] = to
	endian.BigEndian.PutUint16(icmp[2:], ^uint16(sum))
}

// TestEchoOverAsavie: the wire's side is no Linux stack but a responder on
// sockets of github.com/asavie/xdp. Ports and host ping it, small and as large
// as the MTU, UDP comes back as it went, and its own echo requests are
// answered, each once.
func TestEchoOverAsavie(t *testing.T) {
	nictest.Require(t, "ping", "ethtool")
	m := usual(t, nictest.Config{})
	// The host's own datagrams would come with unfinished checksums, as veth has
	// them, and the responder cannot finish what it turns round.
	m.Host.Run(t, "ethtool", "-K", m.NIC, "tx", "off")
	r := newResponder(m)
	wire := openAsavie(m, 1, r.seen)
	for _, n := range m.nodes()[1:] {
		t.Run(n.name, func(t *testing.T) {
			ping(t, n.ns, wire4)
			ping(t, n.ns, wire4, "-M", "do", "-s", "1472")
			ping(t, n.ns, wire6, "-M", "do", "-s", "1452")
			echoUDP(t, n.ns, netip.AddrPortFrom(r.v4, 7))
			echoUDP(t, n.ns, netip.AddrPortFrom(r.v6, 7))
			requestEchos(t, m, wire, r, n)
		})
	}
}

// echoUDP sends datagrams of many sizes and gets each back.
func echoUDP(t *testing.T, ns *nictest.NS, to netip.AddrPort) {
	t.Helper()
	var conn net.Conn
	if err := ns.Do(func() (err error) { conn, err = net.Dial("udp", to.String()); return err }); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for size := 1; size < 1400; size += 7 {
		want := bytes.Repeat([]byte{byte(size)}, size)
		got := make([]byte, 2048)
		if _, err := conn.Write(want); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := conn.Read(got)
		if err != nil || !bytes.Equal(got[:n], want) {
			t.Fatalf("%d bytes to %v came back as %d: %v", size, to, n, err)
		}
	}
}

// requestEchos sends echo requests from the wire's responder to a node.
func requestEchos(t *testing.T, m *machine, wire *asavieWire, r *responder, n node) {
	t.Helper()
	const requests = 256
	dst := m.Host.MAC(t, m.NIC)
	if n.name == "mac-m" {
		dst = mac{2, 0, 0, 0, 9, 3}
	}
	for _, p := range []path{
		path{src: r.mac, dst: dst}.between(wire4, n.v4),
		path{src: r.mac, dst: dst}.between(wire6, n.v6),
	} {
		before := r.replies.Load()
		for seq := range uint16(requests) {
			if err := wire.send(0, p.echoRequest(t, 7, seq)); err != nil {
				t.Fatal(err)
			}
		}
		nictest.Eventually(t, fmt.Sprintf("%d answers of %v", requests, p.to), func() bool { return r.replies.Load()-before >= requests })
		if got := r.replies.Load() - before; got != requests {
			t.Errorf("%d requests to %v got %d answers", requests, p.to, got)
		}
	}
}

// decode takes a frame apart.
func decode(frame []byte) gopacket.Packet {
	return gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
}

// sinkUDP throws away what comes to the sink of a namespace, without a word.
func sinkUDP(t testing.TB, ns *nictest.NS) {
	t.Helper()
	config := net.ListenConfig{}
	err := ns.Do(func() error {
		conn, err := config.ListenPacket(context.Background(), "udp", fmt.Sprintf(":%d", sink))
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
