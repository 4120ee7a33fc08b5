package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/neighbour"
	"github.com/xdpdemux/xdpdemux/cmd/internal/state"
	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/nic"
	"github.com/xdpdemux/xdpdemux/queues/tap"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// maxDefaultWorkers bounds the workers that are started unasked: 64 receive
// queues must not mean 64 threads and 64 descriptors for each port.
const maxDefaultWorkers = 4

// attach takes the NIC into service; an error takes back all, by the way that
// detach goes.
func (d *Daemon) attach() error {
	if err := d.takeSteps(); err != nil {
		return errors.Join(err, d.Detach(context.Background()))
	}
	return nil
}

// takeSteps attaches step by step; each arms what takes it back before the
// next begins.
func (d *Daemon) takeSteps() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	steps := []struct {
		name string
		do   func() error
	}{
		{"state", d.openState}, {"nic", d.openNIC}, {"limits", raiseLimits}, {"program", d.loadProgram},
		{"leftovers", d.clearLeftovers}, {"prepare", d.prepare}, {"uplink", d.firstUplink}, {"switch", d.makeSwitch}, {"memif", d.startMemif},
		{"host port", d.addHostPort}, {"workers", d.startWorkers}, {"watch", d.startWatching}, {"choice", d.tellChoice}, {"ports", d.restorePorts},
	}
	for _, s := range steps {
		if err := d.at("attach: " + s.name); err != nil {
			return err
		}
		if err := s.do(); err != nil {
			return err
		}
	}
	d.see()
	return nil
}

func (d *Daemon) openState() (err error) {
	if d.journal, err = state.Open(d.cfg.StateDir, d.cfg.NIC); err != nil {
		return err
	}
	d.undo.Push("the lock", d.journal.Close)
	return nil
}

func (d *Daemon) openNIC() (err error) {
	if d.nic, err = nic.Open(d.cfg.NIC); err != nil {
		return nicError(err)
	}
	d.undo.Push("the addresses that the NIC accepts", d.nic.Close)
	if d.facts, err = d.nic.Facts(); err != nil {
		return err
	}
	return d.checkNIC()
}

// checkNIC refuses a device that cannot serve, that would suffer, or that is
// somebody else's, before anything is touched.
func (d *Daemon) checkNIC() error { return firstOf(objections(d.cfg, d.facts)) }

func firstOf(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return errs[0]
}

func nicError(err error) error {
	var missing *nic.NotFoundError
	if errors.As(err, &missing) {
		return api.Errorf(api.CodeNotFound, "%w", err)
	}
	return err
}

// clearLeftovers gives back what a daemon that died had changed on the NIC, so
// that this attach finds, and later restores, what was there before both. The
// record stays, without that: there are its interfaces still, and if this
// attach fails before it has made them its own, detach must find them.
func (d *Daemon) clearLeftovers() error {
	var record nic.Record
	found, err := d.journal.LoadAttach(&record)
	if err != nil || !found {
		return err
	}
	if err := ignoreGone(nic.Restore(record)); err != nil {
		return err
	}
	d.legacy = true
	return d.forgetAttach()
}

// forgetAttach records that the NIC is as it was found.
func (d *Daemon) forgetAttach() error {
	if d.legacy {
		return d.journal.SaveAttach(nic.Record{Index: d.facts.Index, Name: d.facts.Name, MAC: d.mac().String()})
	}
	return d.journal.RemoveAttach()
}

// prepare switches off the offloads that would break the data path. What they
// were is on disk before any is touched.
func (d *Daemon) prepare() error {
	d.undo.Push("the record of what was changed", d.forgetAttach)
	d.undo.Push("the NIC's offloads", func() error { return ignoreGone(d.nic.Restore(d.record)) })
	if err := d.prepareAgain(); err != nil {
		return err
	}
	for _, stuck := range d.record.Stuck {
		d.warnings = append(d.warnings, fmt.Sprintf("%s cannot be switched off: %s", stuck, nic.Why(stuck)))
	}
	return nil
}

// prepareAgain prepares the device that is there now; what an earlier one had
// is forgotten with it.
func (d *Daemon) prepareAgain() error {
	record, err := d.nic.Plan(nic.PrepareConfig{Generic: d.cfg.Mode == config.ModeGeneric})
	if err != nil {
		return err
	}
	if d.record.Index == record.Index { // a second attempt: what the first one switched off is off
		record = d.record.Merge(record)
	}
	d.record = record
	if err := d.journal.SaveAttach(record); err != nil {
		return err
	}
	if err := d.at("prepare: recorded"); err != nil {
		return err
	}
	if d.record, err = d.nic.Prepare(record); err != nil {
		return err
	}
	return d.at("prepare: done")
}

// ignoreGone: a device that is gone needs nothing given back.
func ignoreGone(err error) error {
	var gone *nic.NotFoundError
	if errors.As(err, &gone) {
		return nil
	}
	return err
}

func (d *Daemon) firstUplink() error {
	d.undo.Push("the sockets and the attachment", d.closeUplink)
	return d.openUplink()
}

func (d *Daemon) loadProgram() (err error) {
	d.prog, err = xdp.LoadProgram(xdp.ProgramConfig{
		MaxExact: 4 * d.cfg.MaxPorts, MaxMACs: d.cfg.MaxPorts, MaxPrefixes: d.cfg.MaxPorts, Queues: config.MaxQueues,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", d.cfg.NIC, err)
	}
	d.undo.Push("the XDP program", d.prog.Close)
	return d.prog.SetNIC(d.facts.MAC)
}

func (d *Daemon) makeSwitch() (err error) {
	workers := workerCount(d.cfg, len(d.up.sockets))
	d.sw, err = demux.New(demux.Config{Workers: workers, MaxPorts: d.cfg.MaxPorts, SlowThread: func() { stepAside(workers) }, ThreadTime: threadTime})
	if err != nil {
		return err
	}
	if d.crew, err = newCrew(d.sw, workers); err != nil {
		return err
	}
	d.undo.Push("the workers' waiters", d.crew.close)
	if err := d.at("switch: crew"); err != nil {
		return err
	}
	if d.crew.size() > 1 {
		if d.steering, err = tap.LoadSteering(); err != nil {
			return err
		}
		d.undo.Push("the steering program", d.steering.Close)
	}
	if err := d.openRings(); err != nil {
		return err
	}
	d.resolver = neighbour.NewResolver(d.herald.send, d.moved)
	return nil
}

// openRings makes what each worker writes into many TAPs by. Without, frames get
// there as well, for more of its time.
func (d *Daemon) openRings() error {
	for i := range d.crew.size() {
		r, err := tap.OpenRing()
		if err != nil {
			d.notice("from worker %d on each frame for a TAP takes a system call of its own: %v; see sysctl kernel.io_uring_disabled", i, err)
			break
		}
		d.undo.Push("a ring of TAPs", r.Close)
		d.rings = append(d.rings, r)
	}
	return d.at("switch: rings")
}

func (d *Daemon) addHostPort() error {
	open := d.openHostPort
	if d.cfg.NoHostPort {
		open = func() error { return removeHostPort(d.cfg.NIC) } // an earlier daemon's
	}
	if err := open(); err != nil {
		return err
	}
	if err := d.at("host port: open"); err != nil {
		return err
	}
	return d.setHost()
}

func (d *Daemon) startWorkers() error {
	d.undo.Push("the workers", func() error { return d.crew.halt(d.links()) })
	if err := d.crew.start(d.links()); err != nil {
		return err
	}
	d.undo.Push("the frames' way to the workers", d.unserve)
	return d.serve()
}

// startWatching begins to follow the device, the host and the next hops.
func (d *Daemon) startWatching() error {
	if err := d.watchNIC(); err != nil {
		return err
	}
	if err := d.at("watch: NIC"); err != nil {
		return err
	}
	d.watchContainers()
	d.patience = retryPatience
	d.spawn(d.guard)
	d.spawn(d.comeBack)
	d.spawn(d.recheck)
	d.spawn(d.herald.run)
	d.spawn(d.follow)
	d.spawn(d.tend)
	d.undo.Push("the packet socket", func() error { d.herald.use(nil); return nil })
	return nil
}

// restorePorts makes the ports that were there before, each for itself: one
// whose container has gone must not keep the others away.
func (d *Daemon) restorePorts() error {
	d.undo.Push("the ports", d.removeAllPorts)
	if err := d.at("ports: begun"); err != nil {
		return err
	}
	began := time.Now()
	var ready, failed []*port
	for _, e := range d.journal.Entries() {
		if e.Phase != state.Ready {
			if err := d.finishRemoval(e); err != nil {
				return err
			}
			continue
		}
		p := newPort(e.Spec.WithDefaults())
		if err := d.restorePort(p, e); err != nil {
			failed = append(failed, p)
			continue
		}
		ready = append(ready, p)
	}
	if err := d.revive(ready); err != nil {
		return err
	}
	if err := d.pruneRoutes(); err != nil {
		return err
	}
	d.legacy = false
	for _, p := range failed {
		d.notice("port %s does not work: %s", p.spec.Name, p.fault)
	}
	if len(ready) > 0 {
		d.notice("%d ports are back after %v", len(ready), time.Since(began).Round(time.Millisecond))
	}
	return nil
}

// removeAllPorts takes down every port and remembers them for the next attach.
func (d *Daemon) removeAllPorts() error {
	ports := make([]*port, 0, len(d.ports))
	for _, p := range d.ports {
		ports = append(ports, p)
	}
	return errors.Join(d.sweep(ports), d.takeDown(ports))
}

// stepAside makes the calling thread, which does the work of ports that cost
// too much, leave the processors to the workers and to others.
func stepAside(workers int) {
	_ = setNice(10) // without the privilege the slow thread competes as an equal
	avoid(workers)
}
