package memif

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// discard closes what clients have given us, on a goroutine of the queue's own:
// whoever closes a file last waits as long as its maker likes (a TCP socket that
// lingers, a file system in user space). So a client can have no more than one
// thread of ours stand still, and while much waits its queue accepts nobody.
type discard struct {
	mu   sync.Mutex
	fds  []int
	idle chan struct{} // closed once nothing waits; nil: nothing does
}

// maxDiscarded is how many descriptors may wait before the queue accepts nobody.
const maxDiscarded = 64

// take closes descriptors, some time. It never waits.
func (d *discard) take(fds ...int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fds = append(d.fds, fds...)
	if d.idle == nil && len(d.fds) > 0 {
		d.idle = make(chan struct{})
		go d.run()
	}
}

func (d *discard) run() {
	for {
		d.mu.Lock()
		if len(d.fds) == 0 {
			close(d.idle)
			d.fds, d.idle = nil, nil
			d.mu.Unlock()
			return
		}
		fd := d.fds[0]
		d.fds = d.fds[1:]
		d.mu.Unlock()
		_ = unix.Close(fd)
	}
}

// full tells whether so much waits that nothing may be added.
func (d *discard) full() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.fds) >= maxDiscarded
}

// await waits until all is closed, or not any longer.
func (d *discard) await(limit time.Duration) {
	d.mu.Lock()
	idle := d.idle
	d.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-time.After(limit):
	}
}
