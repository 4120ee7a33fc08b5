package xdp

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// memory is what a socket works on, wherever it came from: the kernel, or a
// test that plays the kernel.
type memory struct {
	data []byte // the memfd: state page, owner bytes, chunks
	fill ringOf[uint64]
	comp ringOf[uint64]
	rx   ringOf[descriptor]
	tx   ringOf[descriptor]
	// mapped lists the mappings behind the rings, to be unmapped.
	mapped [][]byte
}

// ringOf is a ring's shared words and entries.
type ringOf[T any] struct {
	ringMemory
	entries []T
}

// descriptor is struct xdp_desc: a piece of the UMEM.
type descriptor = unix.XDPDesc

// createMemory makes the memfd: sealed, so that nobody can pull memory from
// under a mapping of it.
func createMemory(size uint64) (fd int, err error) {
	fd, err = unix.MemfdCreate("xdpdemux-umem", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("reserve %d bytes for the UMEM: %w", size, err)
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("seal the UMEM: %w", err)
	}
	return fd, nil
}

// mapShared maps size bytes of fd from offset on, with all pages present.
func mapShared(fd int, offset int64, size uint64) ([]byte, error) {
	b, err := unix.Mmap(fd, offset, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", size, err)
	}
	return b, nil
}

// mapRings maps the four rings of the socket fd.
func (m *memory) mapRings(fd int, g geometry) error {
	at, err := ringOffsets(fd)
	if err != nil {
		return err
	}
	if m.fill, err = mapRing[uint64](m, fd, unix.XDP_UMEM_PGOFF_FILL_RING, at.Fr, g.FillSize); err != nil {
		return fmt.Errorf("fill ring: %w", err)
	}
	if m.comp, err = mapRing[uint64](m, fd, unix.XDP_UMEM_PGOFF_COMPLETION_RING, at.Cr, g.CompletionSize); err != nil {
		return fmt.Errorf("completion ring: %w", err)
	}
	if m.rx, err = mapRing[descriptor](m, fd, unix.XDP_PGOFF_RX_RING, at.Rx, g.RxSize); err != nil {
		return fmt.Errorf("receive ring: %w", err)
	}
	if m.tx, err = mapRing[descriptor](m, fd, unix.XDP_PGOFF_TX_RING, at.Tx, g.TxSize); err != nil {
		return fmt.Errorf("transmit ring: %w", err)
	}
	return nil
}

func mapRing[T any](m *memory, fd int, page int64, at unix.XDPRingOffset, entries uint32) (ringOf[T], error) {
	b, err := mapShared(fd, page, at.Desc+uint64(entries)*sizeOf[T]())
	if err != nil {
		return ringOf[T]{}, err
	}
	m.mapped = append(m.mapped, b)
	return ringAt[T](b, at, entries)
}

// unmap lets everything go. It comes before the descriptor is closed: a socket
// whose rings are mapped lives on, and its queue stays taken.
func (m *memory) unmap() error {
	var first error
	for _, b := range append(m.mapped, m.data) {
		if b == nil {
			continue
		}
		if err := unix.Munmap(b); err != nil && first == nil {
			first = fmt.Errorf("unmap: %w", err)
		}
	}
	*m = memory{}
	return first
}
