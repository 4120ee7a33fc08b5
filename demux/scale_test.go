package demux

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// TestTenThousandPorts attaches and detaches 10,000 ports, one by one and at
// once, and looks that each gets its frames and none another's.
func TestTenThousandPorts(t *testing.T) {
	const ports = 10_000
	for _, batch := range []int{1, ports} {
		t.Run(fmt.Sprint("by ", batch), func(t *testing.T) {
			r := stepped(t)
			got := make([]int, ports)
			cfgs := make([]PortConfig, ports)
			for i := range cfgs {
				cfgs[i] = scalePort(t, i, &got[i])
			}
			var ids []PortID
			for i := 0; i < ports; i += batch {
				some, err := r.sw.Attach(cfgs[i : i+batch]...)
				r.ok(err)
				ids = append(ids, some...)
			}
			for i := range ports {
				r.links[0].Arrive(scaleFrame(i))
			}
			r.settle()
			for i, n := range got {
				if n != 1 {
					t.Fatalf("port %d got %d frames", i, n)
				}
			}
			for i := 0; i < ports; i += batch {
				r.ok(r.sw.Detach(ids[i : i+batch]...))
			}
			r.links[0].Arrive(scaleFrame(3), scaleFrame(4))
			r.settle()
			s := r.sw.Stats()
			if s.Attached != 0 || s.Wire.Delivered != ports || s.Wire.Drops[NoPort] != 2 {
				t.Errorf("%d ports are left, %+v", s.Attached, s.Wire)
			}
			if tab := r.sw.table.Load(); tab.v4.used != 1 || tab.v6.used != 2 || tab.macs.used != 1 || tab.prefixes != nil {
				t.Errorf("rules are left: %d, %d, %d, %v", tab.v4.used, tab.v6.used, tab.macs.used, tab.prefixes)
			} else if n := len(tab.v4.pages) + len(tab.v6.pages) + len(tab.macs.pages); n != 3 {
				t.Errorf("%d pages are left for them", n)
			}
		})
	}
}

func scalePort(t testing.TB, i int, got *int) PortConfig {
	take := func(*frame.Frame) { *got++ }
	cfg := PortConfig{
		Name: fmt.Sprint(i), Lanes: []Lane{demuxtest.NewLane(t, nil, demuxtest.LaneConfig{Take: take})},
		Addrs: []netip.Prefix{netip.PrefixFrom(benchAddr(1000+i), 32), netip.PrefixFrom(scale6(i), 128)},
	}
	if i%3 == 0 {
		cfg.MAC = scaleMAC(i)
	}
	if i%100 == 1 {
		cfg.Addrs = append(cfg.Addrs, netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 8), byte(i), 0}), 24))
	}
	return cfg
}

func scaleMAC(i int) mac { return mac{0x02, 0xdd, 0, 0, byte(i >> 8), byte(i)} }

func scale6(i int) netip.Addr {
	a := ip("2001:db8:5::").As16()
	a[14], a[15] = byte(i>>8), byte(i)
	return netip.AddrFrom16(a)
}

func scaleFrame(i int) []byte {
	switch {
	case i%3 == 0:
		return udp(peerMAC, scaleMAC(i), far4, benchAddr(1000+i), 4)
	case i%100 == 1:
		return udp(peerMAC, nicMAC, far4, netip.AddrFrom4([4]byte{11, byte(i >> 8), byte(i), 9}), 4)
	case i%2 == 0:
		return udp(peerMAC, nicMAC, far6, scale6(i), 4)
	}
	return udp(peerMAC, nicMAC, far4, benchAddr(1000+i), 4)
}
