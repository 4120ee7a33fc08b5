package demux

import (
	"testing"

	"github.com/google/gopacket/layers"
)

// TestTooBig is every way on which a frame is too long for where it goes, and
// the message to its sender.
func TestTooBig(t *testing.T) {
	small := mac{0x02, 0xcc, 0, 0, 0, 0x30}
	for _, c := range []struct {
		name, from string
		f          []byte
		vlan       uint16
		mtu        int
	}{
		{name: "wire to port, IPv4", from: "wire", f: udp(peerMAC, small, far4, ip("10.0.0.30"), 1300), mtu: 1280},
		{name: "wire to port, IPv6", from: "wire", f: udp(peerMAC, small, far6, ip("2001:db8::30"), 1300), mtu: 1280},
		{name: "wire to port in a VLAN", from: "wire", f: tag(udp(peerMAC, nicMAC, far4, a4, 1300), 7), vlan: 7, mtu: 1000},
		{name: "wire to port by its address", from: "wire", f: udp(peerMAC, nicMAC, far4, ip("10.0.0.32"), 1300), mtu: 1280},
		{name: "port to port by its address", from: "A", f: udp(nicMAC, nicMAC, a4, ip("10.0.0.32"), 1300), mtu: 1280},
		{name: "port to port", from: "A", f: udp(nicMAC, small, a4, ip("10.0.0.30"), 1300), mtu: 1280},
		{name: "host to port", from: "host", f: udp(hostMAC, gateMAC, host4, ip("10.0.0.30"), 1300), mtu: 1280},
		{name: "port to wire", from: "J", f: udp(nicMAC, peerMAC, ip("10.0.0.31"), far4, 3000), mtu: 1500},
		{name: "port to wire, IPv6", from: "J", f: udp(nicMAC, peerMAC, ip("2001:db8::31"), far6, 3000), mtu: 1500},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.add(PortConfig{Name: "small", MAC: small, MTU: 1280}, "10.0.0.30", "2001:db8::30")
			w.add(PortConfig{Name: "S", MTU: 1280}, "10.0.0.32")
			w.add(PortConfig{Name: "J", MTU: 9000}, "10.0.0.31", "2001:db8::31")
			cfg := w.ports["V"].cfg
			cfg.MTU = 1000
			w.ok(w.sw.Update(w.ports["V"].id, cfg))
			var got [][]byte
			if c.from == "wire" {
				w.links[0].Arrive(c.f)
				w.settle()
				got = w.links[0].Sent()
			} else {
				w.ports[c.from].send(c.f)
				w.settle()
				got = w.ports[c.from].got()
			}
			if s := w.sw.Stats(); s.All.Drops[TooBig] != 1 || s.All.Dropped() != 1 || s.Built != 1 {
				t.Errorf("%+v; %d built", s.All, s.Built)
			}
			checkPathMTU(t, got, c.f, c.vlan, c.mtu)
		})
	}
}

// checkPathMTU decodes the message: it comes from whom the frame was for, goes
// to whom it was from, and names the MTU.
func checkPathMTU(t *testing.T, got [][]byte, about []byte, vlan uint16, mtu int) {
	t.Helper()
	if len(got) != 1 {
		t.Errorf("%d messages, want 1", len(got))
		return
	}
	p := decode(t, got[0])
	q, _ := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q)
	if (q != nil) != (vlan != 0) || q != nil && q.VLANIdentifier != vlan {
		t.Errorf("the message bears the tag %+v", q)
	}
	e := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if mac(e.DstMAC) != mac(about[6:12]) || mac(e.SrcMAC) != mac(about[:6]) {
		t.Errorf("the message goes from %v to %v", e.SrcMAC, e.DstMAC)
	}
	if i, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		if i.TypeCode.Type() != 3 || i.TypeCode.Code() != 4 || int(i.Seq) != mtu {
			t.Errorf("%v, MTU %d, want %d", i.TypeCode, i.Seq, mtu)
		}
		return
	}
	i := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if b := i.Payload; i.TypeCode.Type() != 2 || int(b[2])<<8|int(b[3]) != mtu {
		t.Errorf("%v, MTU % x, want %d", i.TypeCode, b[:4], mtu)
	}
}

// TestTooBigIsLimited sends more than the rate of messages allows.
func TestTooBigIsLimited(t *testing.T) {
	w := newWorld(t)
	now := int64(1)
	w.sw.clock = func() int64 { return now }
	long := udp(peerMAC, nicMAC, far4, a4, 1600)
	flood := func() int {
		for range 300 {
			w.links[0].Arrive(long)
		}
		w.settle()
		return len(w.links[0].Sent())
	}
	w.sw.workers[0].replies.wire = bucket{spent: errorBurst - 5, last: now}
	if n := flood(); n != 5 {
		t.Errorf("%d messages with 5 allowed", n)
	}
	now += 30_000_000
	w.settle()
	if n := flood(); n != 3 {
		t.Errorf("%d messages after 30 ms, want 3", n)
	}
	now += 3_600_000_000_000
	w.settle()
	if n := flood(); n > errorBurst || n < 5*maxErrors-1 {
		t.Errorf("%d messages after an hour, want at most %d", n, errorBurst)
	}
	if s := w.sw.Stats().Wire; s.Drops[TooBig] != 900 {
		t.Errorf("%+v", s)
	}
}
