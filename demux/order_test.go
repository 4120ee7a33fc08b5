package demux

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// flows counts the numbered frames of many flows where they arrive. Each flow
// is told by its source port.
type flows struct {
	t    testing.TB
	mu   sync.Mutex
	last map[uint16]uint32
	n    int
}

func newFlows(t testing.TB) *flows { return &flows{t: t, last: map[uint16]uint32{}} }

// take notes a datagram over IPv4: each flow's numbers come without a gap.
func (f *flows) take(data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	flow, n := binary.BigEndian.Uint16(data[34:]), binary.BigEndian.Uint32(data[streamTag:])
	if n != f.last[flow]+1 {
		f.t.Errorf("flow %d: frame %d came after %d", flow, n, f.last[flow])
	}
	f.last[flow] = n
	f.n++
}

func (f *flows) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// numbered makes frame n of a flow out of a datagram over IPv4.
func numbered(f []byte, flow uint16, n uint32) []byte {
	out := append([]byte(nil), f...)
	binary.BigEndian.PutUint16(out[34:], flow)
	binary.BigEndian.PutUint32(out[streamTag:], n)
	return out
}

// TestOrder runs 1,000 flows at once from the wire, to the wire and between
// ports, on 2 and on 4 workers, with a lane for each worker and with fewer.
// None is reordered, nothing is lost or twice there.
func TestOrder(t *testing.T) {
	for _, workers := range []int{2, 4} {
		for _, shared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d workers, shared lanes %v", workers, shared), func(t *testing.T) {
				order(t, workers, shared)
			})
		}
	}
}

const (
	orderPorts = 8
	orderFlows = 1000 // per direction
	orderEach  = 12   // frames of a flow
)

type orderRig struct {
	*rig
	ports []*testPort
	in    *flows // from the wire
	local *flows
	out   *flows // to the wire
}

func order(t *testing.T, workers int, shared bool) {
	o := &orderRig{newRig(t, Config{Workers: workers}), nil, newFlows(t), newFlows(t), newFlows(t)}
	o.setHost("10.0.0.1")
	for i := range orderPorts {
		o.add(i, shared)
	}
	for _, l := range o.links {
		l.OnSend(o.out.take)
	}
	o.run()
	var wg sync.WaitGroup
	for w := range o.links {
		wg.Go(func() { o.fromWire(w) })
	}
	for i := range o.ports {
		wg.Go(func() { o.fromPort(i) })
	}
	wg.Wait()
	o.quiet(o.ports...)
	o.stop()
	for name, f := range map[string]*flows{"wire to port": o.in, "port to port": o.local, "port to wire": o.out} {
		if f.count() != orderFlows*orderEach || len(f.last) != orderFlows {
			t.Errorf("%s: %d frames of %d flows, want %d of %d", name, f.count(), len(f.last), orderFlows*orderEach, orderFlows)
		}
	}
	if s := o.sw.Stats(); s.All.Dropped() != 0 {
		t.Errorf("lost: %v", s.All.Drops)
	}
}

// add attaches a port; shared leaves it one lane only, at one of the workers.
func (o *orderRig) add(i int, shared bool) {
	take := func(f *frame.Frame) {
		if netip.AddrFrom4([4]byte(f.Data[26:30])) == far4 {
			o.in.take(f.Data)
		} else {
			o.local.take(f.Data)
		}
	}
	p := o.newPort(PortConfig{Name: fmt.Sprint(i), Addrs: []netip.Prefix{netip.PrefixFrom(benchAddr(10+i), 32)}}, demuxtest.LaneConfig{Take: take})
	for w := range p.cfg.Lanes {
		if shared && w != i%len(p.lanes) {
			p.cfg.Lanes[w] = nil
		}
	}
	ids, err := o.sw.Attach(p.cfg)
	o.ok(err)
	p.id = ids[0]
	o.ports = append(o.ports, p)
}

// fromWire has the flows of one NIC queue arrive, as RSS would spread them.
func (o *orderRig) fromWire(w int) {
	for n := range uint32(orderEach) {
		for flow := w; flow < orderFlows; flow += len(o.links) {
			o.links[w].Arrive(numbered(udp(peerMAC, nicMAC, far4, benchAddr(10+flow%orderPorts), 20), uint16(flow), n+1))
			// A mailbox is as long as a queue: who floods it loses frames.
			o.until("there is room", func() bool { return o.links[w].Waiting() < 64 && o.sw.Stats().All.InFlight < 200 })
		}
	}
}

// fromPort sends the flows of one container: each by one lane, as a TAP
// steers them.
func (o *orderRig) fromPort(i int) {
	p, me := o.ports[i], benchAddr(10+i)
	lanes := p.own()
	for n := range uint32(orderEach) {
		for flow := i; flow < orderFlows; flow += orderPorts {
			l := lanes[flow/orderPorts%len(lanes)]
			l.Send(numbered(udp(nicMAC, peerMAC, me, far4, 20), uint16(flow), n+1),
				numbered(udp(nicMAC, nicMAC, me, benchAddr(10+(i+1)%orderPorts), 20), uint16(flow), n+1))
			o.until("there is room", func() bool { return l.Queued() < 64 && o.sw.Stats().All.InFlight < 200 })
		}
	}
}

// own are the lanes that the port has.
func (p *testPort) own() (lanes []*demuxtest.Lane) {
	for w, l := range p.cfg.Lanes {
		if l != nil {
			lanes = append(lanes, p.lanes[w])
		}
	}
	return lanes
}

// TestMailbox is a port with one lane for two workers: what the other worker
// has for it goes by mailbox, and too much of it is lost as mailbox_full.
func TestMailbox(t *testing.T) {
	r := newRig(t, Config{Workers: 2})
	r.setHost("10.0.0.1")
	p := r.newPort(PortConfig{Name: "p", Addrs: []netip.Prefix{pfx("10.0.0.10/32")}}, demuxtest.LaneConfig{})
	p.cfg.Lanes[1] = nil
	ids, err := r.sw.Attach(p.cfg)
	r.ok(err)
	p.id = ids[0]
	r.begin()
	other, owner := r.sw.workers[1], r.sw.workers[0]
	var want [][]byte
	for i := range boxLetters + 10 {
		want = append(want, udp(peerMAC, nicMAC, far4, a4, i))
	}
	r.links[1].Arrive(want...)
	for other.breath() > 0 {
	}
	s := r.sw.Stats()
	if s.Wire.InFlight != boxLetters || s.Wire.Drops[MailboxFull] != 10 || s.Wire.Unaccounted() != 0 {
		t.Errorf("%+v", s.Wire)
	}
	for owner.breath() > 0 {
	}
	wantFrames(t, "p", p.got(), want[:boxLetters]...)
	if s := r.sw.Stats(); s.Wire.InFlight != 0 || s.Wire.Delivered != boxLetters {
		t.Errorf("%+v", s.Wire)
	}
	r.links[1].Arrive(want[0])
	other.breath()
	r.ok(r.sw.Detach(p.id))
	heir := r.port(PortConfig{Name: "heir"}, "10.0.0.10")
	if heir.id.Slot != p.id.Slot {
		t.Errorf("the slot %d was not given away again", p.id.Slot)
	}
	owner.breath()
	wantFrames(t, "who has the slot now", heir.got())
	if s := r.sw.Stats(); s.Wire.Drops[Gone] != 1 || s.Wire.InFlight != 0 {
		t.Errorf("a frame for a port that went: %+v", s.Wire)
	}
	r.balanced()
}

// TestMailboxRuns mixes frames of several sources, for several ports, counted
// in several ways, in one mailbox.
func TestMailboxRuns(t *testing.T) {
	r := newRig(t, Config{Workers: 2})
	r.setHost("10.0.0.1")
	attach := func(name, addr string, lane int) *testPort {
		p := r.newPort(PortConfig{Name: name, Addrs: []netip.Prefix{netip.PrefixFrom(ip(addr), 32)}}, demuxtest.LaneConfig{})
		p.cfg.Lanes[1-lane] = nil
		ids, err := r.sw.Attach(p.cfg)
		r.ok(err)
		p.id = ids[0]
		return p
	}
	p, q, from := attach("p", "10.0.0.10", 1), attach("q", "10.0.0.11", 1), attach("from", "10.0.0.12", 0)
	r.begin()
	garp := whoHas(hopMAC, "10.0.0.254", "10.0.0.254")
	var toP, toQ [][]byte
	for i := range 5 {
		toP = append(toP, udp(peerMAC, nicMAC, far4, a4, 100+i), garp, udp(nicMAC, nicMAC, ip("10.0.0.12"), a4, 200+i))
		toQ = append(toQ, udp(peerMAC, nicMAC, far4, b4, 300+i))
		r.links[0].Arrive(toP[3*i], toQ[i])
		r.sw.workers[0].breath()
		r.ok(r.sw.Relay(garp, 0, p.id))
		r.sw.workers[0].chores(0)
		from.lanes[0].Send(toP[3*i+2])
		r.sw.workers[0].activate(from.id.Token())
		r.sw.workers[0].breath()
	}
	r.settle()
	for name, want := range map[*testPort][][]byte{p: toP, q: toQ} {
		var got [][]byte
		for _, f := range name.lanes[1].Got() {
			got = append(got, f.Data)
		}
		wantFrames(t, name.name, got, want...)
	}
	s := r.sw.Stats()
	if s.Wire.Delivered != 10 || s.Injected.Flooded != 5 || s.Ports.Delivered != 5 {
		t.Errorf("%+v", s)
	}
}

// TestMailboxRing fills a mailbox with frames of odd sizes, again and again:
// they come out as they went in, in order.
func TestMailboxRing(t *testing.T) {
	b := newMailbox(boxLetters, boxBytes)
	next, seen := 0, 0
	size := func(i int) int { return 1 + (i*7919)%60_000 }
	for seen < 3000 {
		f := frame.Frame{Data: make([]byte, size(next))}
		for i := range f.Data {
			f.Data[i] = byte(next)
		}
		f.VLAN = uint16(next)
		if b.post(&f, letter{id: PortID{uint32(next), 1}}) {
			next++
			continue
		}
		n := b.pending()/2 + 1
		for i := range n {
			l, f := b.letter(i)
			if l.id.Slot != uint32(seen) || f.VLAN != uint16(seen) || len(f.Data) != size(seen) ||
				f.Data[0] != byte(seen) || f.Data[len(f.Data)-1] != byte(seen) {
				t.Fatalf("letter %d is %v with %d bytes", seen, l.id, len(f.Data))
			}
			seen++
		}
		b.done(n)
		b.discard()
	}
	if b.post(&frame.Frame{Data: make([]byte, boxBytes+1)}, letter{}) {
		t.Error("a frame larger than the mailbox went in")
	}
}

// TestMailboxRefits: letters that lie in a mailbox while the port gets another
// lane arrive in the shape that the new one takes, and in order: checksums
// complete, super-frames cut, nothing above the MTU.
func TestMailboxRefits(t *testing.T) {
	const payload, size = 6000, 1400
	super := super(tcp(peerMAC, nicMAC, far4, a4, payload), false, size)
	plain, sum := udp(peerMAC, nicMAC, far4, a4, 30), udp(peerMAC, nicMAC, far4, a4, 31)
	long := udp(peerMAC, nicMAC, far4, a4, 1400)
	for name, c := range map[string]struct {
		lane   demuxtest.LaneConfig
		mtu    int
		came   func(t *testing.T, got [][]byte, raw []frame.Frame)
		drops  int // as too_big
		remote bool
	}{
		"the same offloads": {demuxtest.LaneConfig{Offloads: allOffloads}, 1500, func(t *testing.T, got [][]byte, raw []frame.Frame) {
			if len(raw) != 5 || raw[1].Flags&frame.NeedsChecksum == 0 || raw[2].GSO != frame.GSOTCPv4 {
				t.Errorf("%d frames came: %+v", len(raw), raw)
			}
		}, 0, false},
		"no offloads": {demuxtest.LaneConfig{MaxFrame: 1514}, 1500, func(t *testing.T, got [][]byte, raw []frame.Frame) {
			if len(got) != 9 {
				t.Fatalf("%d frames came, want 9", len(got))
			}
			wantFrames(t, "whole ones", [][]byte{got[0], got[1], got[7], got[8]}, plain, sum, long, plain)
			checkSegments(t, got[2:7], payload, size, 0)
			for i, f := range raw {
				if f.Flags&frame.NeedsChecksum != 0 || f.GSO != frame.GSONone {
					t.Errorf("frame %d bears %+v", i, f.Meta)
				}
			}
		}, 0, false},
		"a smaller MTU": {demuxtest.LaneConfig{Offloads: allOffloads}, 1000, func(t *testing.T, got [][]byte, _ []frame.Frame) {
			if len(got) != 3 {
				t.Errorf("%d frames came, want 3", len(got))
			}
		}, 2, false},
		"another worker's lane": {demuxtest.LaneConfig{MaxFrame: 1514}, 1500, func(t *testing.T, got [][]byte, _ []frame.Frame) {
			if len(got) != 9 {
				t.Errorf("%d frames came, want 9", len(got))
			}
		}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{Workers: 3})
			r.setHost("10.0.0.1")
			p := r.newPort(PortConfig{Name: "p", Addrs: []netip.Prefix{pfx("10.0.0.10/32")}}, demuxtest.LaneConfig{Offloads: allOffloads})
			p.cfg.Lanes[1], p.cfg.Lanes[2] = nil, nil
			ids, err := r.sw.Attach(p.cfg)
			r.ok(err)
			r.begin()
			r.links[1].ArriveFrame(frame.Frame{Data: plain})
			r.links[1].ArriveFrame(needsSum(sum))
			r.links[1].ArriveFrame(super)
			r.links[1].Arrive(long, plain)
			r.sw.workers[1].breath()
			next := r.newPort(PortConfig{Name: "p", Addrs: p.cfg.Addrs, MTU: c.mtu}, c.lane)
			next.id = ids[0]
			for w := range next.cfg.Lanes {
				if at := map[bool]int{true: 2}[c.remote]; w != at {
					next.cfg.Lanes[w] = nil
				}
			}
			r.ok(r.sw.Update(ids[0], next.cfg))
			r.settle()
			raw := append(next.lanes[0].Got(), next.lanes[2].Got()...)
			var got [][]byte
			for _, f := range raw {
				got = append(got, f.Data)
			}
			c.came(t, got, raw)
			st, err := r.sw.PortStats(ids[0])
			r.ok(err)
			s := r.sw.Stats()
			if int(s.Wire.Drops[TooBig]) != c.drops || int(st.RxDrops[TooBig]) != c.drops ||
				int(s.Wire.Delivered) != 5-c.drops || s.Wire.InFlight != 0 {
				t.Errorf("%+v, %+v", s.Wire, st)
			}
		})
	}
}

// TestMailboxIsFull fills a mailbox to its last byte and its last letter: not one
// more goes in before the oldest was reaped, and then just what that had.
func TestMailboxIsFull(t *testing.T) {
	post := func(b *mailbox, n int) bool { return b.post(&frame.Frame{Data: make([]byte, n)}, letter{}) }
	b := newMailbox(8, 64)
	if !post(b, 40) || post(b, 25) || !post(b, 24) || post(b, 1) {
		t.Error("64 bytes hold 40 and 24, and nothing else")
	}
	b.done(1)
	if post(b, 1) {
		t.Error("there is room before the letter was reaped")
	}
	b.discard()
	if post(b, 41) || !post(b, 40) || post(b, 1) {
		t.Error("where 40 bytes lay, 40 have room")
	}
	b = newMailbox(2, 64)
	if !post(b, 1) || !post(b, 0) || post(b, 0) {
		t.Error("two letters are two")
	}
}
