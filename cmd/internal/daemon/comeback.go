package daemon

import (
	"errors"
	"time"

	"github.com/xdpdemux/xdpdemux/nic"
)

// The NIC can be there and not be served: somebody else holds a queue or has put
// a program on it, it returned as a member of a bridge, a worker hung. The reason
// stands in Daemon.unserved, and it is tried again with growing pauses, and at
// once when something happens to the device.

// retryPatience is how long an attempt waits for a queue that is taken, when there
// will be another one.
const retryPatience = 500 * time.Millisecond

// giveUp notes why the NIC is not served now, says so unless it has been said,
// and has it tried again.
func (d *Daemon) giveUp(why error) {
	if d.unserved == nil || d.unserved.Error() != why.Error() {
		d.notice("%s is not served: %v; this is tried again", d.cfg.NIC, why)
	}
	d.unserved = why
	select {
	case d.lost <- struct{}{}:
	default:
	}
}

// again has the NIC tried at once, if it is not served.
func (d *Daemon) again() {
	select {
	case d.retry <- struct{}{}:
	default:
	}
}

// comeBack tries to serve a NIC that is there and not served, until stop is
// closed.
func (d *Daemon) comeBack(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-d.lost:
		case <-d.retry:
		}
		for b := (backoff{}); d.wants(); {
			select {
			case <-stop:
				return
			case <-d.retry:
				b = backoff{}
			case <-time.After(b.wait()):
			}
			d.tryAgain()
		}
	}
}

// wants says that the NIC is there and is not served.
func (d *Daemon) wants() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.gone && d.up == nil && d.link.Present
}

func (d *Daemon) tryAgain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone || d.up != nil || !d.link.Present {
		return
	}
	if err := d.serveAgain(); err != nil {
		d.giveUp(err)
		return
	}
	d.notice("%s is served again", d.cfg.NIC)
}

// serveAgain takes the device that is there now into service, as attach did the
// first one. After an error it is left alone, save that its offloads may be off.
func (d *Daemon) serveAgain() error {
	if err := errors.Join(d.nic.Rebind(d.link.Index), d.refresh()); err != nil {
		return err
	}
	if err := firstOf(objections(d.cfg, d.facts)); err != nil {
		return err
	}
	if err := d.prepareAgain(); err != nil {
		return err
	}
	if err := d.openUplink(); err != nil {
		return err
	}
	if err := d.restart(nil); err != nil {
		return errors.Join(err, d.closeUplink())
	}
	if err := d.serve(); err != nil {
		return errors.Join(err, d.letGo())
	}
	return errors.Join(d.nicHasNewMAC(), d.hostHasOtherAddrs())
}

// restart has the workers, which had these links, go on with those that there are
// now.
func (d *Daemon) restart(had []linked) error {
	err := d.crew.halt(had)
	if errors.Is(err, errHung) {
		return err
	}
	return errors.Join(err, d.crew.start(d.links()))
}

// letGo lets go of the device while the workers go on with local traffic.
func (d *Daemon) letGo() error {
	err := errors.Join(d.unserve(), d.crew.halt(d.links()))
	if errors.Is(err, errHung) {
		return err
	}
	return errors.Join(err, d.closeUplink(), d.crew.start(nil))
}

// nicReturned takes the new device into service, or says why not yet.
func (d *Daemon) nicReturned() error {
	if d.up != nil {
		if err := d.letGo(); err != nil {
			return err
		}
	}
	if err := d.serveAgain(); err != nil {
		d.giveUp(err)
	}
	return nil
}

// nicResynced looks whether the device lost the program unseen.
func (d *Daemon) nicResynced(link nic.LinkState) error {
	if err := d.refresh(); err != nil || !link.Present {
		return err
	}
	if d.up != nil && d.facts.XDPMode != "" {
		return d.hostHasOtherAddrs()
	}
	return d.nicReturned()
}
