package memif

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// RemoveDirectory removes a Config.Directory that a process has left which
// died, with the socket in it. A directory in which a client has left something
// of its own stays, without the socket. Nothing there is no error. The caller
// knows that no process of his listens there.
func RemoveDirectory(path string) error {
	dir, err := unix.Open(path, directoryFlags, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open memif's directory %s: %w", path, err)
	}
	f := os.NewFile(uintptr(dir), path)
	defer f.Close()
	names, err := f.Readdirnames(maxNames) // the client may have made any number
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read memif's directory %s: %w", path, err)
	}
	_ = unix.Unlinkat(dir, SocketName, 0) // a client may have put in its place what cannot be removed so
	for _, name := range names {
		if strings.HasPrefix(name, privatePrefix) {
			removePrivate(dir, name)
		}
	}
	return removeIfEmpty(path)
}

// removePrivate removes a directory in which a socket was being made.
func removePrivate(dir int, name string) {
	if inner, err := unix.Openat(dir, name, directoryFlags, 0); err == nil {
		_ = unix.Unlinkat(inner, temporaryName, 0)
		_ = unix.Close(inner)
	}
	_ = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}

// removeIfEmpty removes a directory of ours, if nothing else is in it.
func removeIfEmpty(path string) error {
	switch gone := unix.Rmdir(path); gone {
	case nil, unix.ENOENT, unix.ENOTEMPTY, unix.EEXIST, unix.EBUSY: // the last is a mount point
		return nil
	default:
		return fmt.Errorf("remove memif's directory %s: %w", path, gone)
	}
}

// What listenInDirectory calls the directory in which it makes the socket, and
// the socket in that.
const (
	privatePrefix = ".memif-"
	temporaryName = "s"
	// maxNames bounds how many names of a client's are looked at.
	maxNames = 4096
)
