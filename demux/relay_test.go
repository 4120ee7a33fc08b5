package demux

import (
	"testing"
)

// TestRelay hands a frame of the control plane to ports.
func TestRelay(t *testing.T) {
	w := newWorld(t)
	a, m, v := w.ports["A"], w.ports["M"], w.ports["V"]
	garp := whoHas(hopMAC, "10.0.0.254", "10.0.0.254")
	r := w.rig
	r.ok(r.sw.Relay(garp, 0, a.id, m.id, v.id, PortID{99, 1}, PortID{a.id.Slot, 9}))
	r.settle()
	wantFrames(t, "A", a.got(), garp)
	wantFrames(t, "M", m.got(), garp)
	wantFrames(t, "V", v.got())
	r.ok(r.sw.Relay(garp, 7, v.id))
	r.ok(r.sw.Relay(garp, 0, v.id))
	r.settle()
	wantFrames(t, "V", v.got(), garp)
	s := r.sw.Stats()
	if s.Injected.Received != 3 || s.Injected.Flooded != 2 || s.Injected.Drops[NoPort] != 1 {
		t.Errorf("%+v", s.Injected)
	}
	if st, _ := r.sw.PortStats(a.id); st.RxFrames != 1 {
		t.Errorf("A received %d frames", st.RxFrames)
	}
	for range relayDepth {
		r.ok(r.sw.Relay(garp, 0))
	}
	if err := r.sw.Relay(garp, 0); err != ErrRelayFull {
		t.Errorf("one too many: %v", err)
	}
	r.settle()
}

// TestRelayWakes is a sleeping worker that gets something to relay.
func TestRelayWakes(t *testing.T) {
	r := newRig(t, Config{Workers: 2})
	r.setHost("10.0.0.1")
	p := r.port(PortConfig{Name: "p"}, "10.0.0.10")
	r.run()
	r.quiet(p)
	r.ok(r.sw.Relay(whoHas(hopMAC, "10.0.0.254", "10.0.0.254"), 0, p.id))
	r.until("the frame arrives", func() bool { return r.sw.Stats().Injected.Flooded == 1 })
	r.stop()
	wantFrames(t, "p", p.got(), whoHas(hopMAC, "10.0.0.254", "10.0.0.254"))
}
