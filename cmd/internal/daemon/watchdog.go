package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/xdpdemux/xdpdemux/demux"
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
	d.watchdog.Guard(s, func() {
		if err := d.prog.Rescue(s); err != nil {
			d.notice("queue %d: its worker hangs, and its socket could not be taken from it: %v", s.Queue(), err)
			return
		}
		d.notice("queue %d: its worker made no progress for %v; the queue is the host's alone until it does", s.Queue(), xdp.WatchdogLimit)
		d.spawn(func(<-chan struct{}) { d.resume(u) })
	})
	u.undo.Push("the watch over a socket", func() error { d.watchdog.Leave(s); return nil })
}

// resumePause is how often a worker is looked at that hung.
const resumePause = 100 * time.Millisecond

// resume waits until every worker goes round again and opens the sockets anew.
func (d *Daemon) resume(u *uplink) {
	before := d.sw.Stats().Workers
	for !d.roundSince(before) {
		select {
		case <-d.stop:
			return
		case <-time.After(resumePause):
		}
		for _, w := range d.crew.waiters {
			w.Wake()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.up != u {
		return // somebody else was faster: another socket's rescue, or the NIC went
	}
	err := errors.Join(d.crew.halt(d.links()), d.closeUplink())
	if err == nil {
		err = d.openUplink()
	}
	if err = errors.Join(err, d.crew.start(d.links())); err != nil {
		d.notice("the workers go round again, but the queues could not be served again: %v", err)
		return
	}
	d.notice("the workers go round again, and the queues are served again")
}

// roundSince says that no worker is where it was.
func (d *Daemon) roundSince(before []demux.WorkerStats) bool {
	for i, w := range d.sw.Stats().Workers {
		if w.Breaths == before[i].Breaths {
			return false
		}
	}
	return true
}
