package memif

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// session is one control connection, from accept to its end. Everything but
// the second group belongs to whoever holds Server.mu.
type session struct {
	server   *Server
	queue    *Queue
	sock     int
	token    token
	cred     unix.Ucred
	place    *list.Element // in Server.shaking, while the handshake lasts
	deadline time.Time     // of the handshake
	since    time.Time     // CONNECTED was sent
	shake    handshake
	live     bool // the lanes have been lent the rings
	ended    bool

	// Workers use these.
	fault       atomic.Uint32           // a violation; set once
	aside       atomic.Bool             // its doorbells are for a ringer to ring
	ringer      atomic.Pointer[ringer]  // whoever rings, once somebody must
	wantsRinger atomic.Bool             // a doorbell is to be rung by it
	called      atomic.Bool             // stands in Server.calls
	nextCall    atomic.Pointer[session] // behind this one in Server.calls

	senders   []*sender
	receivers []*receiver
}

// broken: the client is about to be sent away, and is not to be looked at.
func (x *session) broken() bool { return x.fault.Load() != uint32(faultless) }

// violate reports what a worker found. The first one counts.
func (x *session) violate(v violation) {
	if x.fault.CompareAndSwap(uint32(faultless), uint32(v)) {
		x.call(true)
	}
}

// call asks the server to look after this client: at once, or within a
// millisecond if it is awake anyway.
func (x *session) call(urgent bool) {
	if !x.called.Swap(true) {
		x.server.push(x)
	}
	if urgent || !x.server.ticking.Load() {
		x.server.wake()
	}
}

// ring lets the ringer ring the doorbells that are pending.
func (x *session) ring() {
	if r := x.ringer.Load(); r != nil {
		r.wake()
	} else if !x.wantsRinger.Swap(true) {
		x.call(true)
	}
}

// survive is deferred around what a worker does with the client's memory, and
// turns its loss into the end of the client.
func (x *session) survive(before bool) {
	debug.SetPanicOnFault(before)
	if caught := recover(); caught != nil {
		if !faultIn(x.shake.regions, caught) {
			panic(caught)
		}
		x.violate(memoryWithdrawn)
	}
}

// maxMessages bounds what one client may say before others are heard.
const maxMessages = 16

// ready hears what the client says.
func (x *session) ready(time.Time) {
	for range maxMessages {
		if x.ended {
			return
		}
		m, fd, err := wire.Recv(x.sock, x.discard)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET):
			x.end("the client closed the connection", false)
		case err != nil:
			x.end(err.Error(), true)
		default:
			x.hear(m, fd)
		}
	}
}

// hear takes one message.
func (x *session) hear(m wire.Message, fd int) {
	err := x.answer(m, &fd)
	if fd >= 0 {
		x.discard(fd)
	}
	if err != nil && !x.ended {
		x.end(err.Error(), true)
	}
}

// discard closes what the client gave us and we do not keep.
func (x *session) discard(fd int) { x.queue.discard.take(fd) }

func (x *session) answer(m wire.Message, fd *int) error {
	if bye, ok := m.(wire.Disconnect); ok {
		x.end("the client left: "+bye.Reason, false)
		return nil
	}
	if x.shake.stage == complete {
		return fmt.Errorf("unexpected %v: the interface is connected", m.Type())
	}
	if err := x.shake.step(m, fd); err != nil {
		return err
	}
	switch m.Type() {
	case wire.TypeInit:
		if err := x.queue.admit(x); err != nil {
			return err
		}
	case wire.TypeConnect:
		return x.connect()
	}
	return x.say(wire.Ack{})
}

func (x *session) say(m wire.Message) error {
	if err := wire.Send(x.sock, m, -1); err != nil {
		return fmt.Errorf("the client does not hear: %w", err)
	}
	return nil
}

// connect lends the rings to the lanes and tells the client. Nobody reads an
// index before: clients of libmemif and DPDK zero them once more when they
// hear CONNECTED, so that ours begin at zero.
func (x *session) connect() error {
	x.prepare()
	if !touch(x.shake.regions, x.unmask) {
		return errors.New(memoryWithdrawn.String())
	}
	x.server.shaking.Remove(x.place)
	x.place, x.live, x.since = nil, true, time.Now()
	for i, l := range x.queue.lanes {
		l.fd.Store(int32(x.receivers[i].bell.fd))
		l.in.open(x.receivers[i])
		l.clients++
		l.out.open(x.senders[i], l.clients)
	}
	if err := x.queue.watchAll(x); err != nil {
		return fmt.Errorf("the server cannot wait for the doorbell: %w", err)
	}
	return x.say(wire.Connected{Interface: x.queue.cfg.Name})
}

func (x *session) prepare() {
	views := x.shake.views()
	for i, l := range x.queue.lanes {
		to, from := x.shake.rings[shm.C2S][i], x.shake.rings[shm.S2C][i]
		x.receivers = append(x.receivers, newReceiver(x, l, to.ring, to.fd, views))
		x.senders = append(x.senders, newSender(x, l, from.ring, from.fd, views))
	}
}

// unmask lets the client ring until the worker, once it has come around, says
// otherwise.
func (x *session) unmask() {
	for _, r := range x.receivers {
		r.ring.SetMasked(false)
	}
}

// end ends the client: the lanes first, so that nobody uses the memory; then
// the connection; the memory last. Tell says whether the client hears why.
func (x *session) end(reason string, tell bool) {
	if x.ended {
		return
	}
	x.ended = true
	x.takeBack()
	if tell {
		x.dismiss(reason)
	}
	x.server.unwatch(x.token, x.sock)
	x.hangUp()
	if x.place != nil {
		x.server.shaking.Remove(x.place)
		x.place = nil
	}
	x.queue.left(x, reason)
	x.silence()
	_ = x.shake.unmap()
}

// takeBack takes the rings from the lanes; no worker uses them afterwards.
func (x *session) takeBack() {
	if !x.live {
		return
	}
	x.queue.unwatchAll(x)
	for _, l := range x.queue.lanes {
		l.fd.Store(-1)
		l.in.shut()
		l.out.shut()
	}
	x.live = false
}

// hangUp ends the connection. What the client has sent and nobody has read may
// come with descriptors, which are closed with the socket.
func (x *session) hangUp() {
	_ = unix.Shutdown(x.sock, unix.SHUT_RDWR)
	x.discard(x.sock)
}

// dismiss tells the client why. What it has sent and nobody has read would
// take the reason with it when the socket is closed.
func (x *session) dismiss(reason string) {
	_ = unix.Shutdown(x.sock, unix.SHUT_RD)
	for range 4 * maxMessages {
		_, fd, err := wire.Recv(x.sock, x.discard)
		if fd >= 0 {
			x.discard(fd)
		}
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, io.EOF) {
			break
		}
	}
	_ = wire.Send(x.sock, wire.Disconnect{Reason: reason}, -1)
}

// silence closes the doorbells, which is the ringer's to do if there is one.
func (x *session) silence() {
	if r := x.ringer.Load(); r != nil {
		r.leave()
		x.server.leaving = append(x.server.leaving, r)
		return
	}
	x.queue.discard.take(x.shake.doorbells()...)
}
