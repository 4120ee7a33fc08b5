package tap

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// maxPieces is of how many frames, the first and its pieces, a super-frame may
// consist.
const maxPieces = 64

// outbox is what writing needs beside the frame: it belongs to the caller of
// Deliver and is never moved, since its vectors point into it.
type outbox struct {
	hdr [hdrLen]byte
	iov [1 + maxPieces]unix.Iovec
}

func (o *outbox) init() {
	o.iov[0].Base = &o.hdr[0]
	o.iov[0].SetLen(hdrLen)
}

// write hands one frame, of one or several pieces, to the kernel. The system call
// is a raw one: on a non-blocking TAP it never sleeps, but it may take long, since
// the container's own receive path runs inside.
func (o *outbox) write(fd int, f []frame.Frame) unix.Errno {
	putHeader(&o.hdr, &f[0].Meta)
	iov := o.iov[:1+len(f)]
	for i := range f {
		iov[1+i].Base = unsafe.SliceData(f[i].Data)
		iov[1+i].SetLen(len(f[i].Data))
	}
	_, errno := vector(unix.SYS_WRITEV, fd, iov)
	clear(iov[1:])
	return errno
}

// inbox is what reading needs beside the buffer: it belongs to the caller of
// Collect. The byte beyond shows that a frame was longer than its buffer.
type inbox struct {
	hdr    [hdrLen]byte
	beyond [1]byte
	iov    [3]unix.Iovec
}

func (b *inbox) init() {
	b.iov[0].Base = &b.hdr[0]
	b.iov[0].SetLen(hdrLen)
	b.iov[2].Base = &b.beyond[0]
	b.iov[2].SetLen(len(b.beyond))
}

// read takes one frame, header included, into the inbox and f.Data, and
// returns the length of both. A frame that does not fit is cut and has a
// length beyond both.
func (b *inbox) read(fd int, f *frame.Frame) (int, unix.Errno) {
	b.iov[1].Base = unsafe.SliceData(f.Data)
	b.iov[1].SetLen(len(f.Data))
	n, errno := vector(unix.SYS_READV, fd, b.iov[:])
	b.iov[1].Base = nil
	return n, errno
}

func (b *inbox) meta(data []byte, m *frame.Meta) bool { return getMeta(&b.hdr, data, m) }

func vector(call uintptr, fd int, iov []unix.Iovec) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
	return int(n), errno
}
