package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// look asks epoll, and waits for at most so many milliseconds, without telling Go's
// scheduler, as the daemon's workers do, and as programs in other languages do that
// the consumer stands for.
func look(fd int, events []unix.EpollEvent, ms int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(ms), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// doze is how long one waits before Go hears of it, in milliseconds.
const doze = 2

// await waits for so many milliseconds, -1 for ever.
func await(fd int, events []unix.EpollEvent, ms int) (int, error) {
	moment := doze
	if ms >= 0 {
		moment = min(doze, ms)
	}
	n, err := look(fd, events, moment)
	if n > 0 || err != nil || moment == ms {
		return n, err
	}
	if ms > 0 {
		ms -= moment
	}
	return unix.EpollWait(fd, events, ms)
}
