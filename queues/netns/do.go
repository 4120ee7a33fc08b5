package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const threadNS = "/proc/thread-self/ns/net"

var errExited = errors.New("the function ended its goroutine")

// Do runs fn on a thread of its own inside the namespace and returns its
// error. Sockets and devices that fn opens stay in the namespace and may be
// used anywhere. fn must not start goroutines that rely on the namespace. A
// thread that cannot be brought back home is thrown away.
func (n *NetNS) Do(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errExited
		defer func() { done <- err }()
		err = n.visit(fn)
	}()
	return <-done
}

// visit runs on a goroutine that ends right after it: where the lock on the
// thread is kept, the runtime ends the thread with the goroutine.
func (n *NetNS) visit(fn func() error) error {
	runtime.LockOSThread()
	home, err := os.Open(threadNS)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the thread's own network namespace: %w", err)
	}
	defer goHome(home)
	if err := unix.Setns(n.Fd(), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter netns %s: %w", n.spec, err)
	}
	return fn()
}

func goHome(home *os.File) {
	defer home.Close()
	if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
}
