package xdp

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ringOffsets asks where in a ring's mapping its parts stand.
func ringOffsets(fd int) (unix.XDPMmapOffsets, error) {
	var v unix.XDPMmapOffsets
	err := getXDP(fd, unix.XDP_MMAP_OFFSETS, "XDP_MMAP_OFFSETS", unsafe.Pointer(&v), unsafe.Sizeof(v))
	return v, err
}

// statistics asks for the socket's counters in the kernel.
func statistics(fd int) (unix.XDPStatistics, error) {
	var v unix.XDPStatistics
	err := getXDP(fd, unix.XDP_STATISTICS, "XDP_STATISTICS", unsafe.Pointer(&v), unsafe.Sizeof(v))
	return v, err
}

func getXDP(fd, option int, name string, v unsafe.Pointer, size uintptr) error {
	length := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(option),
		uintptr(v), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return os.NewSyscallError("getsockopt "+name, errno)
	}
	return nil
}

// registerUMEM makes chunks the memory of the socket's frames. The kernel pins
// its pages; the mapping itself is not needed for that afterwards.
func registerUMEM(fd int, chunks []byte, frameSize uint32) error {
	reg := unix.XDPUmemReg{
		Addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(chunks)))),
		Len:  uint64(len(chunks)),
		Size: frameSize,
	}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG,
		uintptr(unsafe.Pointer(&reg)), unsafe.Sizeof(reg), 0)
	if errno != 0 {
		return os.NewSyscallError("setsockopt XDP_UMEM_REG", errno)
	}
	return nil
}
