package inproc

import (
	"context"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// bell wakes one side. It rings at most once for each time that it was armed,
// and only then costs anything. Whoever arms it looks once more before it
// sleeps: with sequentially consistent atomics either the looker sees the
// frame or the ringer sees the arm.
type bell struct {
	armed  atomic.Bool
	wake   chan struct{} // holds one, or nil
	notify func()        // or nil

	mu sync.Mutex // of fd, against closing it while it is rung
	fd int        // an eventfd, or -1
}

func (b *bell) arm(on bool) { b.armed.Store(on) }

func (b *bell) ring() {
	if b.armed.Load() && b.armed.CompareAndSwap(true, false) {
		b.always()
	}
}

func (b *bell) always() {
	if b.wake != nil {
		select {
		case b.wake <- struct{}{}:
		default: // it rings already
		}
	}
	if b.notify != nil {
		b.notify()
	}
	b.ringFD()
}

// ringFD is called by the program's goroutine alone.
func (b *bell) ringFD() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 {
		one := [8]byte{1}
		_, _ = unix.Write(b.fd, one[:]) // EAGAIN: it has rung 2^64-2 times unread
	}
}

func (b *bell) close(closeFD func(int) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	fd := b.fd
	b.fd = -1
	if fd < 0 {
		return nil
	}
	return closeFD(fd)
}

// await calls try until it is content, sleeping in between until the bell
// rings.
func (b *bell) await(ctx context.Context, gone *atomic.Bool, try func() bool) error {
	for !try() {
		b.arm(true)
		left := gone.Load() // before the last look: what came first is still seen
		if try() {
			break
		}
		if left {
			return ErrClosed
		}
		select {
		case <-b.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.arm(false)
	return nil
}
