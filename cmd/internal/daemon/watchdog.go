package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xdpdemux/xdpdemux/xdp"
)

// guard runs the watchdog over zero-copy sockets. In zero-copy the chunks that
// a worker holds carry the host's own frames too, so a worker that hangs must
// not keep them.
func (d *Daemon) guard(stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-stop
		cancel()
	}()
	d.watchdog.Run(ctx)
}

// guardSocket puts a zero-copy socket under the watchdog.
func (d *Daemon) guardSocket(u *uplink, s *xdp.Socket) {
	if !s.ZeroCopy() {
		return
	}
	d.watchdog.Guard(s, func() { d.rescue(u, s) })
	u.clear.Push("the watch over a socket", func() error { d.watchdog.Leave(s); return nil })
}

// rescue takes a socket from a worker that hangs, and has the queues served again
// once it does not.
func (d *Daemon) rescue(u *uplink, s *xdp.Socket) {
	if err := d.prog.Rescue(s); err != nil {
		d.notice("queue %d: its worker hangs, and its socket could not be taken from it: %v", s.Queue(), err)
		return
	}
	u.rescued.Add(1)
	d.notice("queue %d: its worker made no progress for %v; the queue is the host's alone until it does", s.Queue(), xdp.WatchdogLimit)
	d.spawn(func(<-chan struct{}) { d.resume(u) })
}

// While a worker hangs it is looked at each resumePause. A queue that was rescued
// before, less than rescueMemory ago, waits longer each time.
const (
	resumePause  = 100 * time.Millisecond
	rescueMemory = 2 * mostPause
)

// resume waits until every worker goes round again, and a while if it is not the
// first time, and opens the sockets anew.
func (d *Daemon) resume(u *uplink) {
	if !d.pause(d.rescuePause()) {
		return
	}
	before := d.sw.Stats().Workers
	for !d.roundSince(before) {
		if !d.pause(resumePause) {
			return
		}
		d.crew.wake()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone || d.up != u || u.rescued.Load() == 0 {
		return // somebody else was faster: another socket's rescue, or the NIC went
	}
	err := d.renewSockets(u)
	if errors.Is(err, errHung) {
		d.spawn(func(<-chan struct{}) { d.resume(u) })
		return
	}
	if err != nil {
		d.giveUp(fmt.Errorf("the workers go round again, but the queues could not be served again: %w", err))
		return
	}
	d.notice("the workers go round again, and the queues are served again")
}

// pause sleeps, and says whether the daemon still runs.
func (d *Daemon) pause(t time.Duration) bool {
	select {
	case <-d.stop:
		return false
	case <-time.After(t):
		return true
	}
}

// rescuePause is how long to leave the queues to the host after a rescue.
func (d *Daemon) rescuePause() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.lastRescue) > rescueMemory {
		d.rescues = backoff{}
	}
	d.lastRescue = time.Now()
	return d.rescues.wait()
}

// renewSockets opens all sockets anew; the program stays attached. Where that
// fails the device is let go.
func (d *Daemon) renewSockets(u *uplink) error {
	err := errors.Join(u.clearSlots(), d.crew.halt(d.links()))
	if errors.Is(err, errHung) {
		return err
	}
	if err = errors.Join(err, u.closeSockets()); err == nil {
		err = d.openSockets(u)
	}
	if err != nil {
		return errors.Join(err, d.closeUplink(), d.crew.start(nil))
	}
	return errors.Join(d.crew.start(d.links()), d.serve())
}
