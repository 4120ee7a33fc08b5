package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// runDir is where iproute2 keeps the names of network namespaces.
const runDir = "/run/netns"

// Open finds a network namespace by an absolute path, by the PID of a process
// in it, or by its name under /run/netns, in that order: a spec of digits
// only is a PID. A process that ends later changes nothing. Errors wrap
// ErrNotFound or ErrNotNetNS, or say what else is wrong, in one line.
func Open(spec string) (*NetNS, error) {
	path, err := resolve(spec)
	if err != nil {
		return nil, err
	}
	return openPath(path, spec)
}

// Self opens the namespace of the calling thread, which is the process's own
// one everywhere but inside Do.
func Self() (*NetNS, error) {
	n, err := openPath(threadNS, "self")
	if err == nil {
		n.self = true
	}
	return n, err
}

func resolve(spec string) (string, error) {
	switch {
	case spec == "":
		return "", fmt.Errorf("an empty netns: give a path, a PID or a name under %s", runDir)
	case isDigits(spec):
		return "/proc/" + spec + "/ns/net", checkPID(spec)
	case filepath.IsAbs(spec):
		return spec, nil
	case strings.Contains(spec, "/") || spec == "." || spec == "..":
		return "", fmt.Errorf("netns %q is neither an absolute path, a PID nor a name under %s", spec, runDir)
	}
	return filepath.Join(runDir, spec), nil
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func checkPID(spec string) error {
	if pid, err := strconv.ParseInt(spec, 10, 32); err != nil || pid == 0 {
		return fmt.Errorf("netns %q: no process has this PID", spec)
	}
	return nil
}

func openPath(path, spec string) (*NetNS, error) {
	// O_NONBLOCK: opening a fifo by mistake must not block.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, openError(spec, path, err)
	}
	inode, err := identify(fd)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("netns %s: %s is %w", spec, path, err)
	}
	return &NetNS{file: os.NewFile(uintptr(fd), path), spec: spec, inode: inode}, nil
}

func openError(spec, path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("netns %s: %w (%s does not exist)", spec, ErrNotFound, path)
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return fmt.Errorf("netns %s: no file descriptor left, raise the limit (ulimit -n): %w", spec, err)
	}
	return fmt.Errorf("netns %s: open %s: %w", spec, path, err)
}

// identify returns the inode of an open network namespace.
func identify(fd int) (uint64, error) {
	var st unix.Stat_t
	var fsys unix.Statfs_t
	if unix.Fstatfs(fd, &fsys) != nil || unix.Fstat(fd, &st) != nil || fsys.Type != unix.NSFS_MAGIC {
		return 0, ErrNotNetNS
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return 0, ErrNotNetNS
	}
	return st.Ino, nil
}
