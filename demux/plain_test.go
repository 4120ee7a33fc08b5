package demux

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// nearlyPlain are frames that are plain but for, perhaps, a detail or two.
func nearlyPlain(rnd *rand.Rand, srcs []mac, addrs []netip.Addr) frame.Frame {
	one := func(n int) int { return rnd.IntN(n) }
	dsts := []mac{nicMAC, nicMAC, formerMAC, hopMAC, peerMAC, macM, hostMAC, bcastMAC, {1, 0x80, 0xc2, 0, 0, 2}}
	f := frame.Frame{Data: udp(srcs[one(len(srcs))], dsts[one(len(dsts))], addrs[one(len(addrs))], addrs[one(len(addrs))], one(20))}
	f.Data = f.Data[:len(f.Data):len(f.Data)]
	switch one(24) {
	case 0:
		f.Data[14] = byte(0x44 + one(4))
	case 1:
		f.Data[16], f.Data[17] = 0, byte(18+one(60)) // total length
	case 2:
		f.Data[16] = byte(one(3))
	case 3:
		f.Data[12+one(2)] ^= byte(1 << one(8))
	case 4:
		f.Data = f.Data[:one(len(f.Data))]
	case 5:
		f.VLAN = 7
	case 6:
		f.Hint, f.Gen = uint32(one(9)), 1
	case 7:
		f.Data = tag(f.Data, 7)
	case 8:
		f.Data[26+4*one(2)] = 127
	}
	return f
}

var formerMAC = mac{0x02, 0xaa, 0, 0, 0, 0x77}

// TestAtAGlance: whatever the quick look says of a frame, the long way says as
// well; and it says something often enough to be worth the while.
func TestAtAGlance(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	sw, err := New(Config{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	lane := demuxtest.NewLane(t, nil, demuxtest.LaneConfig{})
	for _, m := range []mac{formerMAC, nicMAC} {
		if err := sw.SetHost(HostConfig{NICMAC: m, HostMAC: hostMAC, GatewayMAC: gateMAC, Addrs: []netip.Addr{ip("10.0.0.1")}, Lanes: []Lane{lane}}); err != nil {
			t.Fatal(err)
		}
	}
	sw.SetNextHop(0, ip("10.0.0.254"), hopMAC)
	hops := []netip.Addr{ip("10.0.0.254")}
	if _, err := sw.Attach(
		PortConfig{Name: "a", Addrs: []netip.Prefix{pfx("10.0.0.10/32")}, NextHops: hops, Lanes: []Lane{lane}},
		PortConfig{Name: "b", Addrs: []netip.Prefix{pfx("10.0.0.11/32"), pfx("10.0.1.0/24")}, Lanes: []Lane{lane}},
		PortConfig{Name: "v", VLAN: 7, Addrs: []netip.Prefix{pfx("10.0.0.10/32")}, NextHops: hops, Lanes: []Lane{lane}},
		PortConfig{Name: "m", MAC: macM, Addrs: []netip.Prefix{pfx("10.0.0.20/32")}, Lanes: []Lane{lane}},
		PortConfig{Name: "u", Addrs: []netip.Prefix{pfx("10.0.0.30/32")}, NextHops: hops, NoSourceCheck: true, Lanes: []Lane{lane}},
	); err != nil {
		t.Fatal(err)
	}
	w := sw.workers[0]
	w.table, w.lanes = sw.table.Load(), &sw.table.Load().lanes[0]
	var addrs []netip.Addr
	for _, a := range []string{"10.0.0.1", "10.0.0.10", "10.0.0.11", "10.0.1.5", "10.0.0.20", "10.0.0.30", "198.51.100.9", "0.0.0.0", "224.0.0.5"} {
		addrs = append(addrs, ip(a))
	}
	fromWire, fromPort := 0, 0
	for range 60000 {
		f := nearlyPlain(rnd, []mac{nicMAC, nicMAC, nicMAC, peerMAC, formerMAC}, addrs)
		lent := func() *frame.Frame { return &frame.Frame{Data: append([]byte(nil), f.Data...), Meta: f.Meta} }
		w.plain.lookAt(w.table, w.lanes, []frame.Frame{*lent()})
		if slot := w.plain.slot[0]; slot != 0 {
			fromWire++
			if want := said(w.judgeWire(lent())); want != said(toPort(slot)) {
				t.Fatalf("from the wire: port %d at a glance, %s\n%+v", slot, want, f)
			}
		}
		for slot := range uint32(len(sw.ports)) {
			p := sw.ports[slot]
			if p == nil {
				continue
			}
			w.lookFrom(p, []frame.Frame{*lent(), *lent()}) // of the second it knows the way
			for i := range 2 {
				if w.plain.slot[i] == 0 {
					continue
				}
				fromPort++
				if want, v := said(w.judgePort(p, lent())), said(verdictOf(w.plain.slot[i])); want != v {
					t.Fatalf("from %s: %s at a glance, %s\n%+v", p.Name, v, want, f)
				}
			}
		}
	}
	if fromWire < 1000 || fromPort < 1000 {
		t.Errorf("%d and %d frames were plain", fromWire, fromPort)
	}
}
