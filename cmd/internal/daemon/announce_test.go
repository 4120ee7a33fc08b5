package daemon

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/neighbour"
)

// TestHeraldTellsWhatIsSoByThen: an address is told once, with its latest MAC,
// and not at all after it was given up.
func TestHeraldTellsWhatIsSoByThen(t *testing.T) {
	h := newHerald()
	who := func(addr string, mac byte) neighbour.Identity {
		return neighbour.Identity{VLAN: 7, MAC: neighbour.MAC{2, 5: mac}, IP: netip.MustParseAddr(addr)}
	}
	h.announce(who("10.0.0.1", 1), who("10.0.0.2", 1), who("10.0.0.3", 1))
	h.announce(who("10.0.0.1", 2))
	h.retract(7, prefixes("10.0.0.2/32", "10.0.0.3/32", "10.0.0.9/32"))
	h.announce(who("10.0.0.3", 3))
	if _, ok := h.next(); ok {
		t.Fatal("something is told while the NIC is away")
	}
	h.socket = new(neighbour.Socket)
	var told []neighbour.Identity
	for id, ok := h.next(); ok; id, ok = h.next() {
		told = append(told, id)
	}
	if want := []neighbour.Identity{who("10.0.0.1", 2), who("10.0.0.3", 3)}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	if len(h.macs) != 0 {
		t.Errorf("left over: %v", h.macs)
	}
}
