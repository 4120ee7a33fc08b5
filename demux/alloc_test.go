package demux

import (
	"net/netip"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// TestNoAllocs breathes with every kind of traffic and allocates nothing.
func TestNoAllocs(t *testing.T) {
	for name, set := range map[string]func(*allocRig){
		"in":       func(r *allocRig) { r.wire(udp(peerMAC, nicMAC, far4, a4, 20), udp(peerMAC, macM, far6, m6, 20)) },
		"in, VLAN": func(r *allocRig) { r.wire(tag(udp(peerMAC, nicMAC, far4, a4, 20), 7)) },
		"in, unfinished": func(r *allocRig) {
			r.wire(unfinished(udp(peerMAC, nicMAC, far4, a4, 20), 34), tag(unfinished(udp(peerMAC, nicMAC, far4, a4, 20), 34), 7))
		},
		"prefix": func(r *allocRig) {
			r.wire(udp(peerMAC, nicMAC, far4, ip("10.1.0.7"), 20), udp(peerMAC, nicMAC, far6, ip("2001:db8:1::5"), 20))
		},
		"unknown": func(r *allocRig) { r.wire(udp(peerMAC, nicMAC, far4, none, 20), []byte{1}) },
		"answers": func(r *allocRig) {
			r.wire(whoHas(peerMAC, "10.0.0.99", "10.0.0.10"), ns(peerMAC, "2001:db8::99", "2001:db8::10", &peerMAC))
		},
		"next hop":  func(r *allocRig) { r.wire(arp(2, nicMAC, hopMAC, ip("10.0.0.254"), nicMAC, a4)) },
		"too big":   func(r *allocRig) { r.wire(udp(peerMAC, nicMAC, far4, a4, 1600)) },
		"out":       func(r *allocRig) { r.port(udp(nicMAC, peerMAC, a4, far4, 20)) },
		"local":     func(r *allocRig) { r.port(udp(nicMAC, nicMAC, a4, b4, 20)) },
		"short cut": func(r *allocRig) { r.port(udp(nicMAC, hopMAC, a4, m4, 20)) },
		"to host":   func(r *allocRig) { r.port(udp(nicMAC, hostMAC, a4, host4, 20)) },
		"asks":      func(r *allocRig) { r.port(whoHas(nicMAC, "10.0.0.10", "10.0.0.11")) },
		"solicits":  func(r *allocRig) { r.port(ns(nicMAC, "2001:db8::10", "2001:db8::11", &nicMAC)) },
		"spoofs":    func(r *allocRig) { r.port(udp(nicMAC, peerMAC, b4, far4, 20)) },
		"super to wire": func(r *allocRig) {
			f := super(tcp(nicMAC, peerMAC, a4, far4, 9000), false, 1400)
			r.super(f)
		},
		"super to port": func(r *allocRig) {
			f := super(tcp(nicMAC, nicMAC, a4, b4, 9000), false, 1400)
			r.super(f)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newAllocRig(t)
			set(r)
			w := r.sw.workers[0]
			w.breath()
			if n := testing.AllocsPerRun(100, func() {
				r.src.Left = 2 * batch
				if w.breath() == 0 {
					t.Error("no frame came")
				}
				w.chores(r.wait.Wait(w.ready[:], 0))
			}); n != 0 {
				t.Errorf("%v allocations in a breath", n)
			}
		})
	}
}

// allocRig is the rules' world with lanes and a link that do not allocate.
type allocRig struct {
	sw   *Switch
	wait *demuxtest.Waiter
	src  *demuxtest.Source
	a    *talker
}

// talker is a lane that sends one frame again and again.
type talker struct {
	demuxtest.Sink
	meta frame.Meta
	off  frame.Offload
}

func (l *talker) Collect(f []frame.Frame, maxBytes int) int {
	n := l.Sink.Collect(f, maxBytes)
	for i := range n {
		f[i].Meta = l.meta
	}
	return n
}

func (l *talker) Offloads() frame.Offload { return l.off }

func newAllocRig(t *testing.T) *allocRig {
	sw, err := New(Config{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	r := &allocRig{sw: sw, wait: demuxtest.NewWaiter(), src: &demuxtest.Source{}}
	lane := func() *talker { return &talker{Sink: *demuxtest.NewSink(64, 2048)} }
	r.a = lane()
	sw.SetNextHop(0, ip("10.0.0.254"), hopMAC)
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(sw.SetHost(HostConfig{NICMAC: nicMAC, HostMAC: hostMAC, GatewayMAC: gateMAC, Addrs: []netip.Addr{host4}, Lanes: []Lane{lane()}, WireChecksum: WireComplete}))
	for _, p := range []PortConfig{
		{Lanes: []Lane{r.a}, Foreign: true, Addrs: []netip.Prefix{pfx("10.0.0.10/32"), pfx("2001:db8::10/128")}, NextHops: []netip.Addr{ip("10.0.0.254")}},
		{Lanes: []Lane{lane()}, Addrs: []netip.Prefix{pfx("10.0.0.11/32"), pfx("2001:db8::11/128")}},
		{Lanes: []Lane{lane()}, MAC: macM, Addrs: []netip.Prefix{pfx("10.0.0.20/32"), pfx("2001:db8::20/128")}},
		{Lanes: []Lane{lane()}, Addrs: []netip.Prefix{pfx("10.1.0.0/24"), pfx("2001:db8:1::/64")}},
		{Lanes: []Lane{lane()}, VLAN: 7, Addrs: []netip.Prefix{pfx("10.0.0.10/32")}},
	} {
		_, err := sw.Attach(p)
		must(err)
	}
	w := sw.workers[0]
	w.begins([]Link{r.src}, r.wait)
	t.Cleanup(w.ends)
	return r
}

func (r *allocRig) wire(frames ...[]byte) { r.src.Frames = frames }

func (r *allocRig) port(f []byte) { r.a.Frame, r.a.Burst, r.src.Frames = f, 10, [][]byte{{1}} }

func (r *allocRig) super(f frame.Frame) {
	r.port(f.Data)
	r.a.meta = f.Meta
}
