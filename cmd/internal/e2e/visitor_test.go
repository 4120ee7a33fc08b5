package e2e

import (
	endian "encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// visitor is a machine on the wire that wants something of the host itself, over
// asavieWire: it pings its addresses and calls its TCP server, IPv4 and IPv6. It
// sends nothing twice, so whatever is lost is missed.
type visitor struct {
	echos []*hostEcho
	calls []*wireCalls
}

func newVisitor(t *testing.T, l *ledger) *visitor {
	t.Helper()
	v := new(visitor)
	for _, to := range []string{host4, host6} {
		// Nobody on the wire answers for its addresses.
		l.Host.Run(t, "ip", "neigh", "replace", sameFamily(to, wire4, wire6), "lladdr", fmtMAC(l.wireMAC), "dev", l.NIC, "nud", "permanent")
		v.echos = append(v.echos, &hostEcho{path: l.fromWire(to)})
		s := listenLines(t, l.Host, to)
		v.calls = append(v.calls, &wireCalls{path: l.fromWire(to), server: s, to: uint16(s.listener.Addr().(*net.TCPAddr).Port)})
	}
	return v
}

// frames are what the visitor sends by itself next.
func (v *visitor) frames(t testing.TB) (all [][]byte) {
	for _, e := range v.echos {
		all = append(all, e.next(t))
	}
	for _, c := range v.calls {
		if syn := c.begin(t); syn != nil {
			all = append(all, syn)
		}
	}
	return all
}

// seen takes in what comes to the wire; see hearing.
func (v *visitor) seen(t testing.TB, frame []byte) []byte {
	if len(frame) < 14+40 {
		return nil
	}
	isV6, l4, proto := frame[12] == 0x86 && frame[13] == 0xdd, 14+20, frame[14+9]
	if isV6 {
		l4, proto = 14+40, frame[14+6]
	}
	switch layers.IPProtocol(proto) {
	case layers.IPProtocolICMPv4, layers.IPProtocolICMPv6:
		for _, e := range v.echos {
			e.seen(frame, l4)
		}
	case layers.IPProtocolTCP:
		for _, c := range v.calls {
			if reply := c.seen(t, frame, l4); reply != nil {
				return reply
			}
		}
	}
	return nil
}

// sent is how many frames the visitor has sent.
func (v *visitor) sent() (n int) {
	for _, e := range v.echos {
		n += int(e.sent.Load())
	}
	for _, c := range v.calls {
		c.mu.Lock()
		n += c.sent
		c.mu.Unlock()
	}
	return n
}

// goesOn waits until each call has brought 20 more lines.
func (v *visitor) goesOn(t *testing.T, when string) {
	t.Helper()
	for _, c := range v.calls {
		now := c.lineCount()
		nictest.Eventually(t, fmt.Sprintf("calls of %v to go on %s", c.path.to, when), func() bool { return c.lineCount() >= now+20 })
	}
}

// leave ends the calls when nobody calls frames any more, and waits until the
// NIC has seen everything that the visitor has sent.
func (v *visitor) leave(t *testing.T, wire *asavieWire) {
	t.Helper()
	for _, c := range v.calls {
		c.mu.Lock()
		c.leaving = true
		c.mu.Unlock()
		nictest.Eventually(t, fmt.Sprintf("the last call of %v to end", c.path.to), func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.state == idle
		})
	}
	// What is sent now is sent after all that.
	if err := wire.send(0, v.echos[0].next(t)); err != nil {
		t.Fatal(err)
	}
}

func (v *visitor) check(t *testing.T) {
	t.Helper()
	for _, e := range v.echos {
		e.check(t)
	}
	for _, c := range v.calls {
		c.check(t)
	}
}

// hostEcho pings the host from the wire. Its requests and answers are counted
// by sequence number.
type hostEcho struct {
	path
	sent     atomic.Uint32
	answered [1 << 16]atomic.Uint32
}

func (e *hostEcho) next(t testing.TB) []byte { return e.echoRequest(t, 1, uint16(e.sent.Add(1)-1)) }

func (e *hostEcho) seen(frame []byte, l4 int) {
	reply := byte(layers.ICMPv4TypeEchoReply)
	if e.to.Is6() {
		reply = layers.ICMPv6TypeEchoReply
	}
	if len(frame) >= l4+8 && frame[l4] == reply && (l4 == 14+40) == e.to.Is6() {
		e.answered[endian.BigEndian.Uint16(frame[l4+6:])].Add(1)
	}
}

func (e *hostEcho) check(t *testing.T) {
	t.Helper()
	n := e.sent.Load()
	lost := func() (seqs []uint32) {
		for seq := range n {
			if e.answered[seq].Load() != 1 {
				seqs = append(seqs, seq)
			}
		}
		return seqs
	}
	for end := time.Now().Add(auditLimit); len(lost()) > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if bad := lost(); len(bad) > 0 || n < 100 {
		t.Errorf("of %d requests to %v these were not answered once: %v", n, e.to, bad)
	}
	t.Logf("%d requests to %v", n, e.to)
}

// The states of a call.
const (
	idle = iota
	opening
	open
	closing
)

// linesEach is how many lines one call brings.
const linesEach = 20

// wireCalls are TCP connections to a lineServer of the host, one after the other,
// made by the smallest client there is: it has one line under way at a time, and
// sends nothing again.
type wireCalls struct {
	path
	server *lineServer
	to     uint16

	mu       sync.Mutex
	state    int
	leaving  bool
	from     uint16 // of this call
	snd, rcv uint32 // the next numbers of ours and of the server's
	said     int    // lines of this call that came back
	ended    int    // calls
	lines    int    // of all calls
	sent     int    // frames
	again    int    // segments that came twice
	faults   []string
}

var line = []byte("hello\n")

// begin begins a call if there is none.
func (c *wireCalls) begin(t testing.TB) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != idle || c.leaving {
		return nil
	}
	c.state, c.said = opening, 0
	c.from = uint16(20000 + c.ended)
	c.snd, c.rcv = uint32(c.from)<<16, 0
	return c.segment(t, layers.TCP{SYN: true, Options: []layers.TCPOption{{
		OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{0x05, 0x64}}}}, nil)
}

// segment is one to the server, and counts as sent.
func (c *wireCalls) segment(t testing.TB, tcp layers.TCP, data []byte) []byte {
	kind, ip := c.ip(layers.IPProtocolTCP)
	tcp.SrcPort, tcp.DstPort, tcp.Window = layers.TCPPort(c.from), layers.TCPPort(c.to), 1<<15
	tcp.Seq, tcp.Ack, tcp.ACK = c.snd, c.rcv, !tcp.SYN
	if err := tcp.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)); err != nil {
		t.Error(err)
	}
	c.sent++
	c.snd += uint32(len(data))
	if tcp.SYN || tcp.FIN {
		c.snd++
	}
	return c.frame(t, kind, ip, &tcp, gopacket.Payload(data))
}

// seen takes in one segment of the server's and answers it.
func (c *wireCalls) seen(t testing.TB, frame []byte, l4 int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if (l4 == 14+40) != c.path.to.Is6() {
		return nil
	}
	tcp, ok := decode(frame).Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !ok || tcp.SrcPort != layers.TCPPort(c.to) || tcp.DstPort != layers.TCPPort(c.from) || c.state == idle {
		return nil
	}
	switch {
	case tcp.RST:
		return c.fault("the server refused call %d", c.ended)
	case tcp.SYN && c.state == opening:
		c.state, c.rcv = open, tcp.Seq+1
		return c.segment(t, layers.TCP{PSH: true}, line)
	case tcp.SYN:
		return c.twice(t)
	case len(tcp.Payload) > 0:
		return c.data(t, tcp)
	case tcp.FIN && tcp.Seq == c.rcv && c.state == closing:
		c.rcv++
		ack := c.segment(t, layers.TCP{}, nil)
		c.state = idle
		c.ended++
		return ack
	case tcp.FIN:
		return c.twice(t)
	}
	return nil // an acknowledgement
}

// data takes in a line that came back and says the next, or goodbye.
func (c *wireCalls) data(t testing.TB, tcp *layers.TCP) []byte {
	switch {
	case tcp.Seq != c.rcv && tcp.Seq-c.rcv > 1<<31:
		return c.twice(t)
	case tcp.Seq != c.rcv || string(tcp.Payload) != string(line):
		return c.fault("call %d: %q came at %d, wanted %q at %d", c.ended, tcp.Payload, tcp.Seq, line, c.rcv)
	}
	c.rcv += uint32(len(line))
	c.lines++
	if c.said++; c.said < linesEach && !c.leaving {
		return c.segment(t, layers.TCP{PSH: true}, line)
	}
	c.state = closing
	return c.segment(t, layers.TCP{FIN: true}, nil)
}

// twice answers what came before. The server's timer ran out, or our answer was
// lost; in that case it is missed, for the line that it bore never comes back.
func (c *wireCalls) twice(t testing.TB) []byte {
	c.again++
	return c.segment(t, layers.TCP{}, nil)
}

func (c *wireCalls) fault(format string, args ...any) []byte {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
	return nil
}

func (c *wireCalls) lineCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lines
}

// check requires that every call was served to its end, and that the server sent
// nothing again that had not arrived the first time.
func (c *wireCalls) check(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.faults) > 0 {
		t.Errorf("calls of %v: %v", netip.AddrPortFrom(c.path.to, c.to), c.faults)
	}
	c.server.check(t, c.ended, c.again)
	t.Logf("%d calls of %v with %d lines; %d segments came twice", c.ended, c.path.to, c.lines, c.again)
}
