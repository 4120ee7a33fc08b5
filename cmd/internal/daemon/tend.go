package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/queues/tap"
)

// How many containers are looked at each second. A look costs about 100 µs, so
// this is 2 ms of each second at most, and a container of a thousand is seen to
// within a minute. Where the kernel tells of each change inside, that is only to
// be on the safe side, and a few suffice: ten thousand idle containers shall cost
// nothing that could be seen.
const (
	tendEach    = 20
	tendWatched = 4
)

// watchContainers has the kernel tell when somebody inside a container takes
// something away from its interface. Without that each is seen to in turn only.
func (d *Daemon) watchContainers() {
	w, err := tap.NewWatcher()
	if err != nil {
		d.warnings = append(d.warnings, fmt.Sprintf("what somebody inside a container takes away from its interface is put back late: %v", err))
		return
	}
	d.watcher = w
	ctx, cancel := context.WithCancel(context.Background())
	d.undo.Push("the watch over the containers", func() error { cancel(); return w.Close() })
	d.spawn(func(stop <-chan struct{}) {
		go func() { <-stop; cancel() }()
		if err := w.Run(ctx, d.lookAt); err != nil && ctx.Err() == nil {
			d.notice("watching the containers: %v", err)
		}
	})
}

// lookAt sees to the port of a queue, if it still has one.
func (d *Daemon) lookAt(q *tap.Queue) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.owners[q]; p != nil {
		d.seeTo(p)
	}
}

// tend looks at the containers' interfaces in turn and puts back what somebody
// inside took away.
func (d *Daemon) tend(stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var round []string
	each := tendEach
	if d.watcher != nil {
		each = tendWatched
	}
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if len(round) == 0 {
			round = d.names()
		}
		n := min(each, len(round))
		for _, name := range round[:n] {
			d.look(name)
		}
		round = round[n:]
	}
}

func (d *Daemon) names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.ports))
}

// look sees to one port.
func (d *Daemon) look(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.ports[name]; p != nil && p.queue != nil {
		d.seeTo(p)
	}
}

func (d *Daemon) seeTo(p *port) {
	name := p.spec.Name
	repaired, err := p.queue.tend()
	switch {
	case errors.Is(err, errLost):
		d.remake(p)
	case err != nil:
		d.notice("port %s: %v", name, err)
	case repaired != "":
		d.notice("port %s: put back %s that were taken away inside", name, repaired)
	}
}

// remake makes the queue of a port anew that somebody took away inside.
func (d *Daemon) remake(p *port) {
	err := d.takeDown([]*port{p})
	if err == nil {
		err = d.openQueue(p)
	}
	if err == nil {
		err = d.bringUp([]*port{p})
	}
	if err == nil {
		err = d.commit([]*port{p})
	}
	if err != nil {
		p.fail(errors.Join(err, d.takeDown([]*port{p})))
		d.notice("port %s: %v and could not be made anew: %s", p.spec.Name, errLost, p.fault)
		return
	}
	p.state = api.StateReady
	d.notice("port %s: %v, and made anew", p.spec.Name, errLost)
}
