package daemon

import (
	"errors"
	"sync"

	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// takeDown unmakes whatever is there of the ports, whole or half made, and
// removes their queues. What cannot be unmade is reported, and stops
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
		if p.queue != nil {
			errs = append(errs, p.queue.unwatch())
		}
		if p.slot != (demux.PortID{}) {
			slots = append(slots, p.slot)
		}
		p.routed, p.joined, p.slot = false, false, demux.PortID{}
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

// close lets go of the queues, and with remove takes away what is persistent.
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
	q := p.queue
	p.queue = nil
	switch {
	case q == nil:
		return nil
	case remove:
		return q.Remove()
	}
	return q.Close()
}
