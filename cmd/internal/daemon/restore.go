package daemon

import (
	"errors"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/state"
)

// restorePort claims what a remembered port owns and opens its queue. A port
// that cannot be is kept, with the reason, until its user deletes it.
func (d *Daemon) restorePort(p *port, e state.Entry) error {
	name := p.spec.Name
	d.ports[name] = p
	p.where = e.Facts
	err := d.reg.Claim(name, p.id)
	if err == nil {
		err = d.restoreQueue(p, e.Was)
	}
	if err != nil {
		p.fail(errors.Join(err, d.takeDown([]*port{p})))
	}
	return err
}

// restoreQueue opens a port's queue. Where the daemon died while it changed the
// port, the queue may be as it was before, or anything in between: it is
// opened as it was, and changed anew.
func (d *Daemon) restoreQueue(p *port, was *api.PortSpec) error {
	if was == nil {
		return d.openQueue(p)
	}
	now := *p
	old := newPort(was.WithDefaults())
	p.spec, p.id = old.spec, old.id
	err := d.openQueue(p)
	p.spec, p.id = now.spec, now.id
	if err != nil {
		return err
	}
	return errors.Join(p.queue.reshape(d.shapeOf(p)), d.forgetGateways(p, old))
}

// revive brings up the ports whose queues are open: all in one go, or, if one
// of them stands in the way, one by one.
func (d *Daemon) revive(ports []*port) error {
	if len(ports) == 0 {
		return nil
	}
	if d.bringUp(ports) == nil {
		return d.commit(ports)
	}
	var good []*port
	for _, p := range ports {
		err := d.openQueue(p)
		if err == nil {
			err = d.bringUp([]*port{p})
		}
		if err != nil {
			p.fail(errors.Join(err, d.takeDown([]*port{p})))
			d.notice("port %s does not work: %s", p.spec.Name, p.fault)
			continue
		}
		good = append(good, p)
	}
	return d.commit(good)
}

// finishRemoval completes what a daemon that died had begun: adding a port
// that nobody was told of, or deleting one.
func (d *Daemon) finishRemoval(e state.Entry) error {
	if _, err := clearPort(d.cfg, e.Spec, e.Facts); err != nil {
		d.notice("port %s: completing its removal: %v", e.Spec.Name, err)
	}
	return d.journal.Deleted(e.Spec.Name)
}
