package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// eachClass is how many frames of a class are sent: more than three batches of
// a worker.
const eachClass = 200

// TestConservation sends a known number of frames of every class from the wire,
// from containers and from the host; each must be counted where its class says,
// and nowhere else.
func TestConservation(t *testing.T) {
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			l := newLedger(t, "--mode", mode)
			t.Run("wire", l.sendFromWire)
			t.Run("containers", l.sendFromContainers)
			t.Run("host", l.sendFromHost)
			t.Run("nobody there", l.sendToNobody)
			l.audit(t)
			requireConserved(t, ask(t, l.api))
			l.detach()
		})
	}
}

func (l *ledger) sendFromWire(t *testing.T) {
	for _, c := range l.wireCases(t) {
		t.Run(c.name, func(t *testing.T) {
			l.forget()
			if c.fate == "drops.too_big" {
				time.Sleep(100 * time.Millisecond) // 100 ICMP errors a second: leave room for ten
			}
			if err := l.wire.send(0, times(c.frames, eachClass)...); err != nil {
				t.Fatal(err)
			}
			l.enter(c, eachClass)
			if c.fate == "drops.too_big" {
				l.enterErrors(t, "wire", eachClass)
			}
			l.audit(t)
			if c.says != "" {
				l.requireHeard(t, c.says, eachClass)
			}
		})
	}
}

func times(frames [][]byte, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = frames[i%len(frames)]
	}
	return out
}

func (l *ledger) sendFromContainers(t *testing.T) {
	ports := []string{"a", "b", "m", "v", "w"}
	raw := map[string]*rawSocket{}
	for i, name := range ports {
		raw[name] = openRaw(t, l.Containers[i], "eth0")
	}
	for _, c := range l.portCases(t) {
		t.Run(c.from+" "+c.name, func(t *testing.T) {
			l.forget()
			l.sendSlowly(t, raw[c.from], c, eachClass)
			if c.fate == "drops.too_big" {
				l.enterErrors(t, c.from, eachClass)
			}
			l.audit(t)
			if c.says != "" {
				l.requireHeard(t, c.says, eachClass)
			}
		})
	}
}

// sendSlowly sends no more than the interface's own queue holds before the
// daemon has taken it.
func (l *ledger) sendSlowly(t *testing.T, s *rawSocket, c portCase, n int) {
	t.Helper()
	const some = 50
	for range n / some {
		for range some {
			s.send(t, c.frame)
		}
		l.enterFlow(c.from, c.fate, c.to, some)
		key := c.from + ".received"
		nictest.Eventually(t, "the daemon to take what the container sent", func() bool {
			return countsOf(ask(t, l.api)).minus(l.base)[key] >= l.want[key]
		})
	}
}

// sendFromHost: the host's datagrams reach their containers; what it says
// to nobody on the host port is lost by name.
func (l *ledger) sendFromHost(t *testing.T) {
	for port, to := range map[string]string{"a": a4, "b": b6, "m": m4} {
		var conn net.Conn
		err := l.Host.Do(func() (err error) { conn, err = net.Dial("udp", net.JoinHostPort(to, fmt.Sprint(sink))); return err })
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for range 100 {
			if _, err := conn.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
		}
		l.enterFlow("host", "delivered", port, 100)
		l.audit(t)
	}
	raw := openRaw(t, l.Host, hostPortName)
	self := path{src: l.Host.MAC(t, hostPortName), dst: mac{1, 0, 0x5e, 0, 0, 1}}.between(host4, "224.0.0.1")
	for _, frame := range [][]byte{self.udp(t, 10), self.toMAC(mac{2, 9, 9, 9, 9, 9}).udp(t, 10), self.toMAC(l.nicMAC).between(host4, stranger4).udp(t, 10)} {
		for range 100 {
			raw.send(t, frame)
		}
		l.enterFlow("host", "drops.no_port", "", 100)
		l.audit(t)
	}
}

// sendToNobody: frames for a container whose interface is down, and for the
// wire while the NIC is, are lost by name.
func (l *ledger) sendToNobody(t *testing.T) {
	l.Containers[1].Run(t, "ip", "link", "set", "eth0", "down")
	if err := l.wire.send(0, times(one(l.fromWire(b4).udp(t, 64)), eachClass)...); err != nil {
		t.Fatal(err)
	}
	l.want.add("kernel.redirected.ip4", eachClass)
	l.want.add("sockets.received", eachClass)
	l.want.add("b.rx_drops.gone", eachClass)
	l.enterFlow("wire", "drops.gone", "", eachClass)
	l.audit(t)

	l.Host.Run(t, "ip", "link", "set", l.NIC, "down")
	nictest.Eventually(t, "the daemon to see that the NIC is down", func() bool { return strings.Contains(l.daemon.Output(), "down") })
	lost := portCase{"a", "", l.fromPort(a4, wire4).toMAC(l.wireMAC).udp(t, 64), "drops.wire_full", "", ""}
	near := portCase{"a", "", l.fromPort(a4, m4).toMAC(l.macMAC).udp(t, 64), "delivered", "m", ""}
	raw := openRaw(t, l.Containers[0], "eth0")
	// The kernel tells only whoever sends: the first frames wait in its ring.
	l.sendSlowly(t, raw, lost, some)
	l.open()
	for _, c := range []portCase{lost, near, lost} {
		l.sendSlowly(t, raw, c, eachClass)
		l.audit(t)
	}
}

const hostPortName = "xdmx0"
