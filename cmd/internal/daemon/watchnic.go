package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic"
)

// watchNIC follows the device and the host's addresses from now on.
func (d *Daemon) watchNIC() error {
	ctx, cancel := context.WithCancel(context.Background())
	first, events, err := d.nic.Watch(ctx, nic.WatchConfig{Ignore: d.ownInterfaces()})
	if err != nil {
		cancel()
		return err
	}
	d.undo.Push("the watch over the NIC", func() error { cancel(); return nil })
	d.link = first.Link
	d.spawn(func(stop <-chan struct{}) {
		for {
			select {
			case <-stop:
				return
			case e, open := <-events:
				if !open {
					return
				}
				d.handle(e)
			}
		}
	})
	return nil
}

func (d *Daemon) ownInterfaces() []string {
	if d.host == nil {
		return nil
	}
	return []string{d.host.name}
}

// handle adapts to one thing that happened. What cannot be done is said, and
// the daemon goes on: a container's traffic to its neighbours on the host needs
// no NIC.
func (d *Daemon) handle(e nic.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.link = e.Link
	var err error
	switch e.Kind {
	case nic.Removed:
		err = d.letGo()
	case nic.Returned:
		err = d.nicReturned()
	case nic.Resynced:
		err = d.nicResynced(e.Link)
	case nic.MACChanged:
		err = d.nicHasNewMAC()
	case nic.MTUChanged:
		err = d.nicHasNewMTU()
	case nic.AddrAdded, nic.AddrRemoved:
		err = d.hostHasOtherAddrs()
	case nic.CarrierOn:
		d.wireIsBack()
	case nic.MasterChanged:
		err = d.refresh()
	case nic.Failed:
		err = e.Err
	}
	if d.up == nil {
		d.again()
	}
	d.tell(e, err)
}

// tell says what happened, save for addresses, which are the host's affair.
func (d *Daemon) tell(e nic.Event, err error) {
	switch {
	case err != nil:
		d.notice("%s: %v: %v", e.Link.Name, e.Kind, err)
	case e.Kind == nic.Renamed:
		d.notice("%s: is called %s now", e.Before.Name, e.Link.Name)
	case e.Kind == nic.MasterChanged && e.Link.Master != 0:
		d.notice("%s: became a member of another device, which takes its frames; give it back, or detach", e.Link.Name)
	case e.Kind != nic.AddrAdded && e.Kind != nic.AddrRemoved:
		d.notice("%s: %v", e.Link.Name, e.Kind)
	}
}

// refresh reads the facts anew. A device that went meanwhile keeps its last
// ones, save for its addresses, which went with it; it is told of by an event
// of its own.
func (d *Daemon) refresh() error {
	facts, err := d.nic.Facts()
	if err != nil {
		d.facts.Addrs = nil
		return ignoreGone(err)
	}
	d.facts = facts
	return nil
}

// nicHasNewMAC gives it to all who share it, and tells the wire.
func (d *Daemon) nicHasNewMAC() error {
	errs := []error{d.refresh(), d.prog.SetNIC(d.facts.MAC), d.setHost()}
	for _, p := range d.ports {
		if p.queue != nil && !p.id.IsMAC() {
			errs = append(errs, p.queue.SetMAC(d.facts.MAC))
		}
	}
	for _, p := range d.ports {
		if p.queue != nil && len(p.spec.Gateways) > 0 {
			errs = append(errs, d.renewGateways(p))
		}
	}
	d.followGateways()
	d.wireIsBack()
	return errors.Join(errs...)
}

// nicHasNewMTU gives it to all who did not ask for one of their own.
func (d *Daemon) nicHasNewMTU() error {
	errs := []error{d.refresh(), d.setHost()}
	for _, p := range d.ports {
		if p.queue != nil && p.spec.MTU == 0 {
			errs = append(errs, p.queue.SetMTU(d.facts.MTU), d.sw.Update(p.slot, d.switchConfig(p)))
		}
	}
	if d.host != nil {
		errs = append(errs, d.host.queue.SetMTU(d.facts.MTU))
	}
	return errors.Join(errs...)
}

// hostHasOtherAddrs tells the switch, and installs the routes anew, of which
// the kernel dropped those that preferred an address that is gone.
func (d *Daemon) hostHasOtherAddrs() error {
	errs := []error{d.refresh(), d.setHost()}
	if d.host != nil {
		errs = append(errs, d.host.routes.Refresh(d.source()))
	}
	d.followGateways()
	return errors.Join(errs...)
}

// wireIsBack tells the wire who is here: it may be another wire.
func (d *Daemon) wireIsBack() {
	for _, p := range d.ports {
		if p.state == api.StateReady {
			d.announce(p)
		}
	}
	d.resolver.Forget(time.Now())
}
