package epoll

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// look asks the kernel what is ready, and waits for at most so many milliseconds.
// Go's scheduler is not told: it would take our place among its processors away for
// the time, wake others for that, and itself every 20 µs to see whether to do it. So
// we keep that place while we sleep here, which must not be long. A signal, by which Go
// asks us to stop, ends it: then look returns -1.
func look(fd int, events []unix.EpollEvent, ms int) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(ms), 0, 0)
	if errno != 0 {
		return -1
	}
	return int(n)
}
