package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// look asks epoll, and waits for at most so many milliseconds, without telling Go's
// scheduler.
func look(fd int, events []unix.EpollEvent, ms int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(ms), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
