// Package lockfile makes sure that one process at a time does something, by a
// lock that the kernel gives back however the process ends.
package lockfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// HeldError says that somebody else holds a lock.
type HeldError struct {
	// Path of the lock file.
	Path string
	// Holder is the PID that the file names; empty if it names none (yet).
	Holder string
}

// Error names the file and the holder.
func (e *HeldError) Error() string {
	if e.Holder == "" {
		return e.Path + " is locked by another process"
	}
	return e.Path + " is locked by process " + e.Holder
}

// Lock is a held lock. Its methods are not for concurrent use.
type Lock struct {
	file *os.File
	made []string // directories that Release removes if they are empty, outermost first
}

// Acquire takes the lock at path, creating the file (0600) if need be, and
// writes the PID into it. It does not wait: a lock held by another process, or
// by another Lock of this one, is a *HeldError.
func Acquire(path string) (*Lock, error) {
	for {
		lock, current, err := try(path)
		if err != nil || current {
			return lock, err
		}
	}
}

// try takes the lock once; see settle for current.
func try(path string) (lock *Lock, current bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	if current, err = settle(f, path); err != nil || !current {
		return nil, current, errors.Join(err, f.Close())
	}
	return &Lock{file: f}, true, nil
}

// AcquireIn is Acquire of the file called name in dir. It makes dir, and what is
// missing above it, with these permissions; Release takes away again what was
// made and is empty by then.
func AcquireIn(dir, name string, perm os.FileMode) (*Lock, error) {
	var made []string
	for try := 1; ; try++ {
		more, err := makeDirs(dir, perm)
		made = append(made, more...)
		if err == nil {
			var lock *Lock
			if lock, err = Acquire(filepath.Join(dir, name)); err == nil {
				lock.made = made
				return lock, nil
			}
		}
		// Another one may have made or removed a directory in between.
		passing := errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrExist)
		if !passing || try == makeTries {
			return nil, errors.Join(err, removeEmpty(made))
		}
	}
}

// makeTries bounds how often AcquireIn makes directories that others remove.
const makeTries = 100

// makeDirs makes dir and what is missing above it, and returns what it made.
func makeDirs(dir string, perm os.FileMode) (made []string, err error) {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(at); !errors.Is(err, os.ErrNotExist) || at == filepath.Dir(at) {
			break
		}
		made = append([]string{at}, made...)
	}
	return made, os.MkdirAll(dir, perm)
}

// removeEmpty removes those directories that are empty, innermost first. One
// that is gone, or that somebody put something into, is no error.
func removeEmpty(dirs []string) error {
	var errs []error
	for i := len(dirs) - 1; i >= 0; i-- {
		err := os.Remove(dirs[i])
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// settle locks and signs an open file. current is false where a holder that let
// go has removed it between our open and our flock: another file, or none,
// stands at path by now, and the lock is worth nothing.
func settle(f *os.File, path string) (current bool, err error) {
	if err := flock(f); err != nil {
		return false, err
	}
	if current, err = standsAt(f, path); err != nil || !current {
		return current, err
	}
	return true, sign(f)
}

func flock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.LimitReader(f, 20))
		return &HeldError{Path: f.Name(), Holder: strings.TrimSpace(string(holder))}
	}
	if err != nil {
		return fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	return nil
}

func standsAt(f *os.File, path string) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, there), err
}

// sign writes who holds the lock, for the one who is refused.
func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// Release removes the file, and what AcquireIn made around it, and gives the
// lock back.
func (l *Lock) Release() error {
	err := os.Remove(l.file.Name())
	if errors.Is(err, os.ErrNotExist) {
		err = nil // somebody swept the directory
	}
	return errors.Join(err, removeEmpty(l.made), l.file.Close())
}
