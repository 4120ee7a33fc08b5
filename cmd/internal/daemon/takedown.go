package daemon

import (
	"errors"
	"sync"

	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// takeDown unmakes whatever is there of the ports, whole or half made, and
// removes their interfaces. What cannot be unmade is reported, and stops
// nothing.
func (d *Daemon) takeDown(ports []*port) error {
	return errors.Join(d.disconnect(ports), d.close(ports, true))
}

// disconnect takes the ports off the wire, the host and the switch; on return
// no worker touches their queues any more.
func (d *Daemon) disconnect(ports []*port) error {
	errs := []error{d.unsteer(ports)}
	var slots []demux.PortID
	for _, p := range ports {
		d.leaveGateways(p)
		d.herald.retract(p.id.VLAN, p.id.Owned())
		if p.routed && d.host != nil {
			errs = append(errs, d.host.routes.Remove(routesOf(p.id)...))
		}
		if p.joined {
			errs = append(errs, d.unjoin(p.id))
		}
		for _, w := range p.watched {
			errs = append(errs, d.crew.waiter(w.worker).Remove(w.fd))
		}
		if delete(d.owners, p.queue); d.watcher != nil && p.queue != nil {
			d.watcher.Remove(p.queue)
		}
		if p.slot != (demux.PortID{}) {
			slots = append(slots, p.slot)
		}
		p.routed, p.joined, p.watched, p.slot = false, false, nil, demux.PortID{}
	}
	if len(slots) > 0 {
		errs = append(errs, d.sw.Detach(slots...))
	}
	return errors.Join(errs...)
}

func (d *Daemon) unsteer(ports []*port) error {
	var rules []xdp.Rule
	for _, p := range ports {
		if p.steered {
			rules = append(rules, p.rules()...)
		}
		p.steered = false
	}
	if len(rules) == 0 {
		return nil
	}
	return d.prog.Remove(rules...)
}

// closers is how many queues are closed at once. For each interface that it
// removes the kernel waits some milliseconds, and it can wait for several at
// the same time: a thousand take 3 s, not 25.
const closers = 16

// close lets go of the queues, and with remove takes the interfaces away.
func (d *Daemon) close(ports []*port, remove bool) error {
	errs := make([]error, len(ports))
	places := make(chan struct{}, closers)
	var all sync.WaitGroup
	for i, p := range ports {
		places <- struct{}{}
		all.Go(func() {
			errs[i] = p.close(remove)
			<-places
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (p *port) close(remove bool) error {
	var errs []error
	if p.queue != nil && remove {
		errs = append(errs, p.queue.Remove())
	} else if p.queue != nil {
		errs = append(errs, p.queue.Close())
	}
	if p.ns != nil {
		errs = append(errs, p.ns.Close())
	}
	p.queue, p.ns = nil, nil
	return errors.Join(errs...)
}
