package e2e

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestConservationJumbo: frames that take several chunks of packet memory, both
// ways, arrive whole or are counted. asavie/xdp knows no chains of chunks, so
// the wire's side is a packet socket.
func TestConservationJumbo(t *testing.T) {
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			l := blankLedger(t, 9000, 3)
			l.attach("--mode", mode)
			l.add(0, "a", a4+"/16,"+a6+"/64")
			l.add(1, "b", b4+"/16,"+b6+"/64", "--mtu", "1500")
			l.add(2, "m", m4+"/16,"+m6+"/64", "--mac", mMAC)
			l.begin("a", "b", "m")
			wire := openRaw(t, l.Wire, l.WireNIC)
			inside := map[string]*rawSocket{}
			for i, name := range []string{"a", "b", "m"} {
				inside[name] = openRaw(t, l.Containers[i], "eth0")
			}
			for _, c := range l.jumboCases(t) {
				t.Run(c.name, func(t *testing.T) { l.sendJumbo(t, wire, inside, c) })
			}
			for _, c := range l.jumboReplies(t) {
				t.Run(c.from+" "+c.name, func(t *testing.T) { l.replyJumbo(t, wire, inside, c) })
			}
			requireConserved(t, ask(t, l.api))
			l.detach()
		})
	}
}

// jumboCases come from the wire: just above one chunk, two and a half, and as
// large as the MTU.
func (l *ledger) jumboCases(t *testing.T) (all []wireCase) {
	for _, size := range []int{4100, 8000, 8960} {
		a, a6, m := l.fromWire(a4), l.fromWire(a6), l.fromWire(m4).toMAC(l.macMAC)
		name := func(s string) string { return fmt.Sprint(s, ", ", size) }
		all = append(all,
			wireCase{name("IP identity v4"), one(a.udp(t, size)), "redirected.ip4", "delivered", "a", ""},
			wireCase{name("IP identity v6"), one(a6.udp(t, size-20)), "redirected.ip6", "delivered", "a", ""},
			wireCase{name("MAC identity"), one(m.udp(t, size)), "redirected.mac", "delivered", "m", ""},
			wireCase{name("the host's own"), one(l.fromWire(host4).udp(t, size)), "passed.unknown", "", "", ""},
			wireCase{name("stranger"), one(l.fromWire(stranger6).udp(t, size-20)), "passed.unknown", "", "", ""},
			wireCase{name("another VLAN"), one(a.tagged(vlan).udp(t, size)), "passed.unknown", "", "", ""},
			wireCase{name("larger than the port takes"), one(l.fromWire(b4).udp(t, size)), "redirected.ip4", "drops.too_big", "b", ""},
			wireCase{name("longer than its frame"), one(put(a.udp(t, size), 16, 0x26, 0)), "redirected.ip4", "drops.malformed", "", ""},
		)
	}
	return all
}

// jumboReplies come from containers.
func (l *ledger) jumboReplies(t *testing.T) []portCase {
	a, m := l.fromPort(a4, wire4).toMAC(l.wireMAC), path{src: l.macMAC, dst: l.nicMAC}.between(m6, a6)
	return []portCase{
		{"a", "to the wire", a.udp(t, 8960), "to_wire", "", ""},
		{"a", "to the wire v6", a.between(a6, wire6).udp(t, 4100), "to_wire", "", ""},
		{"m", "to a neighbour", m.udp(t, 8940), "delivered", "a", ""},
		{"m", "to one that takes less", m.between(m4, b4).udp(t, 8000), "drops.too_big", "b", ""},
		{"a", "to the host", l.fromPort(a4, host4).udp(t, 8960), "to_host", "", ""},
	}
}

// some is how many jumbo frames are sent at once: a veth holds 256.
const some = 50

func (l *ledger) sendJumbo(t *testing.T, wire *rawSocket, inside map[string]*rawSocket, c wireCase) {
	for i := range some {
		wire.send(t, marked(c.frames[0], i))
	}
	l.enter(c, some)
	if c.fate == "drops.too_big" {
		l.enterErrors(t, "wire", some)
	}
	if l.audit(t) && c.fate == "delivered" {
		inside[c.port].requireAll(t, c.frames[0], some)
	}
}

func (l *ledger) replyJumbo(t *testing.T, wire *rawSocket, inside map[string]*rawSocket, c portCase) {
	for i := range some {
		inside[c.from].send(t, marked(c.frame, i))
	}
	l.enterFlow(c.from, c.fate, c.to, some)
	if c.fate == "drops.too_big" {
		l.enterErrors(t, c.from, some)
	}
	switch ok := l.audit(t); {
	case ok && c.fate == "to_wire":
		wire.requireAll(t, c.frame, some)
	case ok && c.fate == "delivered":
		inside[c.to].requireAll(t, c.frame, some)
	}
}

// requireAll requires that frames with the marks 0 to n came, and nothing of
// them was changed; and forgets them.
func (s *rawSocket) requireAll(t *testing.T, frame []byte, n int) {
	t.Helper()
	nictest.Eventually(t, fmt.Sprintf("%d marked frames", n), func() bool { return len(s.numbers()) >= n })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, got := range s.heard {
		if want := marked(frame, numberOf(got)); !bytes.Equal(got, want) {
			t.Errorf("%d bytes came, not the %d that were sent", len(got), len(want))
		}
	}
	if len(s.heard) != n {
		t.Errorf("%d frames came, wanted %d", len(s.heard), n)
	}
	s.heard = nil
}
