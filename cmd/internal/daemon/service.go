package daemon

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/identity"
	"github.com/xdpdemux/xdpdemux/cmd/internal/state"
)

var _ api.Service = (*Daemon)(nil)

// Ports is described at api.Service.
func (d *Daemon) Ports(ctx context.Context) ([]api.Port, error) {
	if err := d.enterToRead(ctx, readPatience); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	all := make([]api.Port, 0, len(d.ports))
	for _, p := range d.ports {
		all = append(all, d.view(p))
	}
	slices.SortFunc(all, func(a, b api.Port) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Add is described at api.Service.
func (d *Daemon) Add(ctx context.Context, specs []api.PortSpec) ([]api.Port, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	ports, err := d.add(ctx, specs)
	if err != nil {
		return nil, err
	}
	views := make([]api.Port, len(ports))
	for i, p := range ports {
		views[i] = d.view(p)
	}
	return views, nil
}

// add claims what the ports own, records the intention, makes them, and
// records the success: a crash anywhere between leaves ports that nobody was
// promised, and the next start removes them.
func (d *Daemon) add(ctx context.Context, specs []api.PortSpec) (ports []*port, err error) {
	if err := d.checkAdd(specs, nil); err != nil {
		return nil, err
	}
	ports = make([]*port, len(specs))
	entries := make([]state.Entry, len(specs))
	names := make([]string, len(specs))
	for i, spec := range specs {
		ports[i] = newPort(spec)
		entries[i], names[i] = state.Entry{Spec: spec}, spec.Name
	}
	all := ports // the result, which an error empties
	defer func() {
		if err != nil {
			d.forget(all)
		}
	}()
	if err := d.claim(ports); err != nil {
		return nil, err
	}
	if err := d.journal.Adding(entries...); err != nil {
		return nil, err
	}
	if err := d.make(ctx, ports); err != nil {
		return nil, errors.Join(err, d.journal.Deleted(names...))
	}
	if err := d.commit(ports); err != nil {
		return nil, errors.Join(err, d.takeDown(ports), d.journal.Deleted(names...))
	}
	return ports, nil
}

// checkAdd refuses what could not work, once some ports are gone, before
// anything is touched.
func (d *Daemon) checkAdd(specs []api.PortSpec, gone []string) error {
	there := len(d.ports) - len(gone)
	if len(specs) > d.cfg.MaxPorts-there {
		return api.Errorf(api.CodeLimit, "%d ports are there and %d more are asked for, but %d is the most", there, len(specs), d.cfg.MaxPorts).
			WithHint("delete ports, or attach with a larger --max-ports")
	}
	need := 0
	for i := range specs {
		k, err := d.kindOf(&specs[i])
		if err != nil {
			return err
		}
		if err := k.check(d, &specs[i]); err != nil {
			return err
		}
		need += k.descriptors(&specs[i], d.crew.size())
	}
	return d.checkDescriptors(len(specs), need-d.held(gone))
}

func (d *Daemon) claim(ports []*port) error {
	for _, p := range ports {
		if d.ports[p.spec.Name] != nil {
			return api.Errorf(api.CodeConflict, "port %s: there is a port of that name", p.spec.Name).WithHint("choose another name, or change it with set")
		}
		if err := d.reg.Claim(p.spec.Name, p.id); err != nil {
			return err
		}
		d.ports[p.spec.Name] = p
	}
	return nil
}

// forget gives up the names and what they own; the ports are down. A port that
// never got its name, since another has it, leaves it to that one.
func (d *Daemon) forget(ports []*port) {
	for _, p := range ports {
		if name := p.spec.Name; d.ports[name] == p {
			d.reg.Release(name)
			delete(d.ports, name)
		}
	}
}

// make opens the queues and brings the ports up, all or nothing.
func (d *Daemon) make(ctx context.Context, ports []*port) error {
	for i, p := range ports {
		err := ctx.Err()
		if err == nil {
			err = d.openQueue(p)
		}
		if err != nil {
			return errors.Join(err, d.takeDown(ports[:i+1]))
		}
	}
	return d.bringUp(ports)
}

// commit records that the ports exist and tells the network.
func (d *Daemon) commit(ports []*port) error {
	if err := d.at("port: commit"); err != nil {
		return err
	}
	facts := make([]state.Fact, len(ports))
	for i, p := range ports {
		facts[i] = p.facts(d.mac())
	}
	if err := d.journal.SetFacts(facts...); err != nil {
		return err
	}
	d.announce(ports...)
	d.followGateways()
	return nil
}

// Delete is described at api.Service.
func (d *Daemon) Delete(_ context.Context, names []string) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.mu.Unlock()
	return d.remove(names)
}

func (d *Daemon) remove(names []string) error {
	ports, err := d.named(names)
	if err != nil || len(ports) == 0 {
		return err
	}
	names = names[:0:0] // each once
	for _, p := range ports {
		names = append(names, p.spec.Name)
	}
	if err := d.journal.Deleting(names...); err != nil {
		return err
	}
	err = errors.Join(d.at("delete: recorded"), d.disconnect(ports), d.at("delete: disconnected"),
		d.sweep(ports), d.close(ports, true), d.at("delete: removed"))
	d.forget(ports)
	d.followGateways()
	return errors.Join(err, d.journal.Deleted(names...))
}

// named finds ports by name, each once.
func (d *Daemon) named(names []string) ([]*port, error) {
	seen := map[string]bool{}
	var ports []*port
	for _, name := range names {
		p := d.ports[name]
		if p == nil {
			return nil, api.Errorf(api.CodeNotFound, "there is no port %s on %s", name, d.cfg.NIC).WithHint("see xdpdemux ls")
		}
		if !seen[name] {
			ports = append(ports, p)
		}
		seen[name] = true
	}
	return ports, nil
}

// Set is described at api.Service.
func (d *Daemon) Set(_ context.Context, name string, patch api.Patch) (api.Port, error) {
	if err := d.enter(); err != nil {
		return api.Port{}, err
	}
	defer d.mu.Unlock()
	if err := d.change(name, patch); err != nil {
		return api.Port{}, err
	}
	return d.view(d.ports[name]), nil
}

// change makes a port what the patch says, or leaves it as it was.
func (d *Daemon) change(name string, patch api.Patch) error {
	ports, err := d.named([]string{name})
	if err != nil {
		return err
	}
	p := ports[0]
	next := patch.Apply(p.spec)
	if err := next.Validate(); err != nil {
		return err
	}
	id := identity.Of(next)
	if err := d.reg.Claim(name, id); err != nil {
		return err
	}
	if err := d.reshape(p, next, id); err != nil {
		return errors.Join(err, d.reg.Claim(name, p.id))
	}
	d.followGateways()
	return nil
}
