package daemon

import (
	"errors"
	"fmt"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/demux"
)

// pulseLooks is how many looks in a row find a worker where it was before it is
// said to hang. Looks are counted rather than time, so that a pause of the whole
// process is not taken for one of a worker.
const pulseLooks = 20

// hang closes the channel that it returns when a worker has not gone round for
// the crew's limit, and lets go when done does.
func (d *Daemon) hang(done <-chan struct{}) <-chan struct{} {
	hung := make(chan struct{})
	if d.crew == nil {
		return hung // attach did not come that far
	}
	go func() {
		tick := time.NewTicker(d.crew.limit / pulseLooks)
		defer tick.Stop()
		before, misses := d.sw.Stats().Workers, 0
		for misses < pulseLooks {
			d.crew.wake()
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if misses++; !d.crew.runs.Load() || d.roundSince(before) {
				before, misses = d.sw.Stats().Workers, 0
			}
		}
		close(hung)
	}()
	return hung
}

// roundSince says that no worker is where it was.
func (d *Daemon) roundSince(before []demux.WorkerStats) bool { return d.hanging(before) < 0 }

// hanging is the first worker that is where it was, or -1.
func (d *Daemon) hanging(before []demux.WorkerStats) int {
	for i, w := range d.sw.Stats().Workers {
		if w.Breaths == before[i].Breaths {
			return i
		}
	}
	return -1
}

// abandon gives back of the NIC what can be while a worker hangs, which may touch
// everything else: a queue cannot be closed under it. The record of the rest
// stays, by which a later detach takes it away once the process has ended.
func (d *Daemon) abandon() error {
	errs := []error{errHung, d.ledger.rescue(d.prog), d.prog.Detach()}
	if d.mu.TryLock() { // else a request waits for that worker, too
		d.gone = true
		errs = append(errs, ignoreGone(d.nic.Restore(d.record)))
		d.mu.Unlock()
	}
	return api.Errorf(api.CodeFailed, "%s: %w; its queues are the host's again, but ports and interfaces are left", d.cfg.NIC, errors.Join(errs...)).
		WithHint(fmt.Sprintf("run xdpdemux detach %s once this process has ended", d.cfg.NIC))
}
