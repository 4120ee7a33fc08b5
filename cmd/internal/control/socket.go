// Package control carries api.Service over a Unix socket: HTTP and JSON, so
// that the command line, scripts with curl and other programs say the same
// things to a daemon. Server is the daemon's end, Client everybody else's.
package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/lockfile"
)

// maxPath is the longest path of a Unix socket: sun_path of sys/un.h, less the
// zero byte.
const maxPath = 107

// SocketPath is where the daemon of a NIC listens.
func SocketPath(runDir, nic string) string { return filepath.Join(runDir, nic+".sock") }

func lockName(nic string) string { return nic + ".lock" }

func lockPath(runDir, nic string) string { return filepath.Join(runDir, lockName(nic)) }

// socket is a listening socket that stands at its path, and the lock that
// makes it the only one.
type socket struct {
	listener *net.UnixListener
	path     string
	lock     *lockfile.Lock
}

// listen makes the socket of a NIC, and its directory if need be, which goes with
// the last one in it. A socket that nobody listens on any more is
// replaced; a living daemon is a CodeConflict.
func listen(runDir, nic string) (_ *socket, err error) {
	lock, err := lockfile.AcquireIn(runDir, lockName(nic), 0o755)
	if held, ok := errors.AsType[*lockfile.HeldError](err); ok {
		return nil, attached(nic, held.Holder)
	}
	if err != nil {
		return nil, unusable(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Release())
		}
	}()
	path := SocketPath(runDir, nic)
	if err := free(path, nic); err != nil {
		return nil, err
	}
	listener, err := bind(path, filepath.Join(runDir, "."+nic+".bind"))
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &socket{listener, path, lock}, nil
}

func attached(nic, holder string) error {
	by := "another daemon"
	if holder != "" {
		by = "the daemon with PID " + holder
	}
	return api.Errorf(api.CodeConflict, "NIC %s: it is already attached by %s", nic, by).
		WithHint("use that one, or xdpdemux detach " + nic)
}

// free says whether a socket may be put at path: nothing stands there, or a
// socket that nobody listens on any more.
func free(path, nic string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("control socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return api.Errorf(api.CodeConflict, "control socket: %s is there and no socket", path).WithHint("move it away")
	case listens(path):
		return attached(nic, "")
	}
	return nil
}

// listens says that path is a socket with somebody behind it. One that we may
// not open counts, and so does one whose queue is full.
func listens(path string) bool {
	c, err := net.Dial("unix", path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED)
	}
	c.Close()
	return true
}

// Remains says whether there is a socket of a NIC, or its lock: of a daemon
// that lives, or of one that died.
func Remains(runDir, nic string) bool {
	return exists(SocketPath(runDir, nic)) || exists(lockPath(runDir, nic))
}

// RemoveStale removes the socket that a dead daemon left behind, if there is
// one. A living daemon is a CodeConflict.
func RemoveStale(runDir, nic string) error {
	if !Remains(runDir, nic) {
		return nil
	}
	lock, err := lockfile.Acquire(lockPath(runDir, nic))
	if held, ok := errors.AsType[*lockfile.HeldError](err); ok {
		return attached(nic, held.Holder)
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	path := SocketPath(runDir, nic)
	if err := free(path, nic); err != nil {
		return errors.Join(err, lock.Release())
	}
	return (&socket{path: path, lock: lock}).remove()
}

// bind puts a listening socket at path with mode 0660 from the first instant:
// it comes to life in a directory that nobody else can enter, and moves. What
// stood at path is replaced. The caller holds the lock, so the directory is
// nobody else's.
func bind(path, dir string) (_ *net.UnixListener, err error) {
	inside := filepath.Join(dir, "s")
	if len(path) > maxPath || len(inside) > maxPath {
		return nil, api.Errorf(api.CodeUsage, "%s: the path is longer than the %d bytes of a Unix socket", path, maxPath).
			WithHint("choose a shorter --run-dir")
	}
	if err := emptyRoom(dir); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: inside, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(inside, 0o660), os.Rename(inside, path)); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// emptyRoom makes a directory that nobody else can enter, in place of what a
// crash may have left there.
func emptyRoom(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o700)
}

// remove takes the socket away and lets the lock go, last.
func (s *socket) remove() error {
	err := os.Remove(s.path)
	if errors.Is(err, os.ErrNotExist) {
		err = nil // somebody swept the directory
	}
	return errors.Join(err, s.lock.Release())
}

// peer is the user at the other end of a connection.
type peer struct {
	uid int
	ok  bool // the kernel told
}

// mayChange says whether the peer may do more than read: the superuser and
// whoever the daemon itself runs as.
func (p peer) mayChange() bool { return p.ok && (p.uid == 0 || p.uid == os.Geteuid()) }

// peerOf asks the kernel who connected (SO_PEERCRED of unix(7)).
func peerOf(c *net.UnixConn) peer {
	raw, err := c.SyscallConn()
	if err != nil {
		return peer{}
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || credErr != nil {
		return peer{}
	}
	return peer{uid: int(cred.Uid), ok: true}
}

// peerKey is the key of the peer in a request's context.
type peerKey struct{}

func peerFrom(ctx context.Context) peer {
	p, _ := ctx.Value(peerKey{}).(peer)
	return p
}

// unusable is for a directory that cannot be made or locked. What the user lacks, if it is
// a privilege, the command line says.
func unusable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("run directory: %w", err)
	}
	return api.Errorf(api.CodeFailed, "run directory: %w", err).WithHint("choose another with --run-dir")
}
