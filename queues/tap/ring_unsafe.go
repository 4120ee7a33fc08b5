package tap

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// What of include/uapi/linux/io_uring.h is needed here.
const (
	ringOpWritev       = 2
	ringEnterGetevents = 1 << 0
	ringOneMapping     = 1 << 0 // IORING_FEAT_SINGLE_MMAP
	ringMapEntries     = 0x10000000
)

// ringParams is struct io_uring_params.
type ringParams struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wq uint32
	_                                                    [3]uint32
	sq                                                   struct{ head, tail, mask, entries, flags, dropped, array, _, _, _ uint32 }
	cq                                                   struct{ head, tail, mask, entries, overflow, cqes, flags, _, _, _ uint32 }
}

// ringEntry is struct io_uring_sqe.
type ringEntry struct {
	opcode, flags uint8
	_             uint16
	fd            int32
	offset, addr  uint64
	len, rwFlags  uint32
	slot          uint64
	_             [3]uint64
}

// ringResult is struct io_uring_cqe.
type ringResult struct {
	slot   uint64
	result int32
	_      uint32
}

// ringMemory is what the kernel shares: two rings of which we fill one and empty the
// other.
type ringMemory struct {
	sqTail, cqHead, cqTail *uint32
	entries                []ringEntry  // a power of two
	results                []ringResult // a power of two
	tail, head             uint32       // our own indices: of entries, of results
}

// publish lets the kernel see n more entries.
func (m *ringMemory) publish(n int) {
	m.tail += uint32(n)
	atomic.StoreUint32(m.sqTail, m.tail)
}

// withdraw takes back the last n entries, which the kernel has not looked at: it
// does so when it is entered, and never else.
func (m *ringMemory) withdraw(n int) {
	m.tail -= uint32(n)
	atomic.StoreUint32(m.sqTail, m.tail)
}

// entry is the i-th entry behind those that were published.
func (m *ringMemory) entry(i int) *ringEntry {
	return &m.entries[(m.tail+uint32(i))&uint32(len(m.entries)-1)]
}

// completion takes the next result, if there is one.
func (m *ringMemory) completion() (slot uint64, result int32, ok bool) {
	if m.head == atomic.LoadUint32(m.cqTail) {
		return 0, 0, false
	}
	c := m.results[m.head&uint32(len(m.results)-1)]
	m.head++
	atomic.StoreUint32(m.cqHead, m.head)
	return c.slot, c.result, true
}

// put makes the next slot one frame, of one or several pieces, for a descriptor.
func (r *Ring) put(fd int, f []frame.Frame, s ringSlot) {
	putHeader(&r.hdr[r.n], &f[0].Meta)
	iov := r.iov[r.used : r.used+1+len(f)]
	iov[0].Base = &r.hdr[r.n][0]
	iov[0].SetLen(hdrLen)
	for i := range f {
		iov[1+i].Base = unsafe.SliceData(f[i].Data)
		iov[1+i].SetLen(len(f[i].Data))
	}
	*r.queue.entry(r.n) = ringEntry{
		opcode: ringOpWritev, fd: int32(fd), rwFlags: unix.RWF_NOWAIT,
		addr: uint64(uintptr(unsafe.Pointer(&iov[0]))), len: uint32(len(iov)), slot: uint64(r.n),
	}
	r.slots[r.n] = s
	r.n++
	r.used += len(iov)
}

// open has the kernel make the ring, and maps it.
func (r *Ring) open() (err error) {
	var p ringParams
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, ringSlots, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return fmt.Errorf("io_uring_setup: %w", errno)
	}
	var shared, entries []byte
	r.close = func() error {
		return errors.Join(unmap(shared), unmap(entries), unix.Close(int(fd)))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if p.features&ringOneMapping == 0 {
		return errors.New("its kernel is older than Linux 5.4")
	}
	size := max(p.sq.array+4*p.sqEntries, p.cq.cqes+uint32(unsafe.Sizeof(ringResult{}))*p.cqEntries)
	if shared, err = mapRing(int(fd), 0, int(size)); err != nil {
		return err
	}
	if entries, err = mapRing(int(fd), ringMapEntries, int(p.sqEntries)*int(unsafe.Sizeof(ringEntry{}))); err != nil {
		return err
	}
	r.lay(&p, shared, entries)
	r.enter = func(submit, wait uint32) (int, unix.Errno) {
		n, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, fd, uintptr(submit), uintptr(wait), ringEnterGetevents, 0, 0)
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
	if _, errno := r.enter(0, 0); errno != 0 { // a filter may know the one call and not the other
		return fmt.Errorf("io_uring_enter: %w", errno)
	}
	return nil
}

// lay finds the rings in the memory. The indirection between the ring of entries
// and the entries is filled once: entry i is entry i.
func (r *Ring) lay(p *ringParams, shared, entries []byte) {
	word := func(at uint32) *uint32 { return (*uint32)(unsafe.Pointer(&shared[at])) }
	m := &r.queue
	m.sqTail, m.cqHead, m.cqTail = word(p.sq.tail), word(p.cq.head), word(p.cq.tail)
	m.entries = unsafe.Slice((*ringEntry)(unsafe.Pointer(&entries[0])), p.sqEntries)
	m.results = unsafe.Slice((*ringResult)(unsafe.Pointer(&shared[p.cq.cqes])), p.cqEntries)
	for i := range p.sqEntries {
		*word(p.sq.array + 4*i) = i
	}
}

func mapRing(fd int, at int64, size int) ([]byte, error) {
	b, err := unix.Mmap(fd, at, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	return b, os.NewSyscallError("mmap of an io_uring", err)
}

func unmap(b []byte) error {
	if b == nil {
		return nil
	}
	return unix.Munmap(b)
}
