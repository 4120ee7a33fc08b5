package demux

import (
	"net/netip"

	"github.com/xdpdemux/xdpdemux/demux/internal/packet"
)

// neighbourDepth is how many sightings of next hops may wait for a reader.
const neighbourDepth = 256

// sight tells about a next hop of some port that says its MAC on the wire: in
// ARP of any kind (RFC 826 learns from requests, too), in a neighbour
// advertisement, or in a solicitation of its own. A next hop that is a port or
// the host is not on the wire, whoever says so.
func (w *worker) sight(h *packet.Header, vlan uint16) {
	switch {
	case h.Kind == packet.KindARP:
		if t := w.table; t.isHop4(vlan, h.SrcIP4) && t.owner4(vlan, h.SrcIP4) == 0 {
			w.tell(Neighbour{vlan, addr4(h.SrcIP4), h.LLAddr})
		}
	case h.ND == packet.NDSolicit && h.HasLLAddr:
		if t := w.table; t.isHop6(vlan, &h.SrcIP6) && t.owner6(vlan, &h.SrcIP6) == 0 {
			w.tell(Neighbour{vlan, netip.AddrFrom16(h.SrcIP6), h.LLAddr})
		}
	case h.ND == packet.NDAdvert && h.HasLLAddr:
		if t := w.table; t.isHop6(vlan, &h.Target) && t.owner6(vlan, &h.Target) == 0 {
			w.tell(Neighbour{vlan, netip.AddrFrom16(h.Target), h.LLAddr})
		}
	}
}

func (w *worker) tell(n Neighbour) {
	select {
	case w.sw.neighbours <- n:
	default:
	}
}
