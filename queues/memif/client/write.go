package client

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// sender is a ring to the server. Slots from the tail to the head are the
// server's, the others are free.
type sender struct {
	half
	head uint16 // index of the next slot to fill
	tail uint16 // the server's, as of the last look

	one        [8]byte // what is added to the eventfd; here, for it escapes
	interrupts atomic.Uint64
	nap        nap
}

func (x *sender) open(c *Conn, h *half, mem []byte) {
	x.half.open(c, h, mem)
	x.one[0] = 1 // in either order of bytes something other than 0
	x.nap = newNap()
}

// Write copies frames into the ring, in order, and returns how many it took. It
// never waits: fewer than all and no error mean that the ring is full. The
// frames behind are the caller's to keep or to drop. A frame that no ring of
// this size could take is ErrTooBig, one without bytes ErrEmpty; the n frames
// before it are sent.
func (r *Ring) Write(frames [][]byte) (n int, err error) { return r.tx.write(frames) }

func (x *sender) write(frames [][]byte) (n int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return 0, ErrClosed
	}
	if err := x.conn.Err(); err != nil {
		return 0, err
	}
	bytes, sent := uint64(0), x.head
	for n < len(frames) {
		ok, why := x.put(frames[n])
		if !ok {
			err = why
			break
		}
		bytes += uint64(len(frames[n]))
		n++
	}
	if x.head != sent {
		x.publish()
		x.frames.Add(uint64(n))
		x.bytes.Add(bytes)
	}
	return n, err
}

// put writes one frame into the next slots. Without an error it may say that
// there is no room.
func (x *sender) put(f []byte) (ok bool, err error) {
	if len(f) == 0 {
		return false, ErrEmpty
	}
	slots := 1
	if len(f) > x.size {
		if slots = (len(f) + x.size - 1) / x.size; slots > int(x.ring.Size()) {
			return false, ErrTooBig
		}
	}
	if ok, err := x.room(uint16(slots)); !ok {
		return false, err
	}
	for ; len(f) > x.size; f = f[x.size:] {
		x.fill(f[:x.size], shm.FlagNext)
	}
	x.fill(f, 0)
	return true, nil
}

func (x *sender) fill(f []byte, flags uint16) {
	copy(x.slot(x.head), f)
	x.ring.SetDesc(x.head, shm.Desc{Flags: flags, Length: uint32(len(f)), Offset: x.offset(x.head)})
	x.head++
}

// room says whether so many slots are free. It looks at the server's index only
// if what was seen last does not suffice.
func (x *sender) room(slots uint16) (ok bool, err error) {
	size := x.ring.Size()
	if x.head-x.tail+slots <= size {
		return true, nil
	}
	tail := x.ring.Tail()
	used, sane := x.ring.Span(tail, x.head)
	if !sane {
		return false, x.conn.broke("a tail beyond the head")
	}
	x.tail = tail
	return used+slots <= size, nil
}

// publish lets the server see everything before the head, and tells it if it
// wants to be told.
func (x *sender) publish() {
	x.ring.SetHead(x.head)
	if x.ring.Masked() {
		return
	}
	_, _ = unix.Write(x.fd, x.one[:])
	x.interrupts.Add(1)
}

const (
	firstPause = 20 * time.Microsecond
	lastPause  = time.Millisecond
)

// WriteContext is Write, but waits until all frames are in the ring, the
// connection has ended, or ctx has. It returns how many it took.
func (r *Ring) WriteContext(ctx context.Context, frames [][]byte) (n int, err error) {
	x := &r.tx
	d := firstPause
	for look := 0; ; look++ {
		more, err := x.write(frames[n:])
		n += more
		if n == len(frames) || err != nil {
			return n, err
		}
		if err := ctx.Err(); err != nil {
			return n, err
		}
		switch {
		case more > 0:
			look, d = 0, firstPause
		case x.conn.cfg.Polling || look < looks:
			runtime.Gosched()
		default:
			x.nap.sleep(ctx.Done(), x.conn.ended, nil, d)
			d = min(2*d, lastPause)
		}
	}
}

func (x *sender) close() error {
	x.shut()
	return closeFD(x.fd)
}
