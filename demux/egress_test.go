package demux

import (
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
)

// TestWireDown is a NIC that lends no transmit buffers: what is for the wire
// is lost, the rest goes on.
func TestWireDown(t *testing.T) {
	w := newWorld(t)
	w.links[0].SetRoom(0)
	w.reopen(w.links[0])
	var toB [][]byte
	for i := range 100 {
		w.ports["A"].send(udp(nicMAC, peerMAC, a4, far4, i))
		toB = append(toB, udp(nicMAC, nicMAC, a4, b4, i))
		w.ports["A"].send(toB[i])
	}
	w.ports["A"].send(udp(nicMAC, hostMAC, a4, host4, 1))
	w.settle()
	wantFrames(t, "B", w.ports["B"].got(), toB...)
	st, _ := w.sw.PortStats(w.ports["A"].id)
	if st.Tx.Drops[WireFull] != 100 || st.Tx.Dropped() != 100 || st.Tx.Delivered != 100 || st.Tx.ToHost != 1 {
		t.Errorf("A's books: %+v", st.Tx)
	}
	w.links[0].Arrive(whoHas(peerMAC, "10.0.0.99", "10.0.0.10"))
	w.settle()
	if s := w.sw.Stats(); s.Wire.Drops[WireFull] != 1 || s.Wire.Answered != 0 || s.BuiltLost != 1 {
		t.Errorf("an answer that could not leave: %+v, %d built were lost", s.Wire, s.BuiltLost)
	}
	w.links[0].SetRoom(-1)
	w.ports["A"].send(udp(nicMAC, peerMAC, a4, far4, 7))
	w.settle()
	wantFrames(t, "wire", w.links[0].Sent(), udp(nicMAC, peerMAC, a4, far4, 7))
}

// TestNoLink is a worker without a NIC.
func TestNoLink(t *testing.T) {
	w := newWorld(t)
	w.reopen()
	w.ports["A"].send(udp(nicMAC, nicMAC, a4, b4, 1), udp(nicMAC, peerMAC, a4, far4, 1))
	w.settle()
	wantFrames(t, "B", w.ports["B"].got(), udp(nicMAC, nicMAC, a4, b4, 1))
	if s := w.sw.Stats().Ports; s.Drops[WireFull] != 1 {
		t.Errorf("%+v", s)
	}
}

// TestWireShort is a NIC with few transmit buffers left: as much as they hold
// is taken, nothing is lost while there is one, and nothing is reordered.
func TestWireShort(t *testing.T) {
	w := newWorld(t)
	w.links[0].SetRoom(3)
	w.reopen(w.links[0])
	var want [][]byte
	for i := range 7 {
		want = append(want, udp(nicMAC, peerMAC, a4, far4, i))
	}
	w.ports["A"].send(want...)
	k := w.sw.workers[0]
	k.enter()
	k.activate(w.ports["A"].id.Token())
	k.breath()
	if n := w.ports["A"].lanes[0].Queued(); n != 4 {
		t.Errorf("%d frames wait in the container's queue, want 4", n)
	}
	w.links[0].SetRoom(100)
	w.settle()
	wantFrames(t, "wire", w.links[0].Sent(), want...)
}

// TestManyToWire sends more than one reservation holds, interleaved with local
// frames, from several ports.
func TestManyToWire(t *testing.T) {
	w := newWorld(t)
	want := map[string][][]byte{}
	for i := range 500 {
		a, m := udp(nicMAC, peerMAC, a4, far4, i), udp(macM, peerMAC, m4, far4, i)
		v := udp(nicMAC, peerMAC, a4, far4, i)
		w.ports["A"].send(a, udp(nicMAC, nicMAC, a4, b4, i))
		w.ports["M"].send(m)
		w.ports["V"].send(v)
		want["A"], want["M"], want["V"] = append(want["A"], a), append(want["M"], m), append(want["V"], tag(v, 7))
	}
	w.settle()
	got := map[string][][]byte{}
	for _, f := range w.links[0].Sent() {
		switch {
		case mac(f[6:12]) == macM:
			got["M"] = append(got["M"], f)
		case f[12] == 0x81:
			got["V"] = append(got["V"], f)
		default:
			got["A"] = append(got["A"], f)
		}
	}
	for name := range want {
		wantFrames(t, name, got[name], want[name]...)
	}
	if n := len(w.ports["B"].got()); n != 500 {
		t.Errorf("B got %d frames", n)
	}
	if s := w.sw.Stats(); s.WireFrames != 1500 || s.WireBytes != bytesIn(want["A"])+bytesIn(want["M"])+bytesIn(want["V"]) {
		t.Errorf("%d frames, %d bytes were counted for the wire", s.WireFrames, s.WireBytes)
	}
}

// TestWireMTUChanges is a NIC that takes larger frames from now on, while
// buffers of the old size are reserved.
func TestWireMTUChanges(t *testing.T) {
	w := newWorld(t)
	w.add(PortConfig{Name: "J", MTU: 9000}, "10.0.0.31")
	w.ports["S"] = w.portWith(PortConfig{Name: "S"}, demuxtest.LaneConfig{Offloads: allOffloads}, "10.0.0.32")
	w.ports["A"].send(udp(nicMAC, nicMAC, a4, b4, 1)) // leaves a reservation open
	w.settle()
	w.ports["B"].got()
	w.ok(w.sw.SetHost(HostConfig{NICMAC: nicMAC, HostMAC: hostMAC, GatewayMAC: gateMAC, WireMTU: 9000, Lanes: w.host.cfg.Lanes}))
	w.check(t, rule{from: "S", f: udp(nicMAC, peerMAC, ip("10.0.0.32"), far4, 8000), to: "wire"})
	w.check(t, rule{from: "J", f: udp(nicMAC, peerMAC, ip("10.0.0.31"), far4, 8000), to: "wire"})
	w.ok(w.sw.SetHost(HostConfig{NICMAC: nicMAC, HostMAC: hostMAC, GatewayMAC: gateMAC, WireMTU: 1500, Lanes: w.host.cfg.Lanes}))
	w.ports["J"].send(udp(nicMAC, peerMAC, ip("10.0.0.31"), far4, 8000))
	w.settle()
	if s := w.sw.Stats().Ports; s.Drops[TooBig] != 1 {
		t.Errorf("%+v", s)
	}
}

// TestReservationsReturn is a worker that ends: the link has all its buffers.
func TestReservationsReturn(t *testing.T) {
	w := newWorld(t)
	w.ports["A"].send(udp(nicMAC, nicMAC, a4, b4, 1))
	w.settle()
	w.reopen()
	w.links[0].Idle()
}
