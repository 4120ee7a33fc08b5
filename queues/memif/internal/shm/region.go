package shm

import (
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// Region is memory that both sides of a connection have mapped.
type Region struct {
	data []byte
	fd   int // -1: not ours to close
}

// CreateRegion makes a region of size zero bytes that cannot shrink any more,
// for the client: name is what /proc shows of it.
func CreateRegion(name string, size uint64) (*Region, error) {
	if size == 0 || size > math.MaxInt64 || size > math.MaxInt {
		return nil, fmt.Errorf("a memory region of %d bytes", size)
	}
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	r, err := seal(fd, size)
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return r, nil
}

func seal(fd int, size uint64) (*Region, error) {
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return nil, fmt.Errorf("a memory region of %d bytes: %w", size, err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK); err != nil {
		return nil, fmt.Errorf("seal a memory region: %w", err)
	}
	data, err := mapShared(fd, size)
	return &Region{data: data, fd: fd}, err
}

// What MapRegion finds wrong with a peer's region, beside failed system calls.
var (
	ErrNotMemory = errors.New("the region is no memory file")
	ErrTooShort  = errors.New("the region's file is shorter than announced")
	ErrUnsealed  = errors.New("the region's file can shrink: it has no F_SEAL_SHRINK")
)

// MapRegion maps the first size bytes of a peer's file. The descriptor stays
// the caller's and may be closed afterwards.
//
// The file must be memory (a memfd, or a file of tmpfs or hugetlbfs): reading
// any other may wait for whoever serves it. It must be as long as announced and
// sealed against shrinking; with allowUnsealed it need not be sealed, and then
// the peer can make every access to the region end in SIGBUS. How much a peer
// may bring is the caller's to limit.
func MapRegion(fd int, size uint64, allowUnsealed bool) (*Region, error) {
	if size == 0 || size > math.MaxInt {
		return nil, fmt.Errorf("a memory region of %d bytes", size)
	}
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotMemory, err)
	}
	if seals&unix.F_SEAL_SHRINK == 0 && !allowUnsealed {
		return nil, ErrUnsealed
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Size < 0 || uint64(st.Size) < size {
		return nil, fmt.Errorf("%w: %d bytes of %d", ErrTooShort, st.Size, size)
	}
	data, err := mapShared(fd, size)
	if err != nil {
		return nil, err
	}
	return &Region{data: data, fd: -1}, nil
}

func mapShared(fd int, size uint64) ([]byte, error) {
	data, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map a memory region of %d bytes: %w", size, err)
	}
	return data, nil
}

// Data is the region's bytes, until Close.
func (r *Region) Data() []byte { return r.data }

// FD is the descriptor of a region that CreateRegion made, until CloseFD or
// Close; else -1. It stays the region's.
func (r *Region) FD() int { return r.fd }

// CloseFD closes that descriptor and keeps the mapping: a client needs it only
// until the server has one.
func (r *Region) CloseFD() error {
	fd := r.fd
	r.fd = -1
	if fd < 0 {
		return nil
	}
	return os.NewSyscallError("close", unix.Close(fd))
}

// Close unmaps the region and closes its descriptor. Nobody may touch Data any
// more. A second call does nothing.
func (r *Region) Close() error {
	data := r.data
	r.data = nil
	err := r.CloseFD()
	if data != nil {
		err = errors.Join(os.NewSyscallError("munmap", unix.Munmap(data)), err)
	}
	return err
}
