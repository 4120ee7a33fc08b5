package demux

import (
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// liar is a lane whose container sends frames that contradict themselves.
type liar struct {
	*demuxtest.Lane
	malformed uint64
}

func (l *liar) Lost() (tooBig, malformed uint64) {
	tooBig, _ = l.Lane.Lost()
	return tooBig, l.malformed
}

// TestLaneLosses: what a lane consumes and does not yield counts as the port's
// frames and as lost, once, also after the lane was replaced and after the port
// was detached.
func TestLaneLosses(t *testing.T) {
	r := stepped(t)
	p := r.port(PortConfig{Name: "p"}, "10.0.0.10")
	r.settle()
	check := func(when string, attached bool, received, tooBig, malformed uint64) {
		t.Helper()
		all := r.sw.Stats().Ports
		if all.Received != received || all.Drops[TooBig] != tooBig || all.Drops[Malformed] != malformed {
			t.Errorf("%s: %d received, %d too_big, %d malformed of all ports, want %d, %d, %d", when,
				all.Received, all.Drops[TooBig], all.Drops[Malformed], received, tooBig, malformed)
		}
		if st, err := r.sw.PortStats(p.id); attached && (err != nil || st.Tx != all) {
			t.Errorf("%s: the port says %+v, all ports %+v (%v)", when, st.Tx, all, err)
		}
		r.balanced()
	}
	huge, small := make([]byte, scratchFrame+1), udp(nicMAC, peerMAC, a4, far4, 1)
	p.send(huge, small, huge)
	r.settle()
	check("two of three were too large", true, 3, 2, 0)
	second := &liar{demuxtest.NewLane(t, func() { r.waits[0].Ring(p.id.Token()) }, demuxtest.LaneConfig{}), 0}
	cfg := p.cfg
	cfg.Lanes = []Lane{second}
	r.ok(r.sw.Update(p.id, cfg))
	check("after the lane was replaced", true, 3, 2, 0)
	second.Send(huge, small)
	second.malformed = 7
	r.settle()
	check("the second lane", true, 12, 3, 7)
	cfg.MTU = 1400
	r.ok(r.sw.Update(p.id, cfg))
	check("after the lane was kept", true, 12, 3, 7)
	r.ok(r.sw.Detach(p.id))
	check("after the port went", false, 12, 3, 7)
	r.host.send(huge)
	r.settle()
	r.setHost("10.0.0.1")
	if s := r.sw.Stats().Host; s.Received != 1 || s.Drops[TooBig] != 1 {
		t.Errorf("the host's: %+v", s)
	}
}

// TestStatsDuringDetach reads the counters while a port is on its way out and a
// worker still has frames of it in work: these are counted all the same.
func TestStatsDuringDetach(t *testing.T) {
	r := newRig(t, Config{Workers: 1})
	r.setHost("10.0.0.1")
	in, out := make(chan struct{}), make(chan struct{})
	from := r.port(PortConfig{Name: "from"}, "10.0.0.10")
	r.portWith(PortConfig{Name: "to"}, demuxtest.LaneConfig{Take: func(*frame.Frame) { in <- struct{}{}; <-out }}, "10.0.0.11")
	r.run()
	from.send(udp(nicMAC, nicMAC, a4, b4, 1))
	<-in
	done := make(chan error)
	go func() { done <- r.sw.Detach(from.id) }()
	r.until("the port is out of the table", func() bool { _, err := r.sw.PortStats(from.id); return err != nil })
	r.sw.Stats()
	close(out)
	r.ok(<-done)
	r.stop()
	if s := r.sw.Stats().Ports; s.Received != 1 || s.Delivered != 1 {
		t.Errorf("of the one frame that was sent: %+v", s)
	}
}
