package nictest

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// prefix begins the name of every namespace that this package makes.
const prefix = "xdt-"

// RemoveStale removes what tests left behind that were killed: every namespace
// named xdt-PID-N-ROLE, and of the program's own demonstration
// xdpdemux-demo-PID-ROLE, whose process PID is gone, and the processes that still
// live in it, which only that one can have started. New calls it; a package's
// TestMain may too.
func RemoveStale() {
	entries, err := os.ReadDir(runDir)
	if err != nil {
		return
	}
	var stale []string
	for _, e := range entries {
		if pid, ok := ownerPID(e.Name()); ok && dead(pid) {
			stale = append(stale, e.Name())
		}
	}
	removeAll(stale)
}

// ownerPID reads the PID out of xdt-PID-N-ROLE or xdpdemux-demo-PID-ROLE. Other
// names that begin alike are somebody else's.
func ownerPID(name string) (int, bool) {
	parts := strings.Split(name, "-")
	if len(parts) == 4 && parts[0] == "xdpdemux" && parts[1] == "demo" {
		pid, err := strconv.Atoi(parts[2])
		return pid, err == nil && pid > 0
	}
	if len(parts) != 4 || parts[0]+"-" != prefix || !isRole(parts[3]) {
		return 0, false
	}
	pid, err := strconv.Atoi(parts[1])
	_, errN := strconv.Atoi(parts[2])
	return pid, err == nil && errN == nil && pid > 0
}

// isRole says that a rig has a namespace of that role: host, wire, or cN.
func isRole(s string) bool {
	number, container := strings.CutPrefix(s, "c")
	_, err := strconv.Atoi(number)
	return s == "host" || s == "wire" || (container && err == nil)
}

func dead(pid int) bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

// removeAll ends every process inside the named namespaces and removes the
// names. It returns the command lines of the processes that it had to end.
func removeAll(names []string) (ended []string) {
	if len(names) == 0 {
		return nil
	}
	ended = killInside(names)
	for _, name := range names {
		removeNetNS(name)
	}
	return ended
}

// killInside kills the processes, other than this one, whose network namespace
// is one of the named.
func killInside(names []string) (killed []string) {
	inside := map[uint64]bool{}
	dev := nsDevice()
	for _, name := range names {
		var st unix.Stat_t
		// A name whose mount is gone is a plain file on another device.
		if unix.Stat(filepath.Join(runDir, name), &st) == nil && st.Dev == dev {
			inside[st.Ino] = true
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range procs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || !inside[netnsOf(dir)] {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if unix.Kill(pid, unix.SIGKILL) == nil {
			killed = append(killed, strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " ")))
		}
	}
	return killed
}

func netnsOf(procDir string) uint64 {
	var st unix.Stat_t
	if unix.Stat(filepath.Join(procDir, "ns/net"), &st) != nil {
		return 0
	}
	return st.Ino
}

// nsDevice is the device number of nsfs, on which all namespaces have inodes.
func nsDevice() uint64 {
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/net", &st) != nil {
		return 0
	}
	return st.Dev
}
