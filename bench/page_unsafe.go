package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// page is the memory that the program and its consumer process share: what the
// consumer counts, the program reads, without a message between them. The
// counters have one writer and a cache line each.
type page struct {
	file *os.File
	mem  []byte
}

// counterPlace is a cache line, and one more for what the processor fetches beside it.
const counterPlace = 128

// The counters of a page.
const (
	countFrames = iota // whole, and at the right container
	countBad           // any other
	countSent          // frames that containers sent
	numCounters
)

const pageSize = 4096

// newPage makes one; its file is for the consumer to inherit.
func newPage() (p *page, err error) {
	fd, err := unix.MemfdCreate("xdpdemux-bench", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory to share with the consumer: %w", err)
	}
	file := os.NewFile(uintptr(fd), "counters")
	if err := file.Truncate(pageSize); err != nil {
		file.Close()
		return nil, err
	}
	return openPage(file)
}

// openPage maps the page that file holds, and owns file from then on.
func openPage(file *os.File) (*page, error) {
	mem, err := unix.Mmap(int(file.Fd()), 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("mapping the counters: %w", err)
	}
	return &page{file, mem}, nil
}

// counter is one of the counters, by its constant.
func (p *page) counter(i int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&p.mem[i*counterPlace : (i+1)*counterPlace][0]))
}

func (p *page) arrivals() (arrivals, error) {
	return arrivals{p.counter(countFrames).Load(), p.counter(countBad).Load()}, nil
}

func (p *page) close() {
	_ = unix.Munmap(p.mem)
	_ = p.file.Close()
}
