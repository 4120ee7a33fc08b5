package demux

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// office counts the calls of DeliverAll, of two types of lanes.
type office struct {
	t     *testing.T
	calls int
}

// all delivers to each lane in turn, and reports a call that Courier rules out.
func (c *office) all(d []frame.Delivery, of func(any) *demuxtest.Lane) {
	c.calls++
	seen := map[any]bool{}
	for i := range d {
		if seen[d[i].Lane] || len(d) > batch {
			c.t.Errorf("delivery %d of %d is to the lane of another", i, len(d))
		}
		seen[d[i].Lane] = true
		d[i].Taken, d[i].Why = of(d[i].Lane).Deliver(d[i].Frames)
	}
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
	if red.calls != 1 || blue.calls != 1 {
		t.Errorf("%d and %d calls of DeliverAll in one batch, whose lanes take turns", red.calls, blue.calls)
	}
}
