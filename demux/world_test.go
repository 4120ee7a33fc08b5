package demux

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket/layers"
)

// world is the switch that the rules are tested on.
type world struct {
	*rig
	ports map[string]*testPort
}

func newWorld(t testing.TB) *world {
	w := &world{stepped(t), map[string]*testPort{}}
	hop := []netip.Addr{ip("10.0.0.254"), ip("fe80::fe")}
	w.sw.SetNextHop(0, hop[0], hopMAC)
	w.sw.SetNextHop(0, hop[1], hopMAC)
	w.add(PortConfig{Name: "A", NextHops: hop}, "10.0.0.10", "2001:db8::10", "fe80::10")
	w.add(PortConfig{Name: "B"}, "10.0.0.11", "2001:db8::11", "fe80::11")
	w.add(PortConfig{Name: "M", MAC: macM, NextHops: hop}, "10.0.0.20", "2001:db8::20", "fe80::20")
	w.add(PortConfig{Name: "P"}, "10.1.0.0/24", "10.1.0.64/26", "2001:db8:1::/64", "10.1.9.9")
	w.add(PortConfig{Name: "Q"}, "10.1.0.65", "10.1.0.66/32")
	w.add(PortConfig{Name: "V", VLAN: 7}, "10.0.0.10", "2001:db8::10")
	w.add(PortConfig{Name: "W", VLAN: 7, MAC: macW}, "10.0.0.20")
	w.add(PortConfig{Name: "N", MAC: macN, NoSourceCheck: true}, "10.0.0.22")
	w.ports["host"] = w.host
	w.settle()
	return w
}

func (w *world) add(cfg PortConfig, addrs ...string) { w.ports[cfg.Name] = w.port(cfg, addrs...) }

// rule is one frame and what must become of it.
type rule struct {
	name   string
	from   string // "wire", "host" or a port
	f      []byte
	to     string // "wire", "host", a port, or "" for none
	dst    mac    // the destination MAC that it has then; zero: unchanged
	vlan   uint16 // the tag that it bears on the wire
	drop   Reason // counted if to is ""
	answer mac    // the switch answers with this MAC instead
	bare   []byte // what is delivered, if it is not f
	quiet  bool   // swallowed
}

func (w *world) check(t *testing.T, r rule) {
	t.Helper()
	before := w.sw.Stats()
	if r.from == "wire" {
		w.links[0].Arrive(r.f)
	} else {
		w.ports[r.from].send(r.f)
	}
	w.rig.t = t
	w.settle()
	w.checkCount(t, r, &before)
	w.checkPlaces(t, r)
}

// checkPlaces looks into every queue: the frame is where it belongs, and
// nothing is anywhere else.
func (w *world) checkPlaces(t *testing.T, r rule) {
	t.Helper()
	want := r.f
	if r.bare != nil {
		want = r.bare
	}
	if r.dst != zeroMAC {
		want = withDst(want, r.dst)
	}
	for name, p := range w.ports {
		switch {
		case r.answer != zeroMAC && name == r.from:
			w.checkAnswer(t, r, p.got())
		case name == r.to:
			wantFrames(t, name, p.got(), want)
		default:
			wantFrames(t, name, p.got())
		}
	}
	switch sent := w.links[0].Sent(); {
	case r.to == "wire" && r.vlan != 0:
		wantFrames(t, "wire", sent, tag(want, r.vlan))
	case r.to == "wire":
		wantFrames(t, "wire", sent, want)
	case r.answer != zeroMAC && r.from == "wire":
		w.checkAnswer(t, r, sent)
	default:
		wantFrames(t, "wire", sent)
	}
}

func (w *world) checkCount(t *testing.T, r rule, before *Totals) {
	t.Helper()
	now := w.sw.Stats()
	diff := func(a, b uint64) int { return int(a - b) }
	want := map[string]int{"received": 1}
	switch {
	case r.answer != zeroMAC || r.quiet:
		want["answered"] = 1
	case r.to == "wire":
		want["toWire"] = 1
	case r.to == "host":
		want["toHost"] = 1
	case r.to != "":
		want["delivered"] = 1
	default:
		want[r.drop.String()] = 1
	}
	got := map[string]int{
		"received": diff(now.All.Received, before.All.Received), "answered": diff(now.All.Answered, before.All.Answered),
		"toWire": diff(now.All.ToWire, before.All.ToWire), "toHost": diff(now.All.ToHost, before.All.ToHost),
		"delivered": diff(now.All.Delivered, before.All.Delivered),
	}
	for i := range now.All.Drops {
		got[Reason(i).String()] = diff(now.All.Drops[i], before.All.Drops[i])
	}
	for k, n := range got {
		if n != want[k] {
			t.Errorf("%s: counted %d, want %d", k, n, want[k])
		}
	}
}

// checkAnswer decodes an ARP reply or a neighbour advertisement.
func (w *world) checkAnswer(t *testing.T, r rule, got [][]byte) {
	t.Helper()
	if len(got) != 1 {
		t.Errorf("%d answers, want 1", len(got))
		return
	}
	p := decode(t, got[0])
	if q, _ := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); q == nil && r.vlan != 0 || q != nil && q.VLANIdentifier != r.vlan {
		t.Errorf("the answer has tag %+v, want %d", q, r.vlan)
	}
	e := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if mac(e.SrcMAC) != r.answer {
		t.Errorf("the answer comes from %v, want %x", e.SrcMAC, r.answer)
	}
	if a, ok := p.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
		if a.Operation != 2 || mac(a.SourceHwAddress) != r.answer {
			t.Errorf("ARP answer %+v, want %x", a, r.answer)
		}
		return
	}
	a, ok := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	if !ok || len(a.Options) != 1 || mac(a.Options[0].Data) != r.answer {
		t.Errorf("no advertisement of %x: %v", r.answer, p)
	}
}

func (w *world) checkAll(t *testing.T, rules []rule) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) { w.check(t, r) })
	}
}
