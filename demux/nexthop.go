package demux

import (
	"net/netip"
	"sync/atomic"
)

// hopKey names a next hop.
type hopKey struct {
	vlan uint16
	addr netip.Addr
}

// nextHop is a gateway that ports share. Its MAC changes in place, so that a
// fail-over needs no new snapshot for all its ports.
type nextHop struct {
	mac  atomic.Uint64 // noMAC while it is not known
	refs int           // ports that use it; guarded by Switch.ctl
}

func (h *nextHop) known() bool { return h.mac.Load() != noMAC }

// Neighbour is an address of a next hop and the MAC that it said it has.
type Neighbour struct {
	VLAN uint16
	IP   netip.Addr
	MAC  [6]byte
}

// SetNextHop says by which MAC a next hop is reached: a frame that a port
// sends to that MAC and that is for a local port does not touch the wire. The
// zero MAC forgets. It may come before or after the ports that use it, from
// any goroutine.
func (s *Switch) SetNextHop(vlan uint16, ip netip.Addr, mac [6]byte) {
	s.ctl.Lock()
	defer s.ctl.Unlock()
	k := hopKey{vlan, ip.Unmap()}
	h := s.hop(k)
	if mac == ([6]byte{}) {
		h.mac.Store(noMAC)
	} else {
		h.mac.Store(macOf(mac))
	}
	s.forgetHop(k, h)
}

// Neighbours yields what the workers see next hops say about themselves on
// the wire: ARP, neighbour advertisements and solicitations. Events
// are lost while nobody reads; each worker's are in order. The channel is
// never closed.
func (s *Switch) Neighbours() <-chan Neighbour { return s.neighbours }

func (s *Switch) hop(k hopKey) *nextHop {
	h := s.hops[k]
	if h == nil {
		h = new(nextHop)
		h.mac.Store(noMAC)
		s.hops[k] = h
	}
	return h
}

func (s *Switch) forgetHop(k hopKey, h *nextHop) {
	if h.refs == 0 && !h.known() {
		delete(s.hops, k)
	}
}

// useHops counts the port in as a user of its next hops.
func (s *Switch) useHops(t *Table, p *port) {
	p.hops = make([]*nextHop, len(p.NextHops))
	for i, a := range p.NextHops {
		k := hopKey{p.VLAN, a}
		p.hops[i] = s.hop(k)
		if p.hops[i].refs++; p.hops[i].refs == 1 {
			t.putHop(k, true)
		}
	}
}

// leaveHops is the inverse of useHops.
func (s *Switch) leaveHops(t *Table, p *port) {
	for i, a := range p.NextHops {
		k, h := hopKey{p.VLAN, a}, p.hops[i]
		if h.refs--; h.refs == 0 {
			t.putHop(k, false)
			s.forgetHop(k, h)
		}
	}
}
