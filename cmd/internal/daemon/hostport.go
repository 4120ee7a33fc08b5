package daemon

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/hostroute"
	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/queues/tap"
)

// hostPort joins the host's own stack to its containers.
type hostPort struct {
	name   string
	mac    [6]byte // the interface's own
	queue  *tap.Queue
	routes *hostroute.Table
}

// pruneRoutes removes the routes of a dead daemon that lead to no port.
func (d *Daemon) pruneRoutes() error {
	if d.host == nil {
		return nil
	}
	wanted := map[netip.Prefix]bool{}
	for _, p := range d.ports {
		for _, dst := range routesOf(p.id) {
			wanted[dst] = p.routed
		}
	}
	return d.host.routes.Prune(func(dst netip.Prefix) bool { return wanted[dst] })
}

// gatewayMAC is what the host's permanent neighbour on the host port bears; no
// interface has it, the switch puts the container's MAC in its place.
const gatewayMAC = "\x02\x58\x44\x4d\x58\x01"

// maxHostPorts bounds the search for a free name: as many daemons in one
// network namespace.
const maxHostPorts = 64

// openHostPort makes xdmx0, or the first of its siblings that is free, or
// adopts the one that an earlier daemon of this NIC left.
func (d *Daemon) openHostPort() (err error) {
	h := &hostPort{mac: hostPortMAC(d.cfg.NIC, d.mac())}
	if h.queue, err = d.openHostTAP(h); err != nil {
		return fmt.Errorf("making the host port: %w", err)
	}
	d.undo.Push("the host port", h.remove)
	if err := d.at("host port: made"); err != nil {
		return err
	}
	if h.routes, err = hostroute.Open(h.queue.Index(), [6]byte([]byte(gatewayMAC))); err != nil {
		return err
	}
	for i := range h.queue.Lanes() {
		if err := d.crew.waiter(i).AddLane(h.queue.Fd(i), d.sw.HostID().Token()); err != nil {
			return err
		}
	}
	d.host = h
	return nil
}

func (d *Daemon) openHostTAP(h *hostPort) (*tap.Queue, error) {
	for i := range maxHostPorts {
		h.name = fmt.Sprintf("xdmx%d", i)
		q, err := openTAP(tap.Config{Name: h.name, Owner: d.owner(hostOwner), MAC: h.mac, MTU: d.facts.MTU,
			Lanes: d.crew.size(), GSO: true, Steering: d.steering, Rings: d.rings})
		var taken *tap.NameTakenError
		if !errors.As(err, &taken) && !errors.Is(err, tap.ErrNotOurs) {
			return q, err
		}
	}
	return nil, api.Errorf(api.CodeConflict, "the interfaces xdmx0 to xdmx%d all exist", maxHostPorts-1).
		WithHint("delete one that no daemon uses, or attach with --no-host-port")
}

func (h *hostPort) remove() error {
	if h.routes != nil {
		h.routes.Close()
	}
	return h.queue.Remove()
}

// hostPortMAC is the same whenever the daemon comes back to the same NIC, so
// that what containers remember of the host stays true.
func hostPortMAC(name string, nic api.MAC) [6]byte {
	sum := sha256.Sum256(append([]byte(name), nic[:]...))
	mac := [6]byte(sum[:6])
	mac[0] = mac[0]&^1 | 2 // unicast, locally administered
	return mac
}

// setHost tells the switch and the registry who the host is now.
func (d *Daemon) setHost() error {
	addrs, err := d.hostAddrs()
	if err != nil {
		return err
	}
	cfg := demux.HostConfig{NICMAC: d.mac(), Addrs: callable(addrs), MTU: d.facts.MTU, WireMTU: d.facts.MTU}
	if wireChecksum(d.cfg, d.facts) == config.ChecksumComplete {
		cfg.WireChecksum = demux.WireComplete
	}
	reserved := map[api.MAC]string{d.mac(): d.cfg.NIC}
	if d.host != nil {
		cfg.HostMAC, cfg.GatewayMAC = d.host.mac, [6]byte([]byte(gatewayMAC))
		cfg.Lanes = d.lanes(d.host.queue)
		reserved[d.host.mac], reserved[cfg.GatewayMAC] = d.host.name, d.host.name
	}
	d.reg.SetHost(addrs, reserved)
	d.findClashes()
	return d.sw.SetHost(cfg)
}
