package client

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// Conn is a connection to a server. Its methods may be called by any
// goroutine. Whoever has one must Close it, also after the server left.
type Conn struct {
	cfg     Config // as it was agreed
	server  Server
	rings   []Ring
	control *wire.Conn
	region  *shm.Region

	end   atomic.Pointer[ending] // nil as long as it goes on
	ended chan struct{}

	closing  sync.Once
	closed   error          // what Close returns
	watchers sync.WaitGroup // goroutines that end with the connection
}

type ending struct{ err error }

// Server is what a server says of itself.
type Server struct {
	// Name is the program's, such as "DPDK 22.11.11".
	Name string
	// Interface is what it calls its end.
	Interface string
}

// newConn starts what was agreed in a handshake.
func newConn(h *handshake) *Conn {
	c := &Conn{
		cfg:     h.cfg,
		server:  Server{Name: h.hello.Name, Interface: h.peer},
		rings:   make([]Ring, len(h.pairs)),
		control: h.control,
		region:  h.region,
		ended:   make(chan struct{}),
	}
	l, mem := h.layout(), h.region.Data()
	for i, p := range h.pairs {
		c.rings[i].tx.open(c, &half{ring: p.c2s, first: l.Buffer(shm.C2S, i, 0), stride: l.Stride(), fd: p.c2sFD}, mem)
		c.rings[i].rx.open(c, &half{ring: p.s2c, first: l.Buffer(shm.S2C, i, 0), stride: l.Stride(), fd: p.s2cFD}, mem)
	}
	c.watchers.Go(c.watch)
	return c
}

// watch waits for the server to leave.
func (c *Conn) watch() {
	m, fd, err := c.control.Recv()
	if fd >= 0 {
		_ = unix.Close(fd)
	}
	switch d, ok := m.(wire.Disconnect); {
	case ok:
		c.finish(&DisconnectedError{Reason: d.Reason}, "")
	case err != nil:
		c.finish(&DisconnectedError{}, "")
	default:
		_ = c.broke("unexpected " + m.Type().String())
	}
	for i := range c.rings {
		c.rings[i].rx.rouse()
	}
}

// broke ends the connection because the server did what it must not, and
// returns why it has ended.
func (c *Conn) broke(what string) error {
	c.finish(&brokenError{what}, what)
	return c.Err()
}

type brokenError struct{ what string }

func (e *brokenError) Error() string { return ErrServer.Error() + ": " + e.what }
func (e *brokenError) Unwrap() error { return ErrServer }

// finish ends the connection once, and tells the server the reason unless that
// is empty.
func (c *Conn) finish(err error, reason string) {
	if !c.end.CompareAndSwap(nil, &ending{err}) {
		return
	}
	close(c.ended)
	if reason != "" { // a server that reads nothing gets no reason
		_ = c.control.Unix().SetWriteDeadline(time.Now().Add(farewell))
		_ = c.control.Send(wire.Disconnect{Reason: reason}, -1)
	}
	_ = c.control.Close()
}

// farewell is how long a server's full socket is waited for.
const farewell = 100 * time.Millisecond

// Err is why the connection has ended, nil as long as it has not: ErrClosed, a
// *DisconnectedError, or an error that wraps ErrServer.
func (c *Conn) Err() error {
	if e := c.end.Load(); e != nil {
		return e.err
	}
	return nil
}

// Done is closed when the connection has ended. Err says why.
func (c *Conn) Done() <-chan struct{} { return c.ended }

// Close ends the connection, waits until nobody is inside of a Read or Write
// any more, and gives back the shared memory and all descriptors. Whoever waits
// in ReadContext or WriteContext returns with ErrClosed. A second call does
// nothing.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		c.finish(ErrClosed, "the client closes the connection")
		var err error
		for i := range c.rings {
			err = errors.Join(err, c.rings[i].tx.close(), c.rings[i].rx.close())
		}
		c.watchers.Wait()
		c.closed = errors.Join(err, c.region.Close())
	})
	return c.closed
}

// Server is what the server said of itself.
func (c *Conn) Server() Server { return c.server }

// Rings is how many rings there are in each direction.
func (c *Conn) Rings() int { return len(c.rings) }

// RingSize is how many slots a ring has: Config.RingSize, or fewer where the
// server wants that.
func (c *Conn) RingSize() int { return c.cfg.RingSize }

// BufferSize is how many bytes a slot has.
func (c *Conn) BufferSize() int { return c.cfg.BufferSize }

// MaxFrame is the largest frame in bytes that fits in a ring at all. A server
// may take less.
func (c *Conn) MaxFrame() int { return c.cfg.RingSize * c.cfg.BufferSize }

// Ring returns ring i, of 0 to Rings()-1. It is the connection's.
func (c *Conn) Ring(i int) *Ring { return &c.rings[i] }

// Ring is one ring in each direction. It is part of its Conn.
type Ring struct {
	rx receiver
	tx sender
}

// Stats counts since the connection was made.
type Stats struct {
	// Received and ReceivedBytes: frames that Read yielded.
	Received, ReceivedBytes uint64
	// Sent and SentBytes: frames that Write took.
	Sent, SentBytes uint64
	// Oversize: frames from the server that were larger than the buffer that
	// Read was given, and were dropped.
	Oversize uint64
	// Malformed: what the server published and is no frame, and was dropped.
	Malformed uint64
	// Interrupts: how often the server asked to be interrupted, and was.
	Interrupts uint64
	// Wakeups: how often the server interrupted this side.
	Wakeups uint64
}

// Stats may be called at any time.
func (r *Ring) Stats() Stats {
	return Stats{
		Received:      r.rx.frames.Load(),
		ReceivedBytes: r.rx.bytes.Load(),
		Sent:          r.tx.frames.Load(),
		SentBytes:     r.tx.bytes.Load(),
		Oversize:      r.rx.oversize.Load(),
		Malformed:     r.rx.malformed.Load(),
		Interrupts:    r.tx.interrupts.Load(),
		Wakeups:       r.rx.wakeups.Load(),
	}
}

// half is what a ring's two directions have in common.
type half struct {
	// mu is held while the shared memory is touched: Close takes it to keep
	// everybody out before it unmaps. It is seldom contended, since each
	// direction is meant for one goroutine.
	mu     sync.Mutex
	closed bool

	conn   *Conn
	ring   shm.Ring
	slots  []byte // the buffers of this ring, one after the other
	first  uint32 // where slots starts in the region
	size   int    // of a buffer
	stride int    // from one to the next
	mask   uint16
	fd     int // the ring's eventfd

	frames, bytes atomic.Uint64
}

func (h *half) open(c *Conn, o *half, mem []byte) {
	h.conn, h.ring, h.first, h.fd = c, o.ring, o.first, o.fd
	h.size, h.stride, h.mask = c.cfg.BufferSize, o.stride, o.ring.Size()-1
	h.slots = mem[h.first:][:c.cfg.RingSize*h.stride]
}

// slot is the buffer of index i.
func (h *half) slot(i uint16) []byte {
	at := int(i&h.mask) * h.stride
	return h.slots[at : at+h.size]
}

// offset is where that buffer is in the region.
func (h *half) offset(i uint16) uint32 { return h.first + uint32(i&h.mask)*uint32(h.stride) }

// shut keeps everybody out of the memory from now on.
func (h *half) shut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.slots = nil
}

// closeFile closes f, or fd if there is no f.
func closeFile(f *os.File, fd int) error {
	if f != nil {
		return f.Close()
	}
	return closeFD(fd)
}
