package demux

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
)

// snapshotOf is a table and what a map says it must hold.
type snapshotOf struct {
	m    hashmap[uint64]
	want map[uint64]uint32
}

func (s *snapshotOf) check(t *testing.T) {
	t.Helper()
	if s.m.used != len(s.want) {
		t.Fatalf("the table has %d entries, want %d", s.m.used, len(s.want))
	}
	for k := range uint64(3000) {
		if got := s.m.get(hash64(k), k); got != s.want[k] {
			t.Fatalf("get(%d) = %d, want %d", k, got, s.want[k])
		}
	}
}

// TestHashmapAgainstMap edits at random and keeps the snapshots of all times:
// no later edit may show in an earlier one.
func TestHashmapAgainstMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	cur := snapshotOf{newHashmap(hash64, 1, 0), map[uint64]uint32{}}
	var old []snapshotOf
	for edit := uint64(1); edit <= 60; edit++ {
		old = append(old, snapshotOf{cur.m, maps.Clone(cur.want)})
		for range rnd.IntN(200) {
			k := uint64(rnd.IntN(3000))
			if rnd.IntN(3) == 0 {
				cur.m.del(k, edit)
				delete(cur.want, k)
			} else {
				v := rnd.Uint32()%1000 + 1
				cur.m.put(k, v, edit)
				cur.want[k] = v
			}
		}
	}
	for i := range old {
		old[i].check(t)
	}
	cur.check(t)
}

// TestHashmapColliding puts keys of one page and one place into a table: it
// grows rather than fill a page.
func TestHashmapColliding(t *testing.T) {
	same := func(uint64) uint64 { return 1 << 63 }
	spread := func(k uint64) uint64 { return k << 57 }
	for name, hash := range map[string]func(uint64) uint64{"one place": same, "few pages": spread} {
		m := newHashmap(hash, 1, 1)
		n := uint64(pageFull)
		for k := range n {
			m.put(k, uint32(k+1), 1)
		}
		m.del(n/2, 2)
		for k := range n {
			want := uint32(k + 1)
			if k == n/2 {
				want = 0
			}
			if got := m.get(hash(k), k); got != want {
				t.Errorf("%s: get(%d) = %d, want %d", name, k, got, want)
			}
		}
	}
}

func TestAttachRefuses(t *testing.T) {
	r := newRig(t, Config{Workers: 2, MaxPorts: 3})
	r.setHost("10.0.0.1", "10.0.0.2")
	taken := r.port(PortConfig{Name: "taken", MAC: macM}, "10.0.0.10", "2001:db8::/64", "2001:db8::5")
	good := func() PortConfig { return r.newPort(PortConfig{Name: "new"}, demuxtest.LaneConfig{}).cfg }
	with := func(change func(*PortConfig)) PortConfig {
		c := good()
		c.Addrs = []netip.Prefix{pfx("10.0.0.20/32")}
		change(&c)
		return c
	}
	addr := func(a ...netip.Prefix) PortConfig { return with(func(c *PortConfig) { c.Addrs = a }) }
	for _, c := range []struct {
		name     string
		cfg      PortConfig
		conflict bool
		want     string
	}{
		{"no lanes", with(func(c *PortConfig) { c.Lanes = nil }), false, "demux: port new: lanes 0: are not one per worker (2)"},
		{"nil lanes", with(func(c *PortConfig) { c.Lanes = make([]Lane, 2) }), false, "demux: port new: lanes 2: are all nil"},
		{"no identity", with(func(c *PortConfig) { c.Addrs = nil }), false, "demux: port new: addresses []: an identity needs a MAC or an address"},
		{"group MAC", with(func(c *PortConfig) { c.MAC = bcastMAC }), false, "demux: port new: MAC ff:ff:ff:ff:ff:ff: is a group address"},
		{"VLAN", with(func(c *PortConfig) { c.VLAN = 4095 }), false, "demux: port new: VLAN 4095: is above 4094"},
		{"MTU", with(func(c *PortConfig) { c.MTU = 67 }), false, "demux: port new: MTU 67: is not within 68 and 65535"},
		{"multicast", addr(pfx("224.0.0.1/32")), false, "demux: port new: address 224.0.0.1/32: is a multicast address"},
		{"unspecified", addr(pfx("0.0.0.0/0")), false, "demux: port new: address 0.0.0.0/0: is unspecified"},
		{"invalid", addr(netip.Prefix{}), false, "demux: port new: address invalid Prefix: is not valid"},
		{"mapped", addr(pfx("::ffff:10.0.0.7/128")), false, "demux: port new: address ::ffff:10.0.0.7/128: is mapped or has a zone"},
		{"next hop", with(func(c *PortConfig) { c.NextHops = []netip.Addr{ip("ff02::1")} }), false, "demux: port new: next hop ff02::1: is no unicast address"},
		{"the NIC's MAC", with(func(c *PortConfig) { c.MAC = nicMAC }), true, "demux: port new: 02:ee:00:00:00:01 belongs to the NIC"},
		{"the host's MAC", with(func(c *PortConfig) { c.MAC = hostMAC }), true, "demux: port new: 02:ee:00:00:00:02 belongs to host"},
		{"the host's address", addr(pfx("10.0.0.2/32")), true, "demux: port new: 10.0.0.2/32 belongs to host"},
		{"taken MAC", with(func(c *PortConfig) { c.MAC = macM }), true, "demux: port new: 02:cc:00:00:00:20 belongs to taken"},
		{"taken address", addr(pfx("10.0.0.9/32"), pfx("10.0.0.10/32")), true, "demux: port new: 10.0.0.10/32 belongs to taken"},
		{"taken prefix", addr(pfx("2001:db8::7/64")), true, "demux: port new: 2001:db8::/64 belongs to taken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := r.sw.Attach(c.cfg)
			var conflict *ConflictError
			var config *ConfigError
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			} else if c.conflict != errors.As(err, &conflict) || c.conflict == errors.As(err, &config) {
				t.Errorf("%T", err)
			}
		})
	}
	t.Run("all or none", func(t *testing.T) {
		fine, clash := addr(pfx("10.0.0.30/32")), addr(pfx("10.0.0.30/32"))
		clash.Name = "second"
		if _, err := r.sw.Attach(fine, clash); err == nil || err.Error() != "demux: port second: 10.0.0.30/32 belongs to new" {
			t.Errorf("got %v", err)
		}
		ids, err := r.sw.Attach(fine)
		r.ok(err)
		if ids[0] != (PortID{FirstSlot + 1, 1}) {
			t.Errorf("after a refused batch the next slot is %v", ids[0])
		}
		r.ok(r.sw.Detach(ids...))
	})
	t.Run("the same in another VLAN", func(t *testing.T) {
		c := addr(pfx("10.0.0.10/32"), pfx("10.0.0.1/32"))
		c.VLAN, c.MAC = 7, macM
		ids, err := r.sw.Attach(c)
		r.ok(err)
		r.ok(r.sw.Detach(ids...))
	})
	t.Run("too many", func(t *testing.T) {
		if _, err := r.sw.Attach(addr(pfx("10.0.0.31/32")), addr(pfx("10.0.0.32/32")), addr(pfx("10.0.0.33/32"))); !errors.Is(err, ErrTooMany) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no such port", func(t *testing.T) {
		stale := PortID{taken.id.Slot, 7}
		for _, id := range []PortID{stale, {}, {HostSlot, 1}, {9999, 1}} {
			if err := r.sw.Detach(taken.id, id); err != ErrNoPort {
				t.Errorf("Detach(%v): %v", id, err)
			}
			if err := r.sw.Update(id, addr(pfx("10.0.0.34/32"))); err != ErrNoPort {
				t.Errorf("Update(%v): %v", id, err)
			}
		}
		if err := r.sw.Detach(taken.id, taken.id); err != ErrNoPort {
			t.Errorf("twice the same: %v", err)
		}
		if _, err := r.sw.PortStats(taken.id); err != nil {
			t.Errorf("the port went with those that do not exist: %v", err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []Config{{}, {Workers: 65}, {Workers: 1, MaxPorts: -1}, {Workers: 1, MaxPorts: MaxSlot}, {Workers: 1, MaxSlowThreads: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("New(%+v) did not mind", c)
		}
	}
}

// TestSlotsAreReused is the slot and the generation that a port gets.
func TestSlotsAreReused(t *testing.T) {
	r := stepped(t)
	a, b := r.port(PortConfig{Name: "a"}, "10.0.0.10"), r.port(PortConfig{Name: "b"}, "10.0.0.11")
	r.ok(r.sw.Detach(b.id))
	r.ok(r.sw.Detach(a.id))
	c, d, e := r.port(PortConfig{}, "10.0.0.10"), r.port(PortConfig{}, "10.0.0.11"), r.port(PortConfig{}, "10.0.0.12")
	for i, got := range []PortID{a.id, b.id, c.id, d.id, e.id} {
		if want := []PortID{{2, 1}, {3, 1}, {3, 2}, {2, 2}, {4, 1}}[i]; got != want {
			t.Errorf("port %d is %v, want %v", i, got, want)
		}
	}
	if got := (PortID{3, 0x20005}).Token(); got != 3<<16|5 {
		t.Errorf("the token is %#x", got)
	}
}

// TestHostAddressReturns is a port that owns an address of the host, which the
// host gets when the port goes.
func TestHostAddressReturns(t *testing.T) {
	r := stepped(t)
	w := &world{r, map[string]*testPort{"host": r.host}}
	w.add(PortConfig{Name: "A"}, "10.0.0.10")
	w.add(PortConfig{Name: "B"}, "10.0.0.11")
	r.ok(r.sw.SetHost(HostConfig{NICMAC: nicMAC, HostMAC: hostMAC, GatewayMAC: gateMAC, Addrs: []netip.Addr{host4, b4}, Lanes: r.host.cfg.Lanes}))
	ask := whoHas(nicMAC, "10.0.0.10", "10.0.0.11")
	w.check(t, rule{from: "A", f: ask, answer: nicMAC})
	r.ok(r.sw.Detach(w.ports["B"].id))
	delete(w.ports, "B")
	w.check(t, rule{from: "A", f: ask, answer: hostMAC})
	w.check(t, rule{from: "A", f: udp(nicMAC, nicMAC, a4, b4, 5), to: "host", dst: hostMAC})
	r.ok(r.sw.SetHost(HostConfig{NICMAC: nicMAC, HostMAC: hostMAC, GatewayMAC: gateMAC, Addrs: []netip.Addr{host4}, Lanes: r.host.cfg.Lanes}))
	w.check(t, rule{from: "A", f: ask, to: "wire"})
}

// TestNICMACChanges is the NIC getting another MAC while ports share it.
func TestNICMACChanges(t *testing.T) {
	w := newWorld(t)
	moved := mac{0x02, 0xee, 0, 0, 0, 0x99}
	w.ok(w.sw.SetHost(HostConfig{NICMAC: moved, HostMAC: hostMAC, GatewayMAC: gateMAC, Addrs: []netip.Addr{host4}, Lanes: w.host.cfg.Lanes}))
	w.checkAll(t, []rule{
		{name: "to the new MAC", from: "wire", f: udp(peerMAC, moved, far4, a4, 10), to: "A"},
		{name: "to the old MAC", from: "wire", f: udp(peerMAC, nicMAC, far4, a4, 10), drop: NoPort},
		{name: "from the new MAC", from: "A", f: udp(moved, peerMAC, a4, far4, 10), to: "wire"},
		{name: "from the old MAC", from: "A", f: udp(nicMAC, peerMAC, a4, far4, 10), drop: Spoofed},
		{name: "is answered with the new MAC", from: "wire", f: whoHas(peerMAC, "10.0.0.99", "10.0.0.10"), answer: moved},
		{name: "a neighbour to the old MAC", from: "M", f: udp(macM, nicMAC, m4, a4, 10), to: "A", dst: moved},
		{name: "a neighbour to the host by the old MAC", from: "M", f: udp(macM, nicMAC, m4, host4, 10), to: "host", dst: hostMAC},
		{name: "the old MAC is somebody else's by now", from: "M", f: udp(macM, nicMAC, m4, far4, 10), to: "wire"},
		{name: "the old MAC is no MAC identity's", from: "A", f: udp(moved, nicMAC, a4, m4, 10), to: "wire"},
	})
	for i := range byte(3) { // and on: those before are remembered, and the NIC's own is none of them
		again := mac{0x02, 0xee, 0, 0, 1, i}
		w.ok(w.sw.SetHost(HostConfig{NICMAC: again, HostMAC: hostMAC, GatewayMAC: gateMAC, Addrs: []netip.Addr{host4}, Lanes: w.host.cfg.Lanes}))
		for _, old := range []mac{nicMAC, moved} {
			w.check(t, rule{name: "an older MAC", from: "M", f: udp(macM, old, m4, a4, 10), to: "A", dst: again})
		}
		w.check(t, rule{name: "nobody under the NIC's MAC", from: "M", f: udp(macM, again, m4, far4, 10), drop: NoPort})
	}
	err := w.sw.SetHost(HostConfig{NICMAC: macM, HostMAC: hostMAC, Lanes: w.host.cfg.Lanes})
	if conflict := new(ConflictError); !errors.As(err, &conflict) {
		t.Errorf("a NIC with a port's MAC: %v", err)
	}
}

func TestReasonNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range Reason(NumReasons) {
		if s := r.String(); s == "" || s == "unknown" || seen[s] {
			t.Errorf("reason %d is called %q", r, s)
		} else {
			seen[s] = true
		}
	}
	if Reason(NumReasons).String() != "unknown" {
		t.Error("there are more names than reasons")
	}
}
