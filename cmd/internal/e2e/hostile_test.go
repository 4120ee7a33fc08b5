package e2e

import (
	"crypto/rand"
	endian "encoding/binary"
	mathrand "math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestHostLoopbackIsOutOfReach: a host that lets its interfaces route to its
// loopback, as container platforms set it, serves nothing of it to containers;
// what listens on the host's address is reached.
func TestHostLoopbackIsOutOfReach(t *testing.T) {
	m := usual(t, nictest.Config{})
	reachAll(t, m.nodes())
	m.Host.SetSysctl(t, "net/ipv4/conf/xdmx0/route_localnet", "1")
	private, public := listenUDP(t, m.Host, "127.0.0.1:7007"), listenUDP(t, m.Host, host4+":7007")
	all := m.parties(t)
	for i, name := range []string{"a", "m"} {
		mouth := openRaw(t, all[name].ns, all[name].dev)
		way := honest(all[name], all["host"])
		for _, dst := range []mac{all["host"].mac, m.Host.MAC(t, m.NIC)} {
			mouth.send(t, way.toMAC(dst).between(all[name].v4, "127.0.0.1").datagram(t, 4000, 7007, []byte("lie")))
		}
		mouth.send(t, way.datagram(t, 4000, 7007, []byte{byte(i)}))
		buf := make([]byte, 16)
		if n, err := hear(public, 10*time.Second, buf); err != nil || n != 1 {
			t.Fatalf("what the host may hear of %s: %q, %v", name, buf[:n], err)
		}
		if n, err := hear(private, 50*time.Millisecond, buf); err == nil {
			t.Errorf("the host's loopback heard %q from %s", buf[:n], name)
		}
	}
}

func hear(conn net.PacketConn, patience time.Duration, buf []byte) (int, error) {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	n, _, err := conn.ReadFrom(buf)
	return n, err
}

func listenUDP(t *testing.T, ns *nictest.NS, addr string) net.PacketConn {
	t.Helper()
	var conn net.PacketConn
	err := ns.Do(func() (err error) {
		conn, err = net.ListenPacket("udp4", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestWireCannotMoveNeighbours: a machine on the wire that says to containers
// that their neighbours on this host, or the host, are elsewhere is not heard.
func TestWireCannotMoveNeighbours(t *testing.T) {
	m := usual(t, nictest.Config{})
	reachAll(t, m.nodes())
	all := m.parties(t)
	wire := all["wire"]
	mouth, number := openRaw(t, wire.ns, wire.dev), 0
	for _, name := range []string{"a", "b", "m"} {
		to := all[name]
		before, ear := neighbours(t, to.ns), openRaw(t, to.ns, to.dev)
		for _, o := range all {
			if o.name == "wire" {
				continue
			}
			p, p6 := honest(wire, to), honest6(wire, to)
			for _, f := range [][]byte{
				p.between(o.v4, to.v4).arp(t, layers.ARPReply, evil),
				p.between(o.v4, to.v4).toMAC(mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}).arp(t, layers.ARPReply, evil),
				p.between(o.v4, "10.9.7.7").arp(t, layers.ARPRequest, evil),
				p6.advertise(t, o.v6, 0x20, evil),
				p6.advertise(t, o.v6, 0x60, evil),
				p6.between(o.v6, to.v6).solicit(t, "fd09::77"),
			} {
				mouth.send(t, marked(f, number))
				number++
			}
		}
		mouth.send(t, marked(honest(wire, to).udp(t, 32), 9999))
		nictest.Eventually(t, "the truth to reach "+name, func() bool { return ear.numbers()[9999] == 1 })
		if heard := len(ear.numbers()); heard != 1 {
			t.Errorf("%s heard %d claims", name, heard-1)
		}
		checkCache(t, to, before)
	}
	reachAll(t, m.nodes())
}

// TestArbitraryHeaders: root in a container sends arbitrary bytes behind
// arbitrary virtio headers while it turns every knob of its interface; the
// daemon lives, the books balance, and its neighbours do not notice.
func TestArbitraryHeaders(t *testing.T) {
	m := usual(t, nictest.Config{})
	reachAll(t, m.nodes())
	bad, all := m.Containers[0], m.parties(t)
	mouth := openVNET(t, bad)
	stop := time.Now().Add(3 * time.Second)
	for i := 0; time.Now().Before(stop); i++ {
		sendArbitrary(mouth, all, honest(all["a"], all["b"]).udp(t, 1000))
		if i%500 == 0 {
			turnKnob(bad, i/500)
		}
	}
	for _, c := range []string{"ip link set eth0 mtu 1500", "ip link set eth0 up"} {
		_, _ = bad.Try("sh", "-c", c)
	}
	for _, n := range []string{b4, m4, wire4, host4} {
		m.Containers[1].Run(t, "ping", "-c", "3", "-i", "0.01", "-W", "5", n)
	}
	if p := m.portStats("a"); p.Tx.ToWire+p.Tx.Delivered == 0 || p.Tx.Drops["spoofed"] == 0 || p.Tx.Drops["malformed"] == 0 {
		t.Errorf("the noise was not what it should be: %+v", p.Tx)
	}
	nictest.Eventually(t, "the books to balance", func() bool {
		for _, p := range m.stats().Ports {
			if p.Tx.Unaccounted() != 0 {
				return false
			}
		}
		return true
	})
}

// turnKnob is what root can do to the interface, one thing at a time.
func turnKnob(ns *nictest.NS, i int) {
	knobs := []string{
		"ip link set eth0 mtu 9000", "ip link set eth0 mtu 68", "ip link set eth0 mtu 65521", "ip link set eth0 mtu 1500",
		"ip link set eth0 address 02:66:66:66:66:66", "ip link set eth0 txqueuelen 0", "ip link set eth0 txqueuelen 5000",
		"ethtool -K eth0 tx off", "ethtool -K eth0 tx on", "ip link set eth0 down; ip link set eth0 up",
		"ip link set eth0 promisc on", "tc qdisc add dev eth0 clsact", "ip link set eth0 name evil0; ip link set evil0 name eth0",
	}
	_, _ = ns.Try("sh", "-c", knobs[i%len(knobs)])
}

// openVNET opens a packet socket whose frames are behind virtio headers.
func openVNET(t *testing.T, ns *nictest.NS) *os.File {
	t.Helper()
	var f *os.File
	index := ns.Index(t, "eth0")
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), "packet socket")
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// sendArbitrary sends one frame, half true and half noise; what the kernel
// refuses is not sent.
func sendArbitrary(f *os.File, all map[string]party, frame []byte) {
	b := make([]byte, 10, 10+len(frame))
	b = append(b, frame...)
	for range mathrand.IntN(4) {
		b[10+mathrand.IntN(54)] = byte(mathrand.Uint32())
	}
	if mathrand.IntN(8) == 0 {
		_, _ = rand.Read(b[10+12:])
	}
	b[0] = byte(mathrand.IntN(2))
	if b[0] != 0 {
		endian.NativeEndian.PutUint16(b[6:], uint16(14+mathrand.IntN(60)))
		endian.NativeEndian.PutUint16(b[8:], uint16(mathrand.IntN(30)))
		b[1] = []byte{0, 1, 4, 5}[mathrand.IntN(4)]
		endian.NativeEndian.PutUint16(b[2:], uint16(mathrand.IntN(100)))
		endian.NativeEndian.PutUint16(b[4:], uint16(1+mathrand.IntN(600)))
	}
	_, _ = f.Write(b)
}
