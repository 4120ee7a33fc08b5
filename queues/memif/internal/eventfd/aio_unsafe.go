package eventfd

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// request is struct iocb of <linux/aio_abi.h>. Where the order of bytes is the
// other one, its second and third field change places, which are both 0.
type request struct {
	data     uint64
	key      uint32
	rwFlags  uint32
	opcode   uint16
	priority int16
	fd       uint32
	buffer   uint64
	bytes    uint64
	offset   int64
	reserved uint64
	flags    uint32
	result   uint32
}

// completion is struct io_event.
type completion struct {
	data, object uint64
	result       [2]int64
}

const (
	opcodeRead     = 0 // IOCB_CMD_PREAD
	flagResultToFD = 1 // IOCB_FLAG_RESFD
)

// nothing reads no bytes, and tells fd when that is done.
func (n *Notifier) nothing(fd int) request {
	return request{opcode: opcodeRead, fd: uint32(n.null), flags: flagResultToFD, result: uint32(fd)}
}

func setup(size int) (context uintptr, err error) {
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, uintptr(size), uintptr(unsafe.Pointer(&context)), 0); errno != 0 {
		return 0, errno
	}
	return context, nil
}

func destroy(context uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_IO_DESTROY, context, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// submit is a raw system call because it never sleeps: telling Go's scheduler
// about it would cost more.
func submit(context uintptr, targets []*Target) (n int, err error) {
	r, _, errno := unix.RawSyscall(unix.SYS_IO_SUBMIT, context, uintptr(len(targets)),
		uintptr(unsafe.Pointer(unsafe.SliceData(targets))))
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// collect takes what is complete, and waits for nothing.
func collect(context uintptr, into []completion) {
	var atOnce unix.Timespec
	_, _, _ = unix.RawSyscall6(unix.SYS_IO_GETEVENTS, context, 0, uintptr(len(into)),
		uintptr(unsafe.Pointer(unsafe.SliceData(into))), uintptr(unsafe.Pointer(&atOnce)), 0)
}
