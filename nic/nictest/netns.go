package nictest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// runDir is where iproute2 keeps names of network namespaces.
const runDir = "/run/netns"

// prepareRunDir makes runDir a shared mount of itself, exactly as "ip netns
// add" does and under the same lock: otherwise a later "ip netns add" would
// bind it over itself and hide, and so leak, what was mounted before.
func prepareRunDir() error {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(runDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", runDir, err)
	}
	err = unix.Mount("", runDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if err := unix.Mount(runDir, runDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", runDir, err)
	}
	return unix.Mount("", runDir, "none", unix.MS_SHARED|unix.MS_REC, "")
}

// makeNetNS makes a network namespace, sets it up with setup, which runs
// inside, and gives it a name. An existing name is os.ErrExist.
func makeNetNS(name string, setup func() error) (err error) {
	path := filepath.Join(runDir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o400)
	if err != nil {
		return err
	}
	f.Close()
	defer func() {
		if err != nil {
			removeNetNS(name)
		}
	}()
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", path, err)
		}
		return setup()
	})
}

// removeNetNS takes a name away. The namespace itself goes with the last
// process and descriptor in it.
func removeNetNS(name string) {
	path := filepath.Join(runDir, name)
	// More than one mount may lie on the name; the last attempt says EINVAL.
	for range 4 {
		if unix.Unmount(path, unix.MNT_DETACH) != nil {
			break
		}
	}
	_ = os.Remove(path)
}

// inNetNS runs fn on a thread of its own inside the namespace at path.
func inNetNS(path string, fn func() error) error {
	target, err := os.Open(path)
	if err != nil {
		return err
	}
	defer target.Close()
	return onOwnThread(func() error {
		if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %s: %w", path, err)
		}
		return fn()
	})
}

var errExited = errors.New("the function ended its goroutine (t.FailNow in another goroutine?)")

// onOwnThread runs fn on a goroutine that owns its thread and may change the
// thread's network namespace. A thread that cannot be brought back is thrown
// away: the goroutine ends while locked to it, which ends the thread.
func onOwnThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		result := errExited
		defer func() { done <- result }()
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			result = err
			return
		}
		defer func() {
			if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			home.Close()
		}()
		result = fn()
	}()
	return <-done
}
