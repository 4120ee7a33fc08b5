package e2e

import (
	endian "encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// The size of TestFlowsKeepTheirOrder: each of four containers has a quarter of
// the thousand flows of each direction.
const (
	flowsEach    = 250
	datagrams    = 48 // of each flow
	burst        = 8  // of them close behind each other
	together     = 5  // flows that send their bursts at the same time
	flowWindow   = 56 // datagrams of one sender on their way: four fit into a veth's ring
	flowPort     = 5000
	flowPayload  = 64
	flowPatience = time.Minute
)

// TestFlowsKeepTheirOrder: with several NIC queues and workers, a thousand
// numbered UDP flows from the wire to containers, their other directions, and a
// thousand between containers run at the same time. None is reordered or
// duplicated, and since no sender has more on its way than every queue holds,
// nothing is lost. The wire's side chooses a queue of its own for each flow, so
// that a flow comes from another lane than its other direction is bound for.
// (In native mode: a veth in generic mode does not tell apart its first two
// queues.)
func TestFlowsKeepTheirOrder(t *testing.T) {
	for _, c := range []struct {
		queues int
		attach []string
	}{{2, nil}, {4, nil}, {4, []string{"--workers", "4"}}} {
		t.Run(fmt.Sprint(c.queues, " queues ", c.attach), func(t *testing.T) {
			f := newFlows(t, c.queues, c.attach...)
			before := ask(t, f.api)
			f.run(t)
			f.check(t, before)
		})
	}
}

// flows is a machine with four containers that talk all at once.
type flows struct {
	*ledger
	queues  int
	streams []*numbered
}

// flowIPs are the containers' addresses; the third is a MAC identity.
var flowIPs = [4][2]string{{"10.9.1.1", "fd09::a"}, {"10.9.1.2", "fd09::b"}, {"10.9.1.3", "fd09::c"}, {"10.9.1.4", "fd09::d"}}

func newFlows(t *testing.T, queues int, attach ...string) *flows {
	f := &flows{ledger: &ledger{macMAC: mac{2, 0, 0, 0, 9, 3}}, queues: queues}
	f.machine = newMachine(t, nictest.Config{Queues: queues, Containers: len(flowIPs)})
	f.wireMAC, f.nicMAC = f.Wire.MAC(t, f.WireNIC), f.Host.MAC(t, f.NIC)
	f.attach(attach...)
	for i, ips := range flowIPs {
		args := []string{}
		if i == 2 {
			args = []string{"--mac", mMAC}
		}
		f.add(i, fmt.Sprint("c", i), ips[0]+"/16,"+ips[1]+"/64", args...)
		for _, ip := range []string{wire4, wire6} {
			f.Containers[i].Run(t, "ip", "neigh", "replace", ip, "lladdr", fmtMAC(f.wireMAC), "dev", "eth0", "nud", "permanent")
		}
	}
	f.wire = openAsavie(f.machine, queues, f.fromContainer)
	f.api = f.client()
	return f
}

// run has everybody send, and returns when everything that was sent is there,
// or cannot be any more.
func (f *flows) run(t *testing.T) {
	n := len(flowIPs)
	for i := range 3 * n {
		f.streams = append(f.streams, &numbered{id: i, next: make([]uint32, flowsEach)})
	}
	for i, c := range f.Containers {
		f.receive(t, c)
		for _, ip := range flowIPs[(i+1)%n] {
			nictest.Eventually(t, c.Name+" to know "+ip, func() bool { // so that no datagram waits for an answer to ARP
				_, err := c.Try("ping", "-c", "1", "-W", "5", ip)
				return err == nil
			})
		}
	}
	for i, c := range f.Containers {
		neighbour := flowIPs[(i+1)%n]
		toWire, toNeighbour := dial(t, c, wire4, wire6), dial(t, c, neighbour[0], neighbour[1])
		for _, conn := range toWire {
			go f.listen(conn)
		}
		f.start(i, "wire to "+c.Name, f.wireTalker(t, i, toWire))
		f.start(n+i, c.Name+" to wire", socketTalker(toWire, n+i))
		f.start(2*n+i, c.Name+" to its neighbour", socketTalker(toNeighbour, 2*n+i))
	}
	for _, s := range f.streams {
		s.waitForAll()
	}
}

func (f *flows) start(id int, name string, by talker) {
	f.streams[id].name = name
	go f.streams[id].send(by)
}

// check requires that no flow was disturbed, and that the daemon says the same.
func (f *flows) check(t *testing.T, before api.Stats) {
	t.Helper()
	after := ask(t, f.api)
	dropped := after.Total.Dropped() - before.Total.Dropped()
	lost := countsOf(after).minus(countsOf(before))["sockets.lost"]
	for _, s := range f.streams {
		s.check(t)
	}
	if dropped+uint64(lost) > 0 {
		t.Errorf("the daemon dropped %d frames (%v), the kernel %d", dropped, after.Total.Drops, lost)
	}
	for _, k := range after.Kernel.Sockets {
		t.Logf("queue %d: %d received, %d sent", k.Queue, k.Received, k.Sent)
		if k.Received < flowsEach*datagrams/2 {
			t.Errorf("queue %d received %d frames, so the queues were not all in use", k.Queue, k.Received)
		}
	}
}

// numbered is the flows of one sender. Each datagram bears the sender's id, its
// flow and its number.
type numbered struct {
	id             int
	name           string
	sent, received atomic.Int64
	failed         atomic.Pointer[error]
	done           atomic.Bool

	mu   sync.Mutex
	next []uint32 // by flow: the number that should come
	late []string // what came after something later, or twice
	gaps uint32
}

// talker sends one datagram of a flow, maybe later, and what it held back.
type talker struct {
	one   func(flow int, seq uint32) error
	flush func() error
}

// send has all flows send, a few at a time and in turn, as long as not too many
// datagrams are on their way: several of a flow, or none could overtake another.
func (s *numbered) send(by talker) {
	defer s.done.Store(true)
	for seq := uint32(0); seq < datagrams; seq += burst {
		for flow := 0; flow < flowsEach; flow += together {
			if err := s.sendSome(by, flow, seq); err != nil {
				s.failed.Store(&err)
				return
			}
		}
	}
}

// sendSome sends a burst of each flow from first on.
func (s *numbered) sendSome(by talker, first int, seq uint32) error {
	for n := range uint32(burst) {
		for flow := first; flow < first+together; flow++ {
			if err := by.one(flow, seq+n); err != nil {
				return err
			}
			s.sent.Add(1)
		}
	}
	return errors.Join(by.flush(), s.wait())
}

var errStuck = errors.New("what was sent does not arrive")

// wait waits until there is room in the window for another burst.
func (s *numbered) wait() error {
	for end := time.Now().Add(flowPatience); s.sent.Load()-s.received.Load() > flowWindow-burst*together; {
		if time.Now().After(end) {
			return errStuck
		}
		time.Sleep(20 * time.Microsecond)
	}
	return nil
}

// waitForAll waits until everything that was sent is there, or cannot be any
// more.
func (s *numbered) waitForAll() {
	for !s.done.Load() {
		time.Sleep(time.Millisecond)
	}
	for end := time.Now().Add(flowPatience); s.failed.Load() == nil && s.received.Load() < s.sent.Load() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// got takes one datagram in.
func (s *numbered) got(flow uint16, seq uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch want := s.next[flow]; {
	case seq < want:
		s.late = append(s.late, fmt.Sprintf("flow %d: %d after %d", flow, seq, want-1))
	default:
		s.gaps += seq - want
		s.next[flow] = seq + 1
	}
	s.received.Add(1)
}

func (s *numbered) check(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failed.Load(); err != nil {
		t.Errorf("%s: %v", s.name, *err)
	}
	if len(s.late) > 0 || s.gaps > 0 || s.sent.Load() != flowsEach*datagrams || s.received.Load() != s.sent.Load() {
		t.Errorf("%s: %d of %d datagrams arrived, %d left out, %d late or twice: %v",
			s.name, s.received.Load(), s.sent.Load(), s.gaps, len(s.late), s.late[:min(10, len(s.late))])
	}
}

// payload is what a datagram bears.
func payload(id, flow int, seq uint32) []byte {
	p := make([]byte, flowPayload)
	endian.BigEndian.PutUint16(p, uint16(id))
	endian.BigEndian.PutUint16(p[2:], uint16(flow))
	endian.BigEndian.PutUint32(p[4:], seq)
	return p
}

// arrived is a payload come back.
func (f *flows) arrived(p []byte) {
	if len(p) == flowPayload {
		f.streams[endian.BigEndian.Uint16(p)].got(endian.BigEndian.Uint16(p[2:]), endian.BigEndian.Uint32(p[4:]))
	}
}

// receive takes in what neighbours send to a container.
func (f *flows) receive(t *testing.T, c *nictest.NS) {
	t.Helper()
	var conn *net.UDPConn
	err := c.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: flowPort})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go f.listen(conn)
}

// listen takes in what comes to a socket, until it is closed.
func (f *flows) listen(conn net.Conn) {
	buf := make([]byte, 2048)
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			f.arrived(buf[:n])
		}
	}
}

// fromContainer takes in what comes to the wire.
func (f *flows) fromContainer(_ int, frame []byte) []byte {
	const eth, udp = 14, 8
	if len(frame) == eth+20+udp+flowPayload && frame[eth+9] == 17 || len(frame) == eth+40+udp+flowPayload && frame[eth+6] == 17 {
		f.arrived(frame[len(frame)-flowPayload:])
	}
	return nil
}

// dial opens a socket in a container for each flow, every other one IPv6.
func dial(t *testing.T, c *nictest.NS, to4, to6 string) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, flowsEach)
	err := c.Do(func() (err error) {
		for i := range conns {
			to := net.JoinHostPort([]string{to4, to6}[i%2], fmt.Sprint(flowPort))
			if conns[i], err = net.Dial("udp", to); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
	})
	return conns
}

func socketTalker(conns []net.Conn, id int) talker {
	return talker{
		one: func(flow int, seq uint32) error {
			_, err := conns[flow].Write(payload(id, flow, seq))
			return err
		},
		flush: func() error { return nil },
	}
}

// wireTalker sends to the sockets of a container, each flow over the queue that
// it hashes to.
func (f *flows) wireTalker(t *testing.T, i int, conns []net.Conn) talker {
	first := make([][]byte, flowsEach)
	for flow, conn := range conns {
		p := f.fromWire(flowIPs[i][flow%2])
		if i == 2 {
			p = p.toMAC(f.macMAC)
		}
		port := conn.LocalAddr().(*net.UDPAddr).Port
		first[flow] = p.datagram(t, flowPort, uint16(port), payload(i, flow, 0))
	}
	held := make([][][]byte, f.queues)
	return talker{
		one: func(flow int, seq uint32) error {
			q := flow % f.queues
			held[q] = append(held[q], renumbered(first[flow], seq))
			return nil
		},
		flush: func() error {
			for q := range held {
				if err := f.wire.send(q, held[q]...); err != nil {
					return err
				}
				held[q] = nil
			}
			return nil
		},
	}
}

// renumbered is a datagram of a flow whose number is 0, with another number,
// and the checksum that belongs to it (RFC 1624, equation 3).
func renumbered(first []byte, seq uint32) []byte {
	at := len(first) - flowPayload
	sum := uint32(^endian.BigEndian.Uint16(first[at-2:])) + seq>>16 + seq&0xffff
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	out := put(first, at+4, byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq))
	endian.BigEndian.PutUint16(out[at-2:], ^uint16(sum))
	return out
}
