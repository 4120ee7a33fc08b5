package tap

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
)

// What Ethernet adds to the MTU, in bytes.
const (
	ethLen = 14
	tagLen = 4
)

// Lane is one queue of a TAP; see queues.Lane for who may call what.
//
// The doorbell of a TAP is its descriptor: it becomes readable with every
// frame that the container sends, armed or not.
type Lane struct {
	fd       int
	offloads frame.Offload
	mtu      atomic.Int64 // written by Queue.SetMTU alone
	ring     *Ring        // nil: none

	out outbox // Deliver's own
	in  inbox  // Collect's own

	oversize, malformed atomic.Uint64 // written by Collect alone
	readErrs, writeErrs atomic.Uint64 // written by Collect, Deliver alone
}

func newLane(fd, mtu int, offloads frame.Offload) *Lane {
	l := &Lane{fd: fd, offloads: offloads}
	l.setMTU(mtu)
	l.out.init()
	l.in.init()
	return l
}

func (l *Lane) setMTU(mtu int) { l.mtu.Store(int64(mtu)) }

// Fd is the lane's descriptor, for an edge-triggered epoll on readability. It
// stays the lane's own and lives until the queue is closed.
func (l *Lane) Fd() int { return l.fd }

// Arm does nothing: a TAP rings for every frame.
func (l *Lane) Arm(bool) {}

// MaxFrame is described at queues.Lane: MaxSuperFrame with Config.GSO, else
// the MTU with header and one VLAN tag. A frame that is no super-frame may
// always have the MTU, a header and, if it is tagged, 4 bytes more.
func (l *Lane) MaxFrame() int {
	if l.offloads&superFrames != 0 {
		return MaxSuperFrame
	}
	return int(l.mtu.Load()) + ethLen + tagLen
}

// Offloads is described at queues.Lane.
func (l *Lane) Offloads() frame.Offload { return l.offloads }

// Stats are the lane's counters.
func (l *Lane) Stats() queues.Stats {
	return queues.Stats{
		Oversize:  l.oversize.Load(),
		Malformed: l.malformed.Load(),
		Errors:    l.readErrs.Load() + l.writeErrs.Load(),
	}
}

// Lost is what Stats says of single frames: those that Collect consumed and did
// not yield. Any goroutine may ask, also after the queue was closed.
func (l *Lane) Lost() (oversize, malformed uint64) { return l.oversize.Load(), l.malformed.Load() }

func (l *Lane) close() error { return unix.Close(l.fd) }

// Deliver is described at queues.Lane. A frame that the container's kernel
// takes, its firewall may still drop; that is the container's own affair.
//
// Gone means that the interface is down or deleted.
func (l *Lane) Deliver(f []frame.Frame) (int, frame.Refusal) {
	for n := 0; n < len(f); {
		whole := f[n : n+wholeFrame(f[n:])]
		if why := l.deliver(whole); why != frame.Accepted {
			return n, why
		}
		n += len(whole)
	}
	return len(f), frame.Accepted
}

// DeliverAll is described at demux.Courier. By whom the lanes of d are served does
// not matter: a ring that is in use is done without.
func (l *Lane) DeliverAll(d []frame.Delivery) {
	if writes(d) >= ringLeast && l.ring.take() {
		l.ring.deliver(d)
		l.ring.giveBack()
		return
	}
	for i := range d {
		d[i].Taken, d[i].Why = d[i].Lane.(*Lane).Deliver(d[i].Frames)
	}
}

// writes is how many there would be, but no more than matter.
func writes(d []frame.Delivery) (n int) {
	for i := range d {
		for k := range d[i].Frames {
			if d[i].Frames[k].GSO != frame.GSOPiece {
				n++
			}
			if n == ringLeast {
				return n
			}
		}
	}
	return n
}

// wholeFrame is how many of the frames are the first one and its pieces.
func wholeFrame(f []frame.Frame) int {
	n := 1
	for n < len(f) && f[n].GSO == frame.GSOPiece {
		n++
	}
	return n
}

func (l *Lane) deliver(f []frame.Frame) frame.Refusal {
	if !l.fits(f) {
		return frame.TooBig
	}
	errno := l.out.write(l.fd, f)
	if errno == 0 {
		return frame.Accepted
	}
	return l.refusal(errno)
}

// fits reports whether the container's MTU allows the frame, or each segment
// of a super-frame, which may be in pieces. The kernel does not ask: it takes any
// length.
func (l *Lane) fits(pieces []frame.Frame) bool {
	f := &pieces[0]
	limit := int(l.mtu.Load()) + ethLen
	if tagged(f.Data) {
		limit += tagLen
	}
	if f.GSO == frame.GSONone {
		return len(f.Data) <= limit && len(pieces) == 1
	}
	length := 0
	for i := range pieces {
		length += len(pieces[i].Data)
	}
	return offloadOf(f.GSO)&l.offloads != 0 && length <= MaxSuperFrame && len(pieces) <= maxPieces &&
		int(f.HdrLen)+int(f.GSOSize) <= limit
}

// tagged reports whether a VLAN tag, IEEE 802.1Q or 802.1ad, stands in data.
func tagged(data []byte) bool {
	return len(data) > ethLen && (data[12] == 0x81 && data[13] == 0 || data[12] == 0x88 && data[13] == 0xa8)
}

// refusal translates what tun_get_user of the kernel answers. EIO: the
// interface is down; EBADFD: it was deleted. EAGAIN, ENOBUFS and ENOMEM: no
// memory for this frame, and hardly for the next. All else (EINVAL, EMSGSIZE,
// EFAULT) is about this one frame: it never fits.
func (l *Lane) refusal(errno unix.Errno) frame.Refusal {
	switch errno {
	case unix.EIO, unix.EBADFD, unix.EBADF, unix.ENODEV:
		return frame.Gone
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return frame.Full
	}
	l.writeErrs.Add(1)
	return frame.TooBig
}

// Collect is described at queues.Lane. After the interface was deleted it
// yields nothing and counts nothing.
func (l *Lane) Collect(f []frame.Frame, maxBytes int) int {
	n, bytes := 0, 0
	for tries := len(f); n < len(f) && bytes < maxBytes && tries > 0; tries-- {
		got, errno := l.in.read(l.fd, &f[n])
		if errno != 0 {
			if l.readFailed(errno) {
				break
			}
			continue
		}
		if !l.accept(&f[n], got) {
			continue
		}
		bytes += len(f[n].Data)
		n++
	}
	return n
}

// readFailed reports whether there is no sense in reading on. EINVAL is a
// frame that the kernel cannot describe in a header and has thrown away.
func (l *Lane) readFailed(errno unix.Errno) bool {
	switch errno {
	case unix.EINVAL:
		l.malformed.Add(1)
		return false
	case unix.EAGAIN, unix.EBADFD, unix.EBADF:
		return true
	}
	l.readErrs.Add(1)
	return true
}

// accept reslices f to the got bytes that were read and translates the
// header; false means that the frame is counted and lost.
func (l *Lane) accept(f *frame.Frame, got int) bool {
	length := got - hdrLen
	switch {
	case length > len(f.Data):
		l.oversize.Add(1)
	case length < 0 || !l.in.meta(f.Data[:length], &f.Meta):
		l.malformed.Add(1)
	default:
		f.Data = f.Data[:length]
		return true
	}
	return false
}
