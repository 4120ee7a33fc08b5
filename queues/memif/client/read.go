package client

import (
	"context"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// receiver is a ring from the server. All of its slots are lent to the server
// as empty buffers; the server fills them in order and moves the tail.
type receiver struct {
	half
	next uint16 // index of the next slot to read

	oversize, malformed, wakeups atomic.Uint64

	// For whoever sleeps; see wait.go.
	file *os.File // the eventfd, once somebody slept
	bell chan struct{}
	nap  nap

	armed bool // by Arm; see poll.go
}

func (x *receiver) open(c *Conn, h *half, mem []byte) {
	x.half.open(c, h, mem)
	x.bell = make(chan struct{}, 1)
	x.nap = newNap()
	x.ring.SetMasked(true)
	for i := range x.ring.Size() {
		x.lend(i)
	}
	x.ring.SetHead(x.ring.Size())
}

// lend writes the descriptor of an empty buffer. Servers leave flags standing,
// so all of it is written each time.
func (x *receiver) lend(i uint16) {
	x.ring.SetDesc(i, shm.Desc{Length: uint32(x.size), Offset: x.offset(i)})
}

// Read copies frames that wait into bufs, in order, and returns how many. It
// uses the capacity of each buffer and cuts the buffer to the frame's length,
// so that the same bufs serve again. A frame that is larger than its buffer is
// dropped and counted. It never waits: 0 and no error mean that there is
// nothing. After the connection has ended, it yields what still waits, and then
// the reason.
func (r *Ring) Read(bufs [][]byte) (n int, err error) { return r.rx.read(bufs) }

func (x *receiver) read(bufs [][]byte) (n int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return 0, ErrClosed
	}
	end := x.conn.Err() // before the tail: what was published earlier is read
	ready, ok := x.ring.Span(x.next, x.ring.Tail())
	if !ok {
		return 0, x.conn.broke("a tail beyond the head")
	}
	if ready == 0 {
		return 0, end
	}
	n, bytes := x.take(bufs, ready)
	x.ring.SetHead(x.next + x.ring.Size())
	x.frames.Add(uint64(n))
	x.bytes.Add(bytes)
	return n, nil
}

// take reads frames out of the ready slots that were published.
func (x *receiver) take(bufs [][]byte, ready uint16) (n int, bytes uint64) {
	for n < len(bufs) && ready > 0 {
		buf := bufs[n][:cap(bufs[n])]
		slots, length, whole := x.gather(buf, ready)
		for range slots {
			x.lend(x.next)
			x.next++
		}
		ready -= slots
		switch {
		case !whole:
			x.malformed.Add(1)
		case length > len(buf):
			x.oversize.Add(1)
		default:
			bufs[n] = buf[:length]
			bytes += uint64(length)
			n++
		}
	}
	return n, bytes
}

// gather copies the frame that starts at the next slot into buf, as far as it
// fits, and returns how many slots and bytes it has, and whether it is a frame.
// Of a descriptor only flags and length are the server's to say: where the
// buffer is we know.
func (x *receiver) gather(buf []byte, ready uint16) (slots uint16, length int, whole bool) {
	whole = true
	for more := true; more; {
		if slots == ready {
			return slots, length, false // servers publish whole chains
		}
		d := x.ring.Desc(x.next + slots)
		if d.Length == 0 || d.Length > uint32(x.size) {
			whole = false
		} else {
			if length < len(buf) {
				copy(buf[length:], x.slot(x.next + slots)[:d.Length])
			}
			length += int(d.Length)
		}
		slots++
		more = d.Flags&shm.FlagNext != 0
	}
	return slots, length, whole
}

const (
	// looks is how often ReadContext looks, and lets others run, before it
	// asks for an interrupt.
	looks = 4
	// A sender that reads our flag before its frame is visible sends no
	// interrupt, and DPDK's may. So the first sleep is short; the later ones
	// grow, since such a sender has seen the flag by then.
	firstNap = time.Millisecond
	lastNap  = time.Second
)

// ReadContext is Read, but waits until there is a frame, the connection has
// ended, or ctx has.
func (r *Ring) ReadContext(ctx context.Context, bufs [][]byte) (n int, err error) {
	x := &r.rx
	armed, d := false, firstNap
	for look := 0; ; look++ {
		if n, err = x.read(bufs); n > 0 || err != nil || len(bufs) == 0 {
			break
		}
		if err = ctx.Err(); err != nil {
			break
		}
		switch {
		case x.conn.cfg.Polling || look < looks:
			runtime.Gosched()
		case !armed: // and look once more
			armed = x.arm()
		default:
			x.nap.sleep(ctx.Done(), x.conn.ended, x.bell, d)
			d = min(2*d, lastNap)
		}
	}
	if armed {
		x.disarm()
	}
	return n, err
}

// arm asks the server to interrupt us. It says false after Close.
func (x *receiver) arm() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return false
	}
	if x.file == nil {
		x.file = os.NewFile(uintptr(x.fd), "memif eventfd")
		x.conn.watchers.Go(x.listen)
	}
	x.ring.SetMasked(false)
	return true
}

func (x *receiver) disarm() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.closed {
		x.ring.SetMasked(true)
	}
}

// listen passes the server's interrupts on to whoever sleeps, until the eventfd
// is closed. A goroutine of its own lets the sleeper wait for its context as
// well.
func (x *receiver) listen() {
	var count [8]byte
	for {
		if _, err := x.file.Read(count[:]); err != nil {
			return
		}
		x.wakeups.Add(1)
		select {
		case x.bell <- struct{}{}:
		default: // it rings already
		}
	}
}

func (x *receiver) close() error {
	x.shut()
	return closeFile(x.file, x.fd)
}
