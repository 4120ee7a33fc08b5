package demux

import "net/netip"

// HostConfig says what the NIC and the host are, and how the host is reached.
type HostConfig struct {
	// NICMAC is the NIC's own address, which IP identities share.
	NICMAC [6]byte
	// HostMAC is the address of the host port's device.
	HostMAC [6]byte
	// GatewayMAC is the address by which the host knows all its containers:
	// that of its permanent neighbour on the host port's device.
	GatewayMAC [6]byte
	// Addrs are the host's own addresses. One that a port owns stays the port's.
	Addrs []netip.Addr
	// MTU is the host port's, WireMTU the NIC's: the largest IP packet in
	// bytes; 0 = 1500.
	MTU, WireMTU int
	// Lanes has one Lane per worker, as in PortConfig; empty = no host port.
	Lanes []Lane
	// Foreign: as in PortConfig.
	Foreign bool
	// WireChecksum says what to think of the TCP and UDP checksums of frames
	// from the wire.
	WireChecksum WireChecksum
}

// WireChecksum says what to think of the TCP and UDP checksums of frames from the
// wire.
type WireChecksum uint8

// The values of WireChecksum.
const (
	// WireTrust: they are finished, as a cable carries them. They are not looked at.
	WireTrust WireChecksum = iota
	// WireComplete: they may be unfinished, as a veth carries those of its
	// peer's own stack. One that holds nothing but the sum of its pseudo-header
	// is completed, by the lane's other side where it can, else here. Fragments
	// stay as they are.
	WireComplete
)

// SetHost says what the NIC and the host are; it may be called again when any
// of it changes. It returns once no worker can touch the lanes that were
// replaced; a frame that is in work meanwhile sees the old or the new state. A
// frame that a port sends to one of the NIC's former MACs still reaches the IP
// identity that it is for.
func (s *Switch) SetHost(cfg HostConfig) error {
	s.ctl.Lock()
	defer s.ctl.Unlock()
	p, err := s.hostPort(&cfg)
	if err != nil {
		return err
	}
	t, old := s.table.Load().edit(), s.portAt(HostSlot)
	if old != nil {
		t.removePort(old)
	}
	t.setNIC(macOr(cfg.NICMAC))
	t.gateway = macOr(cfg.GatewayMAC)
	t.wireMax = uint32(orMTU(cfg.WireMTU) + ethHeader)
	t.unfinished = cfg.WireChecksum == WireComplete
	if v := portWithMAC(s.ports, t.nic); v != nil {
		return &ConflictError{"the NIC", v.Name, macText(cfg.NICMAC)}
	}
	if p != nil {
		s.makeLanes(p, old)
		if err := t.addPort(p, s.nameOf); err != nil {
			return err
		}
		t.claimForHost(p)
	}
	s.publish(t, func() {
		if s.ports[HostSlot] = nil; p != nil {
			s.enter(p)
		}
	})
	s.replaced(old, p)
	return nil
}

// HostID is the host port's PortID: it never changes.
func (s *Switch) HostID() PortID { return PortID{HostSlot, 1} }

func (s *Switch) hostPort(cfg *HostConfig) (*port, error) {
	if len(cfg.Lanes) == 0 {
		return nil, nil
	}
	if cfg.HostMAC == ([6]byte{}) {
		return nil, &ConfigError{"", "host MAC", macText(cfg.HostMAC), "is missing"}
	}
	p, err := newPort(PortConfig{
		Name: "host", MAC: cfg.HostMAC, MTU: cfg.MTU, Lanes: cfg.Lanes,
		Foreign: cfg.Foreign, NoSourceCheck: true,
	}, len(s.workers))
	if err != nil {
		return nil, err
	}
	p.id, p.books, p.Addrs = s.HostID(), s.hostBooks, hostRules(cfg.Addrs)
	return p, nil
}

// hostRules are the host's addresses as rules; what cannot be one is left out.
func hostRules(addrs []netip.Addr) (rules []netip.Prefix) {
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		if a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() {
			rules = append(rules, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return rules
}

// claimForHost enters the host's addresses that no port owns.
func (t *Table) claimForHost(h *port) {
	for _, r := range h.Addrs {
		if t.rule(0, r) == 0 {
			t.putRule(0, r, HostSlot)
		}
	}
}

// returnToHost gives back to the host what a port had taken from it.
func (s *Switch) returnToHost(t *Table) {
	if h := s.portAt(HostSlot); h != nil {
		t.claimForHost(h)
	}
}

// portWithMAC returns a port that bears this MAC in any VLAN, or nil.
func portWithMAC(ports []*port, mac uint64) *port {
	for _, p := range ports {
		if p != nil && p.mac == mac {
			return p
		}
	}
	return nil
}

func macOr(m [6]byte) uint64 {
	if m == ([6]byte{}) {
		return noMAC
	}
	return macOf(m)
}

func orMTU(mtu int) int {
	if mtu <= 0 {
		return 1500
	}
	return mtu
}
