package daemon

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/xdpdemux/xdpdemux/nic"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// recheckEvery is how often the device is looked at for what the kernel does not
// tell: channels and offloads that somebody changed. A look costs some hundred
// microseconds.
const recheckEvery = 2 * time.Second

// recheck looks at the device by and by until stop is closed.
func (d *Daemon) recheck(stop <-chan struct{}) {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			d.lookAtNIC()
		}
	}
}

// lookAtNIC adapts to what is different.
func (d *Daemon) lookAtNIC() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone {
		return
	}
	defer d.see()
	if hung, over := d.crew.hung(); hung {
		if over {
			d.goOn()
		}
		return
	}
	if d.up == nil || d.refresh() != nil {
		return // its return, or its end, has an event of its own
	}
	if d.facts.XDPMode == "" {
		d.lostProgram()
		return
	}
	if err := errors.Join(d.recheckOffloads(), d.recheckChannels()); err != nil {
		d.uneven = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
}

// goOn has the workers go on after one of them hung when they were to be halted.
// What that was for is done now.
func (d *Daemon) goOn() {
	var err error
	if d.link.Present {
		err = d.restart(d.links())
		if d.up != nil && d.up.rescued.Load() == 0 {
			err = errors.Join(err, d.serve())
		}
	} else {
		err = d.letGo()
	}
	if err != nil {
		d.notice("%s: the workers: %v", d.cfg.NIC, err)
		return
	}
	d.notice("%s: the worker that hung goes round again", d.cfg.NIC)
}

// lostProgram is for a device from which our program has gone, as it does when
// the device leaves the namespace and comes back unseen.
func (d *Daemon) lostProgram() {
	if err := d.letGo(); err != nil {
		d.notice("%s: its XDP program is gone: %v", d.cfg.NIC, err)
		return
	}
	d.giveUp(errors.New("its XDP program was taken off it"))
}

// recheckOffloads switches off again what somebody has switched on and would break
// the data path. At detach it is given back.
func (d *Daemon) recheckOffloads() error {
	cfg := nic.PrepareConfig{Generic: d.up.mode == xdp.ModeGeneric}
	plan, err := d.nic.Plan(cfg)
	if err != nil || len(plan.Off) == 0 {
		return ignoreGone(err)
	}
	if err := d.prepareMore(cfg); err != nil {
		return err
	}
	for _, off := range plan.Off {
		d.notice("%s: somebody switched %s on, which %s; it is off again until detach", d.cfg.NIC, off, nic.Why(off))
	}
	return nil
}

// recheckChannels serves as many queues as the device has by now.
func (d *Daemon) recheckChannels() error {
	want, have := served(d.cfg, d.facts), len(d.up.sockets)
	if want == have {
		d.uneven = ""
		return nil
	}
	err := d.serveQueues(want < have)
	now := fmt.Sprintf("%d queues of %s are served now, in place of %d", len(d.links()), d.cfg.NIC, have)
	if err == nil {
		d.notice("%s: its channels have changed", now)
	}
	return err
}

// serveQueues opens the sockets that are missing, or all anew where there are
// too many.
func (d *Daemon) serveQueues(fewer bool) error {
	if fewer {
		if err := d.renewSockets(d.up); err != nil {
			d.giveUp(err)
			return err
		}
		return nil
	}
	had := d.links()
	return errors.Join(d.openSockets(d.up), d.restart(had), d.serve())
}
