package memif

import (
	"errors"
	"slices"
	"time"

	"github.com/xdpdemux/xdpdemux/queues"
)

// Queue is one interface with its socket. Clients come and go; the queue and
// its lanes stay. Its methods may be called by any goroutine; Close and Remove
// only once the workers have let go of the lanes.
type Queue struct {
	server *Server
	cfg    Config
	lanes  []*Lane
	trial  trial

	// What follows belongs to whoever holds Server.mu.
	listener  *listener // nil once it is closed
	place     place
	sessions  []*session // all that are not at their end
	discard   discard
	active    *session // of these, the one that was admitted
	watchers  Doorbells
	last      string // why the last client went
	faults    uint64
	closed    bool
	removed   bool
	closeErrs error
}

var _ queues.Queue = (*Queue)(nil)

// Doorbells is told of the descriptors that a worker sleeps on: those of the
// clients, which come and go. Its methods are called with the server's lock
// held, from any goroutine: they must not call a Queue or a Server, nor wait
// for anybody who does.
type Doorbells interface {
	// Add watches fd, edge-triggered, for readability: it rings for lane.
	Add(lane, fd int) error
	// Remove forgets it, before it is closed.
	Remove(lane, fd int) error
}

// Client is what is known of the client that is connected.
type Client struct {
	// Name and Interface are what it calls itself and its interface, in
	// printable ASCII.
	Name, Interface string
	// PID, UID and GID are the kernel's word of who opened the connection.
	PID, UID, GID int
	// Rings is their number in each direction, RingSize the slots of the
	// largest.
	Rings, RingSize int
	// Regions is their number, Memory their size in bytes.
	Regions int
	Memory  uint64
	// Since is when it was connected.
	Since time.Time
}

// Lanes is described at queues.Queue.
func (q *Queue) Lanes() int { return len(q.lanes) }

// Lane is described at queues.Queue. What it returns is a *Lane.
func (q *Queue) Lane(i int) queues.Lane { return q.lanes[i] }

// Stats is described at queues.Queue. The counters go on from one client to
// the next.
func (q *Queue) Stats() queues.Stats {
	var sum queues.Stats
	for _, l := range q.lanes {
		sum = sum.Add(l.Stats())
	}
	return sum
}

// SocketPath is where clients connect: a path, or @ and the name of an
// abstract socket.
func (q *Queue) SocketPath() string { return q.cfg.socketPath() }

// Client is the client that is connected, if there is one.
func (q *Queue) Client() (Client, bool) {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	x := q.active
	if x == nil || !x.live {
		return Client{}, false
	}
	return Client{
		Name: x.shake.init.Name, Interface: x.shake.ifaceName,
		PID: int(x.cred.Pid), UID: int(x.cred.Uid), GID: int(x.cred.Gid),
		Rings: len(q.lanes), RingSize: x.shake.ringSize,
		Regions: len(x.shake.regions), Memory: x.shake.memory,
		Since: x.since,
	}, true
}

// LastDisconnect is why the last client went, or was not let in; empty if that
// never happened.
func (q *Queue) LastDisconnect() string {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	return q.last
}

// Violations counts the clients that were sent away for what they did to the
// shared memory.
func (q *Queue) Violations() uint64 {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	return q.faults
}

// Watch names who is told of doorbells from now on, at once of those of the
// client that is connected, in place of who was told before. Nil is nobody. On
// an error nobody is told, and the client is sent away.
func (q *Queue) Watch(d Doorbells) error {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	live := q.active != nil && q.active.live
	if live {
		q.unwatchAll(q.active)
	}
	q.watchers = d
	if !live {
		return nil
	}
	err := q.watchAll(q.active)
	if err != nil {
		q.active.end("the server cannot wait for the doorbell: "+err.Error(), true)
		q.watchers = nil
	}
	return err
}

func (q *Queue) watchAll(x *session) error {
	if q.watchers == nil {
		return nil
	}
	for i, r := range x.receivers {
		if err := q.watchers.Add(i, r.bell.fd); err != nil {
			return err
		}
		r.watched = true
	}
	return nil
}

func (q *Queue) unwatchAll(x *session) {
	for i, r := range x.receivers {
		if r.watched {
			_ = q.watchers.Remove(i, r.bell.fd) // it was added, and is still open
			r.watched = false
		}
	}
}

// errBusy refuses a second client.
var errBusy = errors.New("already connected: this interface has one client at a time, and has one")

// admit makes x the queue's client.
func (q *Queue) admit(x *session) error {
	if q.active != nil {
		return errBusy
	}
	q.active = x
	return nil
}

// left forgets x.
func (q *Queue) left(x *session, reason string) {
	q.sessions = slices.DeleteFunc(q.sessions, func(y *session) bool { return x == y })
	if q.active == x {
		q.active = nil
	}
	if x.broken() {
		q.faults++
	}
	if reason != errBusy.Error() {
		q.last = reason
	}
}

// Close sends the client away and lets go of the socket. The directory stays.
func (q *Queue) Close() error {
	q.server.mu.Lock()
	err := q.close()
	leaving := slices.Clone(q.server.leaving)
	q.server.mu.Unlock()
	for _, r := range leaving {
		if r.client.queue == q {
			r.await(time.Second)
		}
	}
	q.discard.await(time.Second)
	return err
}

// await waits for the end of a ringer that was asked to leave. One that a
// hostile client holds fast ends with that client.
func (r *ringer) await(limit time.Duration) {
	for end := time.Now().Add(limit); time.Now().Before(end); r.drain() {
		select {
		case <-r.done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func (q *Queue) close() error {
	if q.closed {
		return q.closeErrs
	}
	q.closed = true
	for len(q.sessions) > 0 {
		q.sessions[0].end("the server closes this interface", true)
	}
	q.server.unwatch(q.listener.token, q.listener.sock)
	q.listener.close()
	q.listener = nil
	delete(q.server.queues, q)
	q.closeErrs = q.place.unlink()
	return q.closeErrs
}

// Remove closes the queue and removes its directory. One in which the client
// left something of its own stays.
func (q *Queue) Remove() error {
	err := q.Close()
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	if q.removed {
		return err
	}
	q.removed = true
	return errors.Join(err, q.place.remove())
}
