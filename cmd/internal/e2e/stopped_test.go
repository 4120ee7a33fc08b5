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
// of all classes come as fast as one core sends them, one container sends, and
// another one lies. Afterwards every frame is accounted for, also those that the
// kernel lost meanwhile, as the interfaces have counted them; no lie has got
// anywhere; and of the host's own traffic, pings and TCP, nothing was lost.
func TestConservationWhileStopped(t *testing.T) {
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			l := newLedger(t, "--mode", mode)
			guest := newVisitor(t, l)
			l.open()
			var lies, errors atomic.Int64
			seen := hearing(func(_ int, frame []byte) []byte {
				switch {
				case isMarked(frame):
					lies.Add(1)
				case isTooBig(frame):
					errors.Add(1)
				}
				return guest.seen(t, frame)
			})
			l.wire.seen.Store(&seen)
			load := startLoad(t, l, guest)
			chatter, liar := startChatter(t, l), startLiar(t, l)
			load.runs(t, 10_000)
			guest.goesOn(t, "before the daemon stops")
			stopFor(t, l.daemon, time.Second, func() {
				load.runs(t, 10_000)
				guest.goesOn(t, "while the daemon stands still")
			})
			load.runs(t, 10_000)
			guest.goesOn(t, "when the daemon runs again")
			chatter.stop(t)
			liar.stop(t)
			load.stop(t)
			guest.leave(t, l.wire)
			now := load.check(t, l)
			chatter.check(t, l, now)
			liar.check(t, now, lies.Load())
			requireWitnessed(t, l, now)
			// What left by the NIC is what went to the wire, and what the switch said itself.
			said := now["wire_frames"] - now.sum("wire.answered")
			for _, source := range []string{"a", "b", "m", "v", "w", "host"} {
				said -= now[source+".to_wire"]
			}
			if heard, missed := errors.Load(), l.wire.missed(t); said < heard || said > heard+missed {
				t.Errorf("the wire heard %d ICMP errors, and missed %d frames; by what the daemon counted they are %d", heard, missed, said)
			}
			guest.check(t)
			l.detach()
		})
	}
}

// isTooBig says that a frame tells of a packet that was too big: RFC 792 and RFC
// 4443, section 3.2.
func isTooBig(frame []byte) bool {
	const eth, v4, v6 = 14, 20, 40
	switch {
	case len(frame) > eth+v6 && frame[12] == 0x86 && frame[13] == 0xdd:
		return frame[eth+6] == byte(layers.IPProtocolICMPv6) && frame[eth+v6] == layers.ICMPv6TypePacketTooBig
	case len(frame) > eth+v4+1 && frame[12] == 0x08 && frame[13] == 0:
		return frame[eth+9] == byte(layers.IPProtocolICMPv4) && frame[eth+v4] == layers.ICMPv4TypeDestinationUnreachable && frame[eth+v4+1] == layers.ICMPv4CodeFragmentationNeeded
	}
	return false
}

// requireWitnessed requires that what the daemon has counted since the books
// were opened is what the interfaces have seen.
func requireWitnessed(t *testing.T, l *ledger, now counts) {
	t.Helper()
	seen, want := counts{}, counts{}
	for name, n := range now {
		if strings.HasPrefix(name, "seen.") {
			seen.add(name, int(n))
		}
	}
	for port := range l.eyes.members {
		// What the switch answers a container itself is not counted as the port's.
		want.add("seen."+port+".in", int(now[port+".rx"]+now[port+".answered"]))
		want.add("seen."+port+".out", int(now[port+".received"]))
		want.add("seen.host.in", int(now[port+".to_host"]))
	}
	want.add("seen.host.out", int(now["host.received"]))
	want.add("seen.stack.in", int(now.sum("kernel.passed.")))
	want.add("seen.stack.out", int(now["seen.stack.out"]))
	want.add("seen.wire.in", int(now["sockets.sent"]+now["seen.stack.out"]))
	if d := seen.differs(want); d != "" {
		t.Errorf("the interfaces have not seen what the daemon has counted:\n%s", d)
	}
}

// stopFor stops the daemon for so long, and until meanwhile is over.
func stopFor(t *testing.T, p *nictest.Process, d time.Duration, meanwhile func()) {
	t.Helper()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	nictest.Eventually(t, "the daemon to stand still", func() bool { return strings.HasPrefix(threadState(t, p.Cmd.Process.Pid), "T") })
	time.Sleep(d)
	meanwhile()
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

// load sends the frames of all classes in turn, with those of a visitor between
// them, until it is told to stop.
type load struct {
	classes []wireCase
	guest   *visitor
	sent    []int // of each class
	rounds  int
	total   atomic.Int64
	quit    chan struct{}
	done    chan error
}

// visitEvery is how many frames are between two looks at the visitor.
const visitEvery = 200

func startLoad(t *testing.T, l *ledger, guest *visitor) *load {
	g := &load{classes: l.wireCases(t), guest: guest, quit: make(chan struct{}), done: make(chan error, 1)}
	g.sent = make([]int, len(g.classes))
	go func() { g.done <- g.run(t, l.wire) }()
	return g
}

func (g *load) run(t testing.TB, wire *asavieWire) error {
	for {
		select {
		case <-g.quit:
			return nil
		default:
		}
		frames := g.guest.frames(t)
		g.rounds++
		for i := range visitEvery {
			class := (i + g.rounds) % len(g.classes)
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
// says, and that each that it redirected is accounted for. It returns what was
// counted since the books were opened.
func (g *load) check(t *testing.T, l *ledger) counts {
	t.Helper()
	for end := time.Now().Add(auditLimit); !l.hasTakenAll(t) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	s := atRest(t, l.api)
	now := l.counted(t).minus(l.base)
	kernel, want := counts{}, counts{}
	for name, n := range now {
		if strings.HasPrefix(name, "kernel.") {
			kernel.add(name, int(n))
		}
	}
	for i, c := range g.classes {
		want.add("kernel."+c.via, g.sent[i])
	}
	want.add("kernel.passed.unknown", g.guest.sent())
	if d := kernel.differs(want); d != "" {
		t.Errorf("of %d frames the program counted others than were sent:\n%s", g.total.Load(), d)
	}
	requireConserved(t, s)
	if now["sockets.lost"] == 0 {
		t.Error("the kernel lost nothing while the daemon stood still, so this proves nothing")
	}
	t.Logf("%d frames: %d redirected, %d of these lost in the kernel; %v", g.total.Load(), now.sum("kernel.redirected."), now["sockets.lost"], s.Wire.Drops)
	return now
}

// hasTakenAll says that nothing is on its way to the daemon any more, neither in
// a socket nor in an interface. It may be a while until a busy machine comes to it.
func (l *ledger) hasTakenAll(t *testing.T) bool {
	t.Helper()
	now := l.counted(t).minus(l.base)
	for port := range l.eyes.members {
		if now["seen."+port+".out"] != now[port+".received"] {
			return false
		}
	}
	return now.sum("kernel.redirected.") == now["sockets.received"]+now["sockets.lost"]
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

// check requires that the daemon took what left the container's interface and
// sent it to the wire, and that the interface says what it lost itself.
func (c *chatter) check(t *testing.T, l *ledger, now counts) {
	t.Helper()
	out := now["seen.a.out"]
	lost := linkStats(t, l.Containers[0], "eth0").TxDropped - c.before.TxDropped
	if now["a.received"] != out || now["a.to_wire"]+now["a.drops.wire_full"] != out {
		t.Errorf("the container's interface sent %d frames, the daemon took %d, of which %d went to the wire and %d found it full",
			out, now["a.received"], now["a.to_wire"], now["a.drops.wire_full"])
	}
	if out == 0 || out+int64(lost) < c.sent.Load() {
		t.Errorf("the container sent %d datagrams, its interface %d, and lost %d", c.sent.Load(), out, lost)
	}
	t.Logf("the container sent %d datagrams; %d left it, %d did not fit its queue", c.sent.Load(), out, lost)
}

// liar is a container whose root tells nothing but lies, all the time.
type liar struct {
	quit, done chan struct{}
	told       int // read when it is done
}

func startLiar(t *testing.T, l *ledger) *liar {
	t.Helper()
	c := &liar{quit: make(chan struct{}), done: make(chan struct{})}
	all := l.parties(t)
	me, others := all["m"], []party{all["a"], all["b"], all["host"], all["wire"]}
	lies := liesOf(t, me, others)
	mouth := openRaw(t, l.Containers[2], "eth0")
	go func() {
		defer close(c.done)
		for {
			select {
			case <-c.quit:
				return
			case <-time.After(200 * time.Microsecond): // its pace
			}
			if _, err := mouth.file.Write(marked(lies[c.told%len(lies)].frame, 1)); err == nil {
				c.told++
			}
		}
	}()
	return c
}

func (c *liar) stop(t *testing.T) {
	t.Helper()
	close(c.quit)
	<-c.done
}

// check requires that every lie that left the container was counted as one, and
// that nothing else became of any.
func (c *liar) check(t *testing.T, now counts, onTheWire int64) {
	t.Helper()
	out := now["seen.m.out"]
	if now["m.drops.spoofed"] != out || now["m.received"] != out || out < int64(c.told) || c.told < 100 {
		t.Errorf("%d lies were told, %d left the container, the daemon took %d and counted %d as spoofed", c.told, out, now["m.received"], now["m.drops.spoofed"])
	}
	if onTheWire > 0 {
		t.Errorf("%d lies were heard on the wire", onTheWire)
	}
	t.Logf("%d lies", out)
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
