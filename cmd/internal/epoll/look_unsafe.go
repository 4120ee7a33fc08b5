package epoll

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// look asks the kernel what is ready and returns at once. It is a raw system
// call because it never sleeps: telling Go's scheduler about it would cost
// more than the call.
func look(fd int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}
