package e2e

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestConservationWhileStopped: the daemon is stopped for a second while frames
// of all classes come as fast as one core sends them, and a container sends too.
// Afterwards every frame is accounted for, also those that the kernel lost
// meanwhile, and the host's own echo replies are all there.
func TestConservationWhileStopped(t *testing.T) {
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			l := newLedger(t, "--mode", mode)
			echo := &hostEcho{path: l.fromWire(host4)}
			// Nobody on the wire answers for its address.
			l.Host.Run(t, "ip", "neigh", "replace", wire4, "lladdr", fmtMAC(l.wireMAC), "dev", l.NIC, "nud", "permanent")
			seen := hearing(echo.seen)
			l.wire.seen.Store(&seen)
			load := startLoad(t, l, echo)
			chatter := startChatter(t, l)
			load.runs(t, 10_000)
			stopFor(t, l.daemon, time.Second, load)
			load.runs(t, 10_000)
			chatter.stop(t)
			load.stop(t)
			load.check(t, l)
			chatter.check(t, l)
			echo.check(t)
			l.detach()
		})
	}
}

// stopFor stops the daemon and lets the load go on meanwhile.
func stopFor(t *testing.T, p *nictest.Process, d time.Duration, l *load) {
	t.Helper()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	nictest.Eventually(t, "the daemon to stand still", func() bool { return strings.HasPrefix(threadState(t, p.Cmd.Process.Pid), "T") })
	time.Sleep(d)
	l.runs(t, 10_000)
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// threadState is the state of a process as /proc/PID/stat has it.
func threadState(t testing.TB, pid int) string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest
}

// hostEcho pings the host from the wire. Its requests and answers are counted
// by sequence number.
type hostEcho struct {
	path
	sent     atomic.Uint32
	answered [1 << 16]atomic.Uint32
}

func (e *hostEcho) next(t testing.TB) []byte { return e.echoRequest(t, 1, uint16(e.sent.Add(1)-1)) }

func (e *hostEcho) seen(_ int, frame []byte) []byte {
	if icmp, ok := decode(frame).Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok && icmp.TypeCode.Type() == layers.ICMPv4TypeEchoReply {
		e.answered[icmp.Seq].Add(1)
	}
	return nil
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
	for end := time.Now().Add(5 * time.Second); len(lost()) > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if bad := lost(); len(bad) > 0 || n < 100 {
		t.Errorf("of %d requests to the host these were not answered once: %v", n, bad)
	}
	t.Logf("%d requests to the host, all answered", n)
}

// load sends the frames of all classes in turn, with a request to the host now
// and then, until it is told to stop.
type load struct {
	classes []wireCase
	sent    []int // of each class
	total   atomic.Int64
	quit    chan struct{}
	done    chan error
}

// between two requests to the host, in frames.
const pingEvery = 200

func startLoad(t *testing.T, l *ledger, echo *hostEcho) *load {
	g := &load{quit: make(chan struct{}), done: make(chan error, 1)}
	for _, c := range l.wireCases(t) {
		if c.fate != "answered" { // the daemon's answers would crowd the host's
			g.classes = append(g.classes, c)
		}
	}
	g.classes = append(g.classes, wireCase{name: "echo request", via: "passed.unknown"})
	g.sent = make([]int, len(g.classes))
	go func() { g.done <- g.run(t, l.wire, echo) }()
	return g
}

func (g *load) run(t testing.TB, wire *asavieWire, echo *hostEcho) error {
	last := len(g.classes) - 1
	for {
		select {
		case <-g.quit:
			return nil
		default:
		}
		frames := [][]byte{echo.next(t)}
		g.sent[last]++
		for i := range pingEvery {
			class := (i + g.sent[last]) % last
			of := g.classes[class].frames
			frames = append(frames, of[g.sent[class]%len(of)])
			g.sent[class]++
		}
		if err := wire.send(0, frames...); err != nil {
			return err
		}
		g.total.Add(int64(len(frames)))
	}
}

// runs waits until n more frames were sent.
func (g *load) runs(t *testing.T, n int64) {
	t.Helper()
	goal := g.total.Load() + n
	nictest.Eventually(t, "frames to be sent", func() bool { return g.total.Load() >= goal })
}

func (g *load) stop(t *testing.T) {
	t.Helper()
	close(g.quit)
	if err := <-g.done; err != nil {
		t.Fatal(err)
	}
}

// check requires that the program has counted every frame where its class
// says, and that each that it redirected is accounted for.
func (g *load) check(t *testing.T, l *ledger) {
	t.Helper()
	s := atRest(t, l.api)
	now := countsOf(s).minus(l.base)
	kernel, want := counts{}, counts{}
	for name, n := range now {
		if strings.HasPrefix(name, "kernel.") {
			kernel.add(name, int(n))
		}
	}
	for i, c := range g.classes {
		want.add("kernel."+c.via, g.sent[i])
	}
	if d := kernel.differs(want); d != "" {
		t.Errorf("of %d frames the program counted others than were sent:\n%s", g.total.Load(), d)
	}
	requireConserved(t, s)
	if now["sockets.lost"] == 0 {
		t.Error("the kernel lost nothing while the daemon stood still, so this proves nothing")
	}
	t.Logf("%d frames: %d redirected, %d of these lost in the kernel; %v", g.total.Load(), now.sum("kernel.redirected."), now["sockets.lost"], s.Wire.Drops)
}

// chatter is a container that sends to the wire all the time.
type chatter struct {
	conn   net.Conn
	before netlink.LinkStatistics
	sent   atomic.Int64
	quit   chan struct{}
	done   chan struct{}
}

func startChatter(t *testing.T, l *ledger) *chatter {
	c := &chatter{quit: make(chan struct{}), done: make(chan struct{})}
	ns := l.Containers[0]
	ns.Run(t, "ip", "neigh", "replace", wire4, "lladdr", fmtMAC(l.wireMAC), "dev", "eth0", "nud", "permanent")
	c.before = linkStats(t, ns, "eth0")
	if err := ns.Do(func() (err error) { c.conn, err = net.Dial("udp", wire4+":9"); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.conn.Close() })
	go c.run()
	return c
}

func (c *chatter) run() {
	defer close(c.done)
	for {
		select {
		case <-c.quit:
			return
		case <-time.After(100 * time.Microsecond): // its pace
		}
		if _, err := c.conn.Write(make([]byte, 100)); err == nil {
			c.sent.Add(1)
		}
	}
}

func (c *chatter) stop(t *testing.T) {
	t.Helper()
	close(c.quit)
	<-c.done
}

// check requires that the daemon took what left the container's interface, and
// that the interface says what it lost itself.
func (c *chatter) check(t *testing.T, l *ledger) {
	t.Helper()
	s, now := ask(t, l.api), linkStats(t, l.Containers[0], "eth0")
	out, lost := now.TxPackets-c.before.TxPackets, now.TxDropped-c.before.TxDropped
	for _, p := range s.Ports {
		if p.Name == "a" && p.Tx.Received != out+uint64(l.base["a.received"]) {
			t.Errorf("the container's interface sent %d frames, the daemon took %d", out, int64(p.Tx.Received)-l.base["a.received"])
		}
	}
	if out+lost < uint64(c.sent.Load()) {
		t.Errorf("the container sent %d datagrams, its interface %d, and lost %d", c.sent.Load(), out, lost)
	}
	t.Logf("the container sent %d datagrams; %d left it, %d did not fit its queue", c.sent.Load(), out, lost)
}

func linkStats(t testing.TB, ns *nictest.NS, ifname string) (s netlink.LinkStatistics) {
	t.Helper()
	err := ns.Do(func() error {
		handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer handle.Close()
		link, err := handle.LinkByName(ifname)
		if err == nil {
			s = *link.Attrs().Statistics
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
