package demux

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// office counts the calls of DeliverAll, of two types of lanes.
type office struct {
	t     *testing.T
	calls atomic.Int64
	never any // a lane that must not be delivered to together with others
}

// all delivers to each lane in turn, and reports a call that Courier rules out. It
// goes on behind a refused frame, as the kernel does with TAPs.
func (c *office) all(d []frame.Delivery, of func(any) *demuxtest.Lane) {
	c.calls.Add(1)
	seen := map[any]bool{}
	for i := range d {
		if seen[d[i].Lane] || len(d) > batch || d[i].Lane == c.never {
			c.t.Errorf("delivery %d of %d is to the lane of another", i, len(d))
		}
		seen[d[i].Lane] = true
		wholeByWhole(of(d[i].Lane), &d[i])
	}
}

// wholeByWhole delivers every frame, and moves those that were taken before those
// that were not.
func wholeByWhole(l *demuxtest.Lane, o *frame.Delivery) {
	o.Taken, o.Why = 0, frame.Accepted
	var refused []frame.Frame
	for at := 0; at < len(o.Frames); {
		whole := o.Frames[at : at+wholeFrame(o.Frames[at:])]
		at += len(whole)
		if _, why := l.Deliver(whole); why != frame.Accepted {
			if o.Why == frame.Accepted || o.Why == frame.TooBig {
				o.Why = why
			}
			refused = append(refused, whole...)
			continue
		}
		o.Taken += copy(o.Frames[o.Taken:], slices.Clone(whole))
	}
	copy(o.Frames[o.Taken:], refused)
}

type (
	redLane struct {
		*demuxtest.Lane
		c *office
	}
	blueLane struct {
		*demuxtest.Lane
		c *office
	}
)

func (l redLane) DeliverAll(d []frame.Delivery) {
	l.c.all(d, func(a any) *demuxtest.Lane { return a.(redLane).Lane })
}

func (l blueLane) DeliverAll(d []frame.Delivery) {
	l.c.all(d, func(a any) *demuxtest.Lane { return a.(blueLane).Lane })
}

// TestCouriers: a batch for lanes of two types that are delivered to together and
// of one that is not, among them a lane that is soon full and one that takes no
// large frame. Everybody gets his own, in order, and every frame is counted.
func TestCouriers(t *testing.T) {
	r := stepped(t)
	red, blue := &office{t: t}, &office{t: t}
	var lanes []*demuxtest.Lane
	const ports = 12
	for i := range ports {
		lc := demuxtest.LaneConfig{}
		switch i {
		case 5:
			lc.Depth = 2
		case 7:
			lc.MaxFrame = 200
		}
		l := demuxtest.NewLane(t, nil, lc)
		lanes = append(lanes, l)
		lane := []Lane{l, redLane{l, red}, blueLane{l, blue}}[i%3]
		_, err := r.sw.Attach(PortConfig{Name: fmt.Sprint(i), Addrs: []netip.Prefix{netip.PrefixFrom(benchAddr(100+i), 32)}, Lanes: []Lane{lane}})
		r.ok(err)
	}
	var sent [ports][][]byte
	for n := range 5 {
		for i := range ports {
			f := udp(peerMAC, nicMAC, far4, benchAddr(100+i), 10*n+i+400*(n%2))
			sent[i] = append(sent[i], f)
			r.links[0].Arrive(f)
		}
	}
	r.settle()
	for i, l := range lanes {
		want := sent[i]
		switch i {
		case 5:
			want = want[:2]
		case 7:
			want = [][]byte{want[0], want[2], want[4]}
		}
		got := l.Got()
		for k := range got {
			if k >= len(want) || !bytes.Equal(got[k].Data, want[k]) {
				t.Fatalf("port %d: frame %d of %d is another", i, k, len(got))
			}
		}
		if len(got) != len(want) {
			t.Errorf("port %d got %d frames, want %d", i, len(got), len(want))
		}
	}
	s := r.sw.Stats().All
	if s.Received != 5*ports || s.Delivered != 5*ports-5 || s.Drops[Full] != 3 || s.Drops[TooBig] != 2 || s.Dropped() != 5 {
		t.Errorf("%+v", s)
	}
	if red.calls.Load() != 1 || blue.calls.Load() != 1 {
		t.Errorf("%d and %d calls of DeliverAll in one batch, whose lanes take turns", red.calls.Load(), blue.calls.Load())
	}
}

// TestCouriersJoin is connections of several ports in one batch, each joined to a
// super-frame in pieces and all delivered in one call: everybody gets his own bytes,
// also beside one that takes no super-frame after all, and each segment is counted.
func TestCouriersJoin(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		r := stepped(t)
		desk := &office{t: t}
		const ports, picky, segments = 5, 2, 6
		var lanes []*demuxtest.Lane
		for i := range ports {
			lc := demuxtest.LaneConfig{Offloads: gathers}
			if i == picky {
				lc.Refuse = func(f *frame.Frame) frame.Refusal {
					if f.GSO != frame.GSONone {
						return frame.TooBig
					}
					return frame.Accepted
				}
			}
			l := demuxtest.NewLane(t, nil, lc)
			lanes = append(lanes, l)
			_, err := r.sw.Attach(PortConfig{Name: fmt.Sprint(i), Foreign: foreign, Addrs: []netip.Prefix{netip.PrefixFrom(benchAddr(100+i), 32)}, Lanes: []Lane{redLane{l, desk}}})
			r.ok(err)
		}
		var all [][]byte
		trains := make([][][]byte, ports)
		for i := range ports {
			trains[i] = train(nicMAC, far4, benchAddr(100+i), uint16(1000+i), segments)
		}
		for k := range segments {
			for i := range ports {
				all = append(all, trains[i][k])
			}
		}
		for i := range ports {
			all = append(all, udp(peerMAC, nicMAC, far4, benchAddr(100+i), 50+i))
		}
		r.links[0].Arrive(all...)
		r.settle()
		for i, l := range lanes {
			got := l.Got()
			want := 2 // the super-frame and the datagram
			if i == picky {
				want = 1
			}
			if len(got) != want {
				t.Fatalf("foreign %v: port %d got %d frames", foreign, i, len(got))
			}
			if i != picky && !bytes.Contains(got[0].Data, payloadOf(trains[i])) {
				t.Errorf("foreign %v: port %d got the bytes of another", foreign, i)
			}
			if !bytes.Equal(got[want-1].Data, all[len(all)-ports+i]) {
				t.Errorf("foreign %v: port %d got another datagram", foreign, i)
			}
		}
		s := r.sw.Stats().All
		if s.Received != uint64(len(all)) || s.Delivered != uint64(len(all)-segments) || s.Drops[TooBig] != segments {
			t.Errorf("foreign %v: %+v", foreign, s)
		}
		if n := desk.calls.Load(); n != 1 {
			t.Errorf("foreign %v: they were delivered to in %d calls", foreign, n)
		}
	}
}

// payloadOf is what a train of IPv4 carries.
func payloadOf(train [][]byte) (b []byte) {
	for _, f := range train {
		b = append(b, f[54:54+trainSize]...)
	}
	return b
}
