package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// lacksEnv names what the kernel shall seem to lack to the program that this test
// binary then becomes.
const lacksEnv = "XDPDEMUX_E2E_LACKS"

// deny is a system call that fails, if its argument number arg is value, with
// what an older kernel says.
type deny struct {
	call       int
	arg, value uint32
	errno      unix.Errno
}

// lacks are features, each with the call by which its lack is noticed. Which
// release it is a program asks uname.
var lacks = map[string]deny{
	"AF_XDP":     {unix.SYS_SOCKET, 0, unix.AF_XDP, unix.EAFNOSUPPORT},
	"xdp.frags":  {unix.SYS_BPF, 0, unix.BPF_PROG_LOAD, unix.EINVAL},
	"XDP_USE_SG": {unix.SYS_BIND, 2, uint32(unsafe.Sizeof(unix.RawSockaddrXDP{})), unix.EINVAL},
	"io_uring":   {unix.SYS_IO_URING_SETUP, 0, 64, unix.EPERM}, // as sysctl kernel.io_uring_disabled says
}

// needed are those of them that attach cannot do without.
var needed = []string{"AF_XDP", "xdp.frags", "XDP_USE_SG"}

// without is a command line for env by which a program runs where a feature is
// lacking.
func without(t testing.TB, feature string, line []string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{lacksEnv + "=" + feature, self, "env"}, line...)
}

// becomeOnOldKernel replaces the process by a program that finds itself without a
// feature, and on Linux 2.6 if it needs that one. It returns only if that fails.
func becomeOnOldKernel(feature string, argv []string) error {
	runtime.LockOSThread() // what follows is of this thread, and the program inherits it
	const uname26 = 0x0020000
	if slices.Contains(needed, feature) {
		if _, _, errno := unix.Syscall(unix.SYS_PERSONALITY, uname26, 0, 0); errno != 0 {
			return fmt.Errorf("personality: %w", errno)
		}
	}
	d, ok := lacks[feature]
	if !ok {
		return fmt.Errorf("no feature %q", feature)
	}
	const nr, args = 0, 16 // struct seccomp_data; on a little-endian machine the low half of an argument is first
	filter, err := assemble(
		bpf.LoadAbsolute{Off: nr, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(d.call), SkipFalse: 3},
		bpf.LoadAbsolute{Off: args + 8*d.arg, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: d.value, SkipFalse: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(d.errno)},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
	)
	if err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return unix.Exec(path, argv, os.Environ())
}

// TestKernelIsTooOld: on a kernel that lacks something that is needed, attach
// says what, and from which release on it is there, and leaves no trace.
func TestKernelIsTooOld(t *testing.T) {
	m := newMachine(t, nictest.Config{})
	before := m.snapshot()
	for _, feature := range needed {
		t.Run(feature, func(t *testing.T) {
			m := m.in(t)
			cmd := m.Host.Command("env", without(t, feature, m.program("attach", m.NIC))...)
			m.refusedAs(cmd, refusal{code: failed, say: []string{"this kernel has no", feature, "run Linux 6.6 or later"}})
			m.requireNoRemains()
		})
	}
	m.requireAsBefore(before)
}
