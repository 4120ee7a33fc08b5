package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/neighbour"
)

// gateway is a next hop as the ports that use it see it.
type gateway struct {
	// local is the MAC of the host or the port that has the address, as
	// followGateways last saw it; zero: it is on the wire.
	local neighbour.MAC
	users map[string]bool
}

// useGateways gives the container a permanent neighbour for each gateway whose
// MAC is known, and has the others asked for.
func (d *Daemon) useGateways(p *port) error {
	for _, gw := range p.spec.Gateways {
		asker, ok := p.id.Asker(gw)
		if !ok {
			continue
		}
		mac := d.useHop(p, neighbour.Hop{VLAN: p.id.VLAN, IP: gw}, asker)
		if mac == (neighbour.MAC{}) {
			continue
		}
		if err := p.queue.SetNeighbour(gw, mac); err != nil {
			return fmt.Errorf("gateway %v: %w", gw, err)
		}
	}
	return nil
}

// useHop notes that the port uses the gateway, and returns its MAC if known.
func (d *Daemon) useHop(p *port, h neighbour.Hop, asker netip.Addr) neighbour.MAC {
	p.hops = append(p.hops, h)
	local := d.localOwner(h)
	if d.gateways[h] == nil {
		d.gateways[h] = &gateway{local: local, users: map[string]bool{}}
	}
	d.gateways[h].users[p.spec.Name] = true
	if local != (neighbour.MAC{}) {
		d.resolver.Leave(h, p.spec.Name) // it may have been on the wire before
		return local
	}
	return d.resolver.Use(h, p.spec.Name, neighbour.Identity{VLAN: h.VLAN, MAC: p.mac(d.mac()), IP: asker}, time.Now())
}

func (d *Daemon) leaveGateways(p *port) {
	for _, h := range p.hops {
		d.resolver.Leave(h, p.spec.Name)
		if g := d.gateways[h]; g != nil {
			if delete(g.users, p.spec.Name); len(g.users) == 0 {
				delete(d.gateways, h)
			}
		}
	}
	p.hops = nil
}

// moveGateways has the port use its gateways, in place of those that it used.
func (d *Daemon) moveGateways(p, was *port) error {
	d.leaveGateways(p)
	return errors.Join(d.forgetGateways(p, was), d.useGateways(p))
}

// forgetGateways takes the permanent neighbours away that the port had for
// gateways which it does not use now: nobody would tell them that they moved.
func (d *Daemon) forgetGateways(p, was *port) error {
	gone, _ := difference(was.spec.Gateways, p.spec.Gateways)
	var errs []error
	for _, gw := range gone {
		errs = append(errs, p.queue.DelNeighbour(gw))
	}
	return errors.Join(errs...)
}

// renewGateways has a port's gateways asked for in the name that it has now; one
// that is an IP identity itself has another MAC.
func (d *Daemon) renewGateways(p *port) error {
	p.hops = nil // the same again follow, and the resolver keeps what it knows of them
	return d.useGateways(p)
}

// followGateways sees to the gateways that are local now, or are no longer, or
// belong to another port: who owns what has changed. There are as many gateways
// as there are routers, so all are looked at.
func (d *Daemon) followGateways() {
	for h, g := range d.gateways {
		was := g.local
		if g.local = d.localOwner(h); g.local == was {
			continue
		}
		for name := range g.users {
			if p := d.ports[name]; p != nil && p.queue != nil {
				d.followGateway(p, h, g)
			}
		}
	}
}

func (d *Daemon) followGateway(p *port, h neighbour.Hop, g *gateway) {
	var err error
	if g.local == (neighbour.MAC{}) {
		err = p.queue.DelNeighbour(h.IP) // until it is found on the wire
	}
	if err = errors.Join(err, d.renewGateways(p)); err != nil {
		d.notice("port %s: gateway %v is another one now, and its container could not be told: %v", p.spec.Name, h.IP, err)
	}
}

// localOwner is the MAC of a gateway that is on this host: the host itself, or
// another port. Else it is zero.
func (d *Daemon) localOwner(h neighbour.Hop) neighbour.MAC {
	if h.VLAN == 0 && d.host != nil && d.reg.Host(h.IP) {
		return d.host.mac
	}
	if _, id, ok := d.reg.Owner(h.VLAN, h.IP); ok {
		return neighbour.MAC(macOn(id, d.mac()))
	}
	return neighbour.MAC{}
}
