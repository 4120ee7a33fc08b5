package daemon

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/identity"
	"github.com/xdpdemux/xdpdemux/cmd/internal/undo"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// reshape changes a port in place: what is new is let in before what is old is
// shut out, so that no frame of an address that stays is lost. A failure puts
// back what was.
func (d *Daemon) reshape(p *port, spec api.PortSpec, id identity.Identity) (err error) {
	if p.state != api.StateReady {
		return d.reshapeIdle(p, spec, id)
	}
	if err := d.journal.Set(spec); err != nil {
		return err
	}
	was := *p
	var back undo.Stack
	defer back.RunOnError(&err)
	back.Push("the journal", func() error { return errors.Join(d.journal.Set(was.spec), d.journal.Ready(spec.Name)) })
	back.Push("the gateways", func() error { return d.moveGateways(p, newPort(spec)) })
	back.Push("the port", func() error { p.spec, p.id = was.spec, was.id; return d.sw.Update(p.slot, d.switchConfig(p)) })
	p.spec, p.id = spec, id
	for _, s := range []struct {
		name string
		do   func() error
	}{
		{"switch", func() error { return d.sw.Update(p.slot, d.switchConfig(p)) }},
		{"queue", func() error { return d.reshapeQueue(p, &was, &back) }},
		{"rules", func() error { return d.reshapeRules(p, &was, &back) }},
		{"gateways", func() error { return d.moveGateways(p, &was) }},
		{"record", func() error { return d.journal.Ready(spec.Name) }},
	} {
		if err := d.at("set: " + s.name); err != nil {
			return err
		}
		if err := s.do(); err != nil {
			return err
		}
	}
	fresh, stale := difference(p.id.Owned(), was.id.Owned())
	d.herald.retract(was.id.VLAN, stale)
	d.announceAddrs(p, fresh)
	return nil
}

// reshapeIdle changes a port that does not work now; it takes effect when the
// port comes up.
func (d *Daemon) reshapeIdle(p *port, spec api.PortSpec, id identity.Identity) error {
	if err := d.journal.Set(spec); err != nil {
		return err
	}
	p.spec, p.id = spec, id
	return nil
}

// reshapeQueue changes the queue.
func (d *Daemon) reshapeQueue(p, was *port, back *undo.Stack) error {
	back.Push("the queue", func() error { return p.queue.reshape(d.shapeOf(was)) })
	return p.queue.reshape(d.shapeOf(p))
}

// reshapeRules changes what the kernel and the host know of the port.
func (d *Daemon) reshapeRules(p, was *port, back *undo.Stack) error {
	fresh, stale := difference(p.rules(), was.rules())
	back.Push("the rules", func() error { return d.prog.Remove(fresh...) })
	if err := d.prog.Insert(fresh...); err != nil {
		return err
	}
	if err := d.at("set: groups"); err != nil {
		return err
	}
	if err := d.join([]*port{p}); err != nil {
		return err
	}
	back.Push("the groups", func() error { return d.unjoin(p.id) })
	freshRoutes, staleRoutes := difference(routesOf(p.id), routesOf(was.id))
	if d.host != nil {
		back.Push("the routes", func() error { return d.host.routes.Remove(freshRoutes...) })
		if err := d.host.routes.Set(d.source(), freshRoutes...); err != nil {
			return err
		}
	}
	if err := d.at("set: shut out"); err != nil {
		return err
	}
	return d.shutOut(was, stale, staleRoutes, back)
}

// shutOut lets go of what the port owned before and does not own now.
func (d *Daemon) shutOut(was *port, rules []xdp.Rule, routes []netip.Prefix, back *undo.Stack) error {
	back.Push("the old rules", func() error { return d.prog.Insert(rules...) })
	if err := d.prog.Remove(rules...); err != nil {
		return err
	}
	if d.host != nil {
		back.Push("the old routes", func() error { return d.host.routes.Set(d.source(), routes...) })
		if err := d.host.routes.Remove(routes...); err != nil {
			return err
		}
	}
	back.Push("the old groups", func() error { return d.join([]*port{was}) })
	return d.unjoin(was.id)
}

// difference returns what is in a and not in b, and what is in b and not in a.
func difference[T comparable](a, b []T) (onlyA, onlyB []T) {
	for _, v := range a {
		if !slices.Contains(b, v) {
			onlyA = append(onlyA, v)
		}
	}
	for _, v := range b {
		if !slices.Contains(a, v) {
			onlyB = append(onlyB, v)
		}
	}
	return onlyA, onlyB
}
