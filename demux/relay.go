package demux

import (
	"errors"
	"slices"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// relayDepth is how many relayed frames may wait for worker 0.
const relayDepth = 256

// ErrRelayFull says that too many relayed frames wait already, as when worker
// 0 does not run.
var ErrRelayFull = errors.New("demux: relay queue is full")

// relay is a frame of the control plane on its way to ports.
type relay struct {
	data []byte
	vlan uint16
	to   []PortID
}

// Relay hands a frame of the control plane, such as a next hop's gratuitous
// ARP, to the ports, of which only those in that VLAN get it. It is untagged
// and copied. Worker 0 delivers it in its next round; ErrRelayFull says that
// it will not. Any goroutine may call it.
func (s *Switch) Relay(data []byte, vlan uint16, to ...PortID) error {
	select {
	case s.relays <- relay{slices.Clone(data), vlan, slices.Clone(to)}:
		s.workers[0].wakeIfParked()
		return nil
	default:
		return ErrRelayFull
	}
}

// relayAll delivers the frames that wait.
func (w *worker) relayAll() {
	for range len(w.sw.relays) {
		r := <-w.sw.relays
		w.relay(&r)
	}
}

// relay delivers one frame to its ports. It counts once, however many got it.
func (w *worker) relay(r *relay) {
	w.begin(w.sw.injected, WireSlot)
	w.mode, w.reached = modeCopy, 0
	w.tally.received, w.tally.bytes = 1, uint64(len(r.data))
	w.pieces[0] = frame.Frame{Data: r.data}
	for _, id := range r.to {
		if to := w.lanes.find(id.Slot); to != nil && to.p.id == id && to.p.VLAN == r.vlan {
			w.missed = 0
			w.deliver(to, w.pieces[:1])
			to.sheet.rxDrops[w.missedBy].add(w.missed)
		}
	}
	if w.reached > 0 {
		w.tally.flooded = 1
	} else {
		w.drop(NoPort)
	}
	w.end()
}
