package xdp

import (
	"fmt"

	"github.com/xdpdemux/xdpdemux/xdp/bpf"
)

// Counters says what the program did with the frames it looked at since it was
// loaded. Each frame is in exactly one.
type Counters struct {
	// Redirected to a socket, because of:
	RedirectedMAC uint64 // the destination MAC, that of a MAC identity
	RedirectedIP4 uint64 // the IPv4 destination, that of an IP identity
	RedirectedIP6 uint64 // the IPv6 destination, that of an IP identity
	RedirectedARP uint64 // an ARP's target protocol address
	RedirectedND  uint64 // a neighbour solicitation's target

	// Passed to the host:
	PassedUnknown   uint64 // a unicast IP, ARP or ND frame for nobody whom we know
	PassedGroup     uint64 // broadcast or multicast that concerns nobody whom we know
	PassedProtocol  uint64 // neither IPv4 nor IPv6 nor ARP for them
	PassedTags      uint64 // two VLAN tags or more
	PassedMalformed uint64 // cut short, or a header that contradicts itself
	PassedNoSocket  uint64 // for somebody whom we know, on a queue without a socket
}

// Redirected is how many frames were given to sockets.
func (c Counters) Redirected() uint64 {
	return c.RedirectedMAC + c.RedirectedIP4 + c.RedirectedIP6 + c.RedirectedARP + c.RedirectedND
}

// Passed is how many frames stayed with the host.
func (c Counters) Passed() uint64 {
	return c.PassedUnknown + c.PassedGroup + c.PassedProtocol + c.PassedTags + c.PassedMalformed + c.PassedNoSocket
}

// Counters sums the counters of all processors. Those of a frame that is being
// looked at may be in or not.
func (p *Program) Counters() (Counters, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return Counters{}, ErrClosed
	}
	var perCPU []bpf.SteerCounters
	if err := p.objects.Counts.Lookup(uint32(0), &perCPU); err != nil {
		return Counters{}, fmt.Errorf("read the program's counters: %w", err)
	}
	var sum Counters
	for i := range perCPU {
		sum.add(&perCPU[i])
	}
	return sum, nil
}

// add adds one processor's counters, in the order of enum reason.
func (c *Counters) add(v *bpf.SteerCounters) {
	for i, field := range []*uint64{
		&c.RedirectedMAC, &c.RedirectedIP4, &c.RedirectedIP6, &c.RedirectedARP, &c.RedirectedND,
		&c.PassedUnknown, &c.PassedGroup, &c.PassedProtocol, &c.PassedTags, &c.PassedMalformed, &c.PassedNoSocket,
	} {
		*field += v.ByReason[i]
	}
}
