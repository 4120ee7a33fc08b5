package xdp

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Holder is a process with AF_XDP sockets of its own.
type Holder struct {
	PID  int
	Name string // of its program; empty if it may not be asked
}

// String is "process 7 (name)".
func (h Holder) String() string {
	if h.Name == "" {
		return fmt.Sprintf("process %d", h.PID)
	}
	return fmt.Sprintf("process %d (%s)", h.PID, h.Name)
}

// BusyError says that somebody else's AF_XDP socket holds a queue.
type BusyError struct {
	IfIndex, Queue int
	// Holders are the other processes of this network namespace that have
	// AF_XDP sockets: one of them is it. None: it is nobody who can be seen from
	// here, or a socket of this process.
	Holders []Holder
	Err     error // the kernel's answer
}

// Error names the suspects and says what to do.
func (e *BusyError) Error() string {
	who := "another AF_XDP socket"
	if len(e.Holders) > 0 {
		names := make([]string, len(e.Holders))
		for i, h := range e.Holders {
			names[i] = h.String()
		}
		who += ", of " + strings.Join(names, " or ") + ","
	}
	return fmt.Sprintf("bind device %d queue %d: %s holds it: end its program, or take another NIC (%v)", e.IfIndex, e.Queue, who, e.Err)
}

// Unwrap returns the kernel's answer.
func (e *BusyError) Unwrap() error { return e.Err }

// The kernel lets go of a socket's queue some time after its process has closed
// it or died: it waits for an RCU grace period in a work queue. Where there is a
// living process that may hold the queue, that wait is soon given up.
const (
	defaultPatience = 5 * time.Second
	heldPatience    = time.Second
	bindPause       = 5 * time.Millisecond
)

// binder tries to take a queue until it has it or runs out of patience. Its
// functions are those of the system, or a test's.
type binder struct {
	bind     func() error
	holders  func() []Holder
	sleep    func(time.Duration)
	patience time.Duration
}

// take returns nil, or the last error and who may be to blame, if the queue is
// taken.
func (b binder) take() (suspects []Holder, err error) {
	left, asked := b.patience, false
	for {
		if err = b.bind(); !errors.Is(err, unix.EBUSY) {
			return nil, err
		}
		if !asked {
			asked = true
			if suspects = b.holders(); len(suspects) > 0 {
				left = min(left, heldPatience)
			}
		}
		if left <= 0 {
			return suspects, err
		}
		b.sleep(bindPause)
		left -= bindPause
	}
}

// holders finds the other processes in the network namespace of the calling
// thread that have mapped the fill ring of an AF_XDP socket.
func holders() (found []Holder) {
	here, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || !holds(pid, here) {
			continue
		}
		name, _ := os.ReadFile(procFile(pid, "comm"))
		found = append(found, Holder{PID: pid, Name: strings.TrimSpace(string(name))})
	}
	return found
}

func procFile(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

// holds says that the process is in that network namespace and has mapped a
// fill ring: /proc/PID/maps shows the mapping's offset, which tells the ring.
func holds(pid int, ns string) bool {
	if its, err := os.Readlink(procFile(pid, "ns/net")); err != nil || its != ns {
		return false
	}
	maps, err := os.ReadFile(procFile(pid, "maps"))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(strings.Split(string(maps), "\n"), isFillRing)
}

// isFillRing judges a line of /proc/PID/maps: address, permissions, offset,
// device, inode, path.
func isFillRing(line string) bool {
	fields := strings.Fields(line)
	if len(fields) < 6 || !strings.HasPrefix(fields[5], "socket:[") {
		return false
	}
	offset, err := strconv.ParseUint(fields[2], 16, 64)
	return err == nil && offset == unix.XDP_UMEM_PGOFF_FILL_RING
}
