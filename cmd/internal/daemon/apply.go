package daemon

import (
	"context"
	"maps"
	"slices"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/identity"
)

// Apply is described at api.Service.
func (d *Daemon) Apply(ctx context.Context, req api.ApplyRequest) (api.ApplyResult, error) {
	if err := d.enter(); err != nil {
		return api.ApplyResult{}, err
	}
	defer d.mu.Unlock()
	diff := d.diff(req.Ports)
	if err := d.arrange(&diff); err != nil {
		return api.ApplyResult{}, err
	}
	if req.DryRun {
		return diff.Result(), nil
	}
	return diff.Result(), d.apply(ctx, &diff)
}

// diff is what must happen. A port that does not work is made anew, also where
// its spec is what it should be: that is how to try again.
func (d *Daemon) diff(want []api.PortSpec) api.Difference {
	have := make([]api.PortSpec, 0, len(d.ports))
	for _, name := range slices.Sorted(maps.Keys(d.ports)) {
		have = append(have, d.ports[name].spec)
	}
	diff := api.Diff(have, want)
	idle := func(name string) bool { return d.ports[name].state != api.StateReady }
	stays := map[string]bool{}
	for _, name := range diff.Unchanged {
		stays[name] = true
	}
	for _, c := range diff.Change {
		stays[c.Name] = true
	}
	for _, spec := range want {
		if stays[spec.Name] && idle(spec.Name) {
			diff.Replace = append(diff.Replace, spec)
		}
	}
	diff.Unchanged = slices.DeleteFunc(diff.Unchanged, idle)
	diff.Change = slices.DeleteFunc(diff.Change, func(c api.Change) bool { return idle(c.Name) })
	return diff
}

// arrangeRounds bounds the search for an order; a port for which none was found
// by then is replaced.
const arrangeRounds = 16

// arrange puts the changes into an order in which each port finds free what it
// gets from another one. Ports that wait for each other, as two that swap their
// addresses do, are replaced. What cannot be at all is refused, and nothing is
// touched.
func (d *Daemon) arrange(diff *api.Difference) error {
	reg := d.reg.Clone()
	for _, name := range gone(diff) {
		reg.Release(name)
	}
	waiting := diff.Change
	diff.Change = nil
	for range arrangeRounds {
		waiting = d.round(reg, diff, waiting)
	}
	for _, c := range waiting {
		reg.Release(c.Name)
		diff.Replace = append(diff.Replace, c.Patch.Apply(d.ports[c.Name].spec))
	}
	for _, spec := range fresh(diff) {
		if err := reg.Claim(spec.Name, identity.Of(spec)); err != nil {
			return err
		}
	}
	if len(fresh(diff)) == 0 {
		return nil
	}
	return d.checkAdd(fresh(diff), gone(diff))
}

// round makes those of the waiting changes, in reg, that can be made now, and
// returns the others, last first: in one direction or the other a chain of
// ports, each of which wants what the next one has, is done in one round.
func (d *Daemon) round(reg *identity.Registry, diff *api.Difference, waiting []api.Change) (rest []api.Change) {
	for _, c := range waiting {
		if reg.Claim(c.Name, identity.Of(c.Patch.Apply(d.ports[c.Name].spec))) == nil {
			diff.Change = append(diff.Change, c)
		} else {
			rest = append(rest, c)
		}
	}
	slices.Reverse(rest)
	return rest
}

// gone are the ports that are removed, for good or to be made anew.
func gone(diff *api.Difference) []string {
	names := slices.Clone(diff.Remove)
	for _, spec := range diff.Replace {
		names = append(names, spec.Name)
	}
	return names
}

// fresh are the ports that are made.
func fresh(diff *api.Difference) []api.PortSpec { return slices.Concat(diff.Replace, diff.Add) }

// apply removes first, so that what is given up can be claimed by another
// port in the same file.
func (d *Daemon) apply(ctx context.Context, diff *api.Difference) error {
	if err := d.remove(gone(diff)); err != nil {
		return err
	}
	for _, c := range diff.Change {
		if err := d.change(c.Name, c.Patch); err != nil {
			return err
		}
	}
	if len(fresh(diff)) == 0 {
		return nil
	}
	_, err := d.add(ctx, fresh(diff))
	return err
}
