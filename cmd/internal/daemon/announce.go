package daemon

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/neighbour"
)

// pace is the least time between two announcements: ten thousand ports tell
// the network who they are within ten seconds, and disturb nobody.
const pace = time.Millisecond

// herald speaks to the wire for the control plane, through the packet socket
// of the NIC that is there now, or of none.
type herald struct {
	mu     sync.Mutex
	socket *neighbour.Socket // nil while the NIC is away
	// What is to be told: each address once, however often its wire comes and
	// goes, with the MAC that it has by then. One that is not in macs any more
	// was given up while it waited in the queue.
	queue []neighbour.Hop
	macs  map[neighbour.Hop]neighbour.MAC
	wake  chan struct{}
}

func newHerald() *herald {
	return &herald{macs: map[neighbour.Hop]neighbour.MAC{}, wake: make(chan struct{}, 1)}
}

// use changes the socket; the old one is closed.
func (h *herald) use(s *neighbour.Socket) {
	h.mu.Lock()
	old := h.socket
	h.socket = s
	h.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	h.ring()
}

var errAway = errors.New("the NIC is away")

func (h *herald) send(frame []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.socket == nil {
		return errAway
	}
	return h.socket.Send(frame)
}

// announce has the identities told to the wire soon, in order.
func (h *herald) announce(ids ...neighbour.Identity) {
	h.mu.Lock()
	for _, id := range ids {
		at := neighbour.Hop{VLAN: id.VLAN, IP: id.IP}
		if _, waits := h.macs[at]; !waits {
			h.queue = append(h.queue, at)
		}
		h.macs[at] = id.MAC
	}
	h.mu.Unlock()
	h.ring()
}

// retract drops what was not told yet of addresses that are nobody's here any
// more: another host may have them by now.
func (h *herald) retract(vlan uint16, addrs []netip.Prefix) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range addrs {
		delete(h.macs, neighbour.Hop{VLAN: vlan, IP: a.Addr()})
	}
}

func (h *herald) ring() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// next takes the first identity off the queue; none while the NIC is away.
func (h *herald) next() (id neighbour.Identity, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.queue) > 0 && h.socket != nil {
		at := h.queue[0]
		h.queue = h.queue[1:]
		if mac, ok := h.macs[at]; ok {
			delete(h.macs, at)
			return neighbour.Identity{VLAN: at.VLAN, MAC: mac, IP: at.IP}, true
		}
	}
	return id, false
}

// run tells the wire what is queued until stop is closed.
func (h *herald) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-h.wake:
		}
		for id, ok := h.next(); ok; id, ok = h.next() {
			if frame, err := neighbour.Announcement(id); err == nil {
				_ = h.send(frame) // a NIC that went away: its return announces all ports
			}
			select {
			case <-stop:
				return
			case <-time.After(pace):
			}
		}
	}
}

// announce tells the wire all addresses of the ports.
func (d *Daemon) announce(ports ...*port) {
	for _, p := range ports {
		d.announceAddrs(p, p.id.Owned())
	}
}

// announceAddrs tells the wire those single addresses of a port that a
// neighbour may have in its cache.
func (d *Daemon) announceAddrs(p *port, addrs []netip.Prefix) {
	for _, a := range addrs {
		if a.IsSingleIP() && !a.Addr().IsLinkLocalUnicast() {
			d.herald.announce(neighbour.Identity{VLAN: p.id.VLAN, MAC: p.mac(d.mac()), IP: a.Addr()})
		}
	}
}

// listen hears what the kernel leaves to the host of ARP and Neighbour
// Discovery, until the socket is closed. A next hop that speaks up unasked is
// heard by the ports that use it.
func (d *Daemon) listen(s *neighbour.Socket) {
	buf := make([]byte, 2048)
	for {
		n, vlan, err := s.Recv(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // the NIC is down; its return has no event here
			continue
		}
		if seen, ok := neighbour.Look(buf[:n]); ok {
			seen.VLAN = vlan
			d.saw(seen, buf[:n])
		}
	}
}

func (d *Daemon) saw(seen neighbour.Sighting, frame []byte) {
	hop := neighbour.Hop{VLAN: seen.VLAN, IP: seen.IP}
	users := d.resolver.Users(hop)
	if len(users) == 0 {
		return
	}
	d.resolver.Saw(hop, seen.MAC, time.Now())
	if seen.Unasked {
		d.relay(frame, seen.VLAN, users)
	}
}

// relay hands a frame to the ports of those names.
func (d *Daemon) relay(frame []byte, vlan uint16, names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.sw.Relay(frame, vlan, d.slots(names)...) // a full relay queue is counted by the switch
}

// moved gives every port that uses the hop its new MAC. The MAC is asked for
// again: of two moves in short order, the later may have got the lock first.
func (d *Daemon) moved(h neighbour.Hop, _ neighbour.MAC) {
	d.mu.Lock()
	defer d.mu.Unlock()
	mac, known := d.resolver.MAC(h)
	if !known {
		return
	}
	d.sw.SetNextHop(h.VLAN, h.IP, mac)
	for _, name := range d.resolver.Users(h) {
		if p := d.ports[name]; p != nil && p.queue != nil {
			if err := p.queue.SetNeighbour(h.IP, mac); err != nil {
				d.notice("port %s: gateway %v has moved, and its container could not be told: %v", name, h.IP, err)
			}
		}
	}
}

// follow takes over what the workers see of next hops.
func (d *Daemon) follow(stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			d.resolver.Tick(now)
		case n := <-d.sw.Neighbours():
			d.resolver.Saw(neighbour.Hop{VLAN: n.VLAN, IP: n.IP}, n.MAC, time.Now())
		}
	}
}
