package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// The identities of the ledger's machine: port v has the addresses of a, and w
// those of m, in a VLAN, which makes others of them.
const (
	vlan      = 100
	stranger4 = "10.9.2.9" // nobody's
	stranger6 = "fd09::99"
	smallMTU  = 1280
)

// auditLimit is how long counters may take to become what they should be.
const auditLimit = 15 * time.Second

// ledger is a machine at rest on which every frame is accounted for: what the
// daemon, and the interfaces, must have counted since base stands in want, and
// that is all.
type ledger struct {
	*machine
	api                     *control.Client
	eyes                    *interfaces
	wire                    *asavieWire
	wireMAC, nicMAC, macMAC mac
	base, want              counts

	mu    sync.Mutex
	heard counts // what came to the wire; see hear
}

// newLedger attaches, adds the ports a (IP identity), b (the same with a small
// MTU), m (MAC identity), v (IP identity in a VLAN) and w (MAC identity in it),
// and silences everybody else.
func newLedger(t *testing.T, attach ...string) *ledger {
	l := blankLedger(t, 1500, 5)
	l.attach(attach...)
	l.add(0, "a", a4+"/16,"+a6+"/64")
	l.add(1, "b", b4+"/16,"+b6+"/64", "--mtu", fmt.Sprint(smallMTU))
	l.add(2, "m", m4+"/16,"+m6+"/64", "--mac", mMAC)
	l.add(3, "v", a4+"/16,"+a6+"/64", "--vlan", fmt.Sprint(vlan))
	l.add(4, "w", m4+"/16,"+m6+"/64", "--vlan", fmt.Sprint(vlan), "--mac", mMAC)
	l.wire = openAsavie(l.machine, 1, l.hear)
	l.begin("a", "b", "m", "v", "w")
	return l
}

// blankLedger is a machine where nobody says anything by itself.
func blankLedger(t *testing.T, mtu, containers int) *ledger {
	nictest.Require(t, "nft")
	cfg := nictest.Config{MTU: mtu, Containers: containers, WireAddrs: []string{}}
	l := &ledger{machine: newMachine(t, cfg), heard: counts{}, macMAC: mac{2, 0, 0, 0, 9, 3}}
	l.Wire.SetSysctl(t, "net/ipv6/conf/"+l.WireNIC+"/disable_ipv6", "1")
	for _, ns := range append(l.Containers, l.Host) {
		hush(t, ns)
	}
	l.wireMAC, l.nicMAC = l.Wire.MAC(t, l.WireNIC), l.Host.MAC(t, l.NIC)
	return l
}

// hush keeps a namespace's stack from reporting to which groups it listens,
// which it does at random times.
func hush(t *testing.T, ns *nictest.NS) {
	t.Helper()
	ns.Run(t, "nft", `table inet hush { chain out { type filter hook output priority 0;
		icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } drop; }; }`)
}

// begin opens the books when all ports are there; names are theirs.
func (l *ledger) begin(names ...string) {
	for _, ns := range append(l.Containers, l.Host) {
		sinkUDP(l.t, ns)
	}
	l.api, l.eyes = l.client(), l.watchInterfaces(names...)
	l.open()
}

// open starts the books anew.
func (l *ledger) open() {
	l.t.Helper()
	atRest(l.t, l.api)
	l.base, l.want = l.counted(l.t), counts{}
}

// counted is what the daemon has counted, and the interfaces ("seen.…").
func (l *ledger) counted(t testing.TB) counts {
	t.Helper()
	c := countsOf(ask(t, l.api))
	for name, n := range l.eyes.counted(t) {
		c.add("seen."+name, int(n))
	}
	return c
}

// audit requires that the daemon soon has counted what is in the books, each
// frame under its name, and nothing else; and that the interfaces have seen it.
// If not, the books begin anew.
func (l *ledger) audit(t *testing.T) (ok bool) {
	t.Helper()
	diff := "never looked"
	for end := time.Now().Add(auditLimit); diff != "" && time.Now().Before(end); {
		diff = l.counted(t).minus(l.base).differs(l.want)
	}
	if diff != "" {
		t.Errorf("counters are not as they should be:\n%s", diff)
		l.open()
	}
	return diff == ""
}

// enter puts n frames of a class from the wire into the books.
func (l *ledger) enter(c wireCase, n int) {
	l.want.add("kernel."+c.via, n)
	if c.fate == "" {
		l.want.add("seen.stack.in", n)
		return
	}
	l.want.add("sockets.received", n)
	l.enterFlow("wire", c.fate, c.port, n)
}

// enterFlow enters n frames of a source, what became of them, and the port that
// they were for, if any.
func (l *ledger) enterFlow(source, fate, port string, n int) {
	l.want.add(source+".received", n)
	l.want.add(source+"."+fate, n)
	if source != "wire" {
		l.want.add("seen."+source+".out", n)
	}
	switch fate {
	case "delivered":
		l.want.add(port+".rx", n)
		l.want.add("seen."+port+".in", n)
	case "to_host":
		l.want.add("seen.host.in", n)
	case "to_wire":
		l.enterSent(n)
	case "answered":
		if source == "wire" {
			l.enterSent(n)
		} else {
			l.want.add("seen."+source+".in", n)
		}
	case "drops.too_big":
		l.want.add(port+".rx_drops.too_big", n)
	}
}

// enterSent enters n frames that left by the NIC.
func (l *ledger) enterSent(n int) {
	l.want.add("wire_frames", n)
	l.want.add("sockets.sent", n)
	l.want.add("seen.wire.in", n)
}

// enterErrors enters the ICMP errors about n frames that were too big, which who
// sent them has got. Their rate is limited, so there may be less, but at least
// one. How many there were is asked of whoever got them, when the daemon rests.
func (l *ledger) enterErrors(t *testing.T, to string, n int) {
	t.Helper()
	atRest(t, l.api)
	got := "seen." + to + ".in"
	told := int(l.counted(t).minus(l.base)[got] - l.want[got])
	if told < 1 || told > n {
		t.Errorf("%d ICMP errors about %d frames", told, n)
	}
	if to != "wire" {
		l.want.add(got, told)
		return
	}
	l.enterSent(told)
	if l.wire != nil {
		l.requireHeard(t, "too big", told)
	}
}

// requireHeard requires that the wire soon has heard something exactly n times.
func (l *ledger) requireHeard(t *testing.T, what string, n int) {
	t.Helper()
	for end := time.Now().Add(auditLimit); l.hears(what) < n && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if got := l.hears(what); got != n {
		l.mu.Lock()
		defer l.mu.Unlock()
		t.Errorf("the wire heard %q %d times, wanted %d; all that it heard: %v", what, got, n, l.heard)
	}
}

// hears is how much of a kind came to the wire since forget.
func (l *ledger) hears(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.heard[what])
}

func (l *ledger) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.heard)
}

// hear notes what comes to the wire: the answers and the errors that the
// daemon makes by what they say, everything else by its length.
func (l *ledger) hear(_ int, frame []byte) []byte {
	what, tag := fmt.Sprintf("%d bytes", len(frame)), ""
	for _, layer := range decode(frame).Layers() {
		switch p := layer.(type) {
		case *layers.Dot1Q:
			tag = fmt.Sprintf(" in VLAN %d", p.VLANIdentifier)
		case *layers.ARP:
			if p.Operation == layers.ARPReply {
				what = isAt(p.SourceProtAddress, p.SourceHwAddress)
			}
		case *layers.ICMPv6NeighborAdvertisement:
			for _, o := range p.Options {
				what = isAt(p.TargetAddress.To16(), o.Data)
			}
		case *layers.ICMPv4:
			if p.TypeCode.Code() == layers.ICMPv4CodeFragmentationNeeded && p.TypeCode.Type() == layers.ICMPv4TypeDestinationUnreachable {
				what = "too big"
			}
		case *layers.ICMPv6:
			if p.TypeCode.Type() == layers.ICMPv6TypePacketTooBig {
				what = "too big"
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard.add(what+tag, 1)
	return nil
}

func isAt(ip net.IP, addr []byte) string {
	return fmt.Sprintf("%v is at %v", ip, net.HardwareAddr(addr))
}

// fromWire is a path from the wire to an address behind the NIC's MAC.
func (l *ledger) fromWire(to string) path {
	return path{src: l.wireMAC, dst: l.nicMAC}.between(sameFamily(to, wire4, wire6), to)
}

func sameFamily(as, v4, v6 string) string {
	if netip.MustParseAddr(as).Is4() {
		return v4
	}
	return v6
}
