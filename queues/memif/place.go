package memif

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// place is where a socket lies in the file system. Its zero value is nowhere.
//
// The directory belongs to the client, which may put links, other sockets or
// nothing where the socket was, at any time. So it is opened once, not
// following links; the socket is made in a directory inside that only we can
// enter, gets its owner there, and is moved to its place as it is.
type place struct {
	directory string
	inode     file // the directory
	socket    file
}

// file tells files apart.
type file struct{ dev, ino uint64 }

func fileOf(st *unix.Stat_t) file { return file{uint64(st.Dev), st.Ino} }

const directoryFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

func listenInDirectory(cfg *Config) (sock int, at place, err error) {
	dir, at, err := ownDirectory(cfg)
	if err != nil {
		return -1, place{}, err
	}
	defer unix.Close(dir)
	if err = checkFree(dir, cfg.Directory); err == nil {
		sock, at.socket, err = bindIn(dir, cfg)
	}
	if err != nil {
		return -1, place{}, err
	}
	return sock, at, nil
}

// ownDirectory makes the directory, or takes the one that is there if it is
// meant for this, and opens it.
func ownDirectory(cfg *Config) (dir int, at place, err error) {
	path := filepath.Clean(cfg.Directory)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return -1, place{}, fmt.Errorf("make the directory above memif's: %w", err)
	}
	made := unix.Mkdir(path, 0o700)
	if made != nil && !errors.Is(made, unix.EEXIST) {
		return -1, place{}, fmt.Errorf("make memif's directory %s: %w", path, made)
	}
	dir, err = unix.Open(path, directoryFlags, 0)
	if err != nil {
		return -1, place{}, fmt.Errorf("%s is no directory that memif can use (a link is none): %w", path, err)
	}
	var st unix.Stat_t
	if err = unix.Fstat(dir, &st); err == nil {
		err = settle(dir, &st, cfg)
	}
	if err != nil {
		_ = unix.Close(dir)
		return -1, place{}, fmt.Errorf("memif's directory %s: %w", path, err)
	}
	return dir, place{directory: path, inode: fileOf(&st)}, nil
}

// settle gives a directory of ours to the clients. One that is theirs already
// stays as it is, any other is somebody's, and no place for sockets.
func settle(dir int, st *unix.Stat_t, cfg *Config) error {
	owner := int(st.Uid)
	switch {
	case cfg.UID >= 0 && owner == cfg.UID && owner != unix.Geteuid():
		return nil
	case owner != unix.Geteuid():
		return fmt.Errorf("it belongs to user %d: remove it, or name another", owner)
	case (cfg.UID < 0 || cfg.UID == owner) && (cfg.GID < 0 || cfg.GID == int(st.Gid)) &&
		st.Mode&0o7777 == cfg.mode(0o700, 0o770):
		return nil
	}
	if used, err := usedOtherwise(dir); err != nil {
		return err
	} else if used != "" {
		return fmt.Errorf("it is in use, it holds %q: name one of its own", used)
	}
	if err := unix.Fchmod(dir, cfg.mode(0o700, 0o770)); err != nil {
		return fmt.Errorf("set its mode: %w", err)
	}
	if err := unix.Fchown(dir, cfg.UID, cfg.GID); err != nil {
		return fmt.Errorf("give it to user %d, group %d: %w", cfg.UID, cfg.GID, err)
	}
	return nil
}

// mode is with a group or without one.
func (c *Config) mode(without, with uint32) uint32 {
	if c.GID >= 0 {
		return with
	}
	return without
}

// usedOtherwise is a name in the directory that is not the socket's.
func usedOtherwise(dir int) (string, error) {
	again, err := unix.Openat(dir, ".", directoryFlags, 0)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(again), "memif's directory")
	defer f.Close()
	for {
		names, err := f.Readdirnames(64)
		for _, name := range names {
			if name != SocketName && !strings.HasPrefix(name, privatePrefix) {
				return name, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return "", nil
		} else if err != nil {
			return "", err
		}
	}
}

// inUse says who has the address, and is EADDRINUSE.
type inUse string

func (e inUse) Error() string        { return string(e) }
func (e inUse) Is(target error) bool { return target == unix.EADDRINUSE }

// checkFree: what a daemon left that has died is replaced, one that lives is not.
func checkFree(dir int, path string) error {
	fd, err := unix.Openat(dir, SocketName, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	} else if err != nil {
		return fmt.Errorf("look at %s/%s: %w", path, SocketName, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at %s/%s: %w", path, SocketName, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("%s/%s is there and is no socket: remove it", path, SocketName)
	}
	if lives, err := listened(fd); err != nil {
		return fmt.Errorf("look whether somebody listens on %s/%s: %w", path, SocketName, err)
	} else if lives {
		return inUse(fmt.Sprintf("somebody listens on %s/%s: end that, or name another directory", path, SocketName))
	}
	return nil
}

// listened tells whether a socket's file has somebody behind it.
func listened(fd int) (bool, error) {
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(sock)
	err = unix.Connect(sock, &unix.SockaddrUnix{Name: held(fd)})
	return !errors.Is(err, unix.ECONNREFUSED), nil
}

// held is a path to what a descriptor holds, whatever becomes of its name.
func held(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// bindIn makes the socket and moves it to its place.
func bindIn(dir int, cfg *Config) (sock int, socket file, err error) {
	name := privatePrefix + rand.Text()
	inner, err := privateIn(dir, name)
	if err != nil {
		return -1, file{}, fmt.Errorf("make a directory in %s: %w", cfg.Directory, err)
	}
	defer unix.Close(inner)
	defer unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	sock, err = bound(held(inner) + "/" + temporaryName)
	if err != nil {
		return -1, file{}, fmt.Errorf("listen in %s: %w", cfg.Directory, err)
	}
	socket, err = hand(inner, temporaryName, cfg)
	if err == nil {
		err = unix.Renameat(inner, temporaryName, dir, SocketName)
	}
	if err != nil {
		_ = unix.Unlinkat(inner, temporaryName, 0)
		return -1, file{}, errors.Join(fmt.Errorf("put the socket in place in %s: %w", cfg.Directory, err), unix.Close(sock))
	}
	return sock, socket, nil
}

// privateIn makes a directory that only we can enter. Whoever owns the one
// above could put another in its place, but none of ours.
func privateIn(dir int, name string) (int, error) {
	if err := unix.Mkdirat(dir, name, 0o700); err != nil {
		return -1, err
	}
	inner, err := unix.Openat(dir, name, directoryFlags, 0)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(inner, &st); err == nil && (int(st.Uid) != unix.Geteuid() || st.Mode&0o077 != 0) {
		err = errors.New("somebody has put another in its place")
	}
	if err != nil {
		_ = unix.Close(inner)
		return -1, err
	}
	return inner, nil
}

// hand gives the socket to the clients, while nobody else can reach its name.
func hand(inner int, name string, cfg *Config) (file, error) {
	var st unix.Stat_t
	if err := unix.Fchmodat(inner, name, cfg.mode(0o600, 0o660), 0); err != nil {
		return file{}, err
	}
	if err := unix.Fchownat(inner, name, cfg.UID, cfg.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return file{}, err
	}
	err := unix.Fstatat(inner, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return fileOf(&st), err
}

// open opens the directory, if it is still the one it was.
func (p *place) open() (int, bool) {
	if p.directory == "" {
		return -1, false
	}
	dir, err := unix.Open(p.directory, directoryFlags, 0)
	if err != nil {
		return -1, false
	}
	var st unix.Stat_t
	if unix.Fstat(dir, &st) != nil || fileOf(&st) != p.inode {
		_ = unix.Close(dir)
		return -1, false
	}
	return dir, true
}

// unlink removes the socket's name, if it is still there and still ours.
func (p *place) unlink() error {
	dir, ok := p.open()
	if !ok {
		return nil
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if unix.Fstatat(dir, SocketName, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || fileOf(&st) != p.socket {
		return nil
	}
	if err := unix.Unlinkat(dir, SocketName, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove the socket in %s: %w", p.directory, err)
	}
	return nil
}

// remove removes the socket and the directory, if nothing else is in it.
func (p *place) remove() error {
	err := p.unlink()
	dir, ok := p.open()
	if !ok {
		return err
	}
	_ = unix.Close(dir)
	return errors.Join(err, removeIfEmpty(p.directory))
}
