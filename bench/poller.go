package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// poller is an epoll instance over descriptors with numbers. wait belongs to
// one goroutine.
type poller struct {
	fd, bell int
	events   [256]unix.EpollEvent
	ready    [256]uint32
}

// bellNumber is that of the poller's own bell; no descriptor may have it.
const bellNumber = 1<<31 - 1

func newPoller() (p *poller, err error) {
	p = &poller{fd: -1, bell: -1}
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("creating an epoll instance: %w", err)
	}
	if p.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		err = p.add(p.bell, bellNumber)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// add watches fd for something to read, as long as there is something.
func (p *poller) add(fd int, number uint32) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(number)}
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watching descriptor %d: %w", fd, err)
	}
	return nil
}

// wait returns the numbers of descriptors with something to read, until the
// next call; with block it waits for one, or for wake.
func (p *poller) wait(block bool) ([]uint32, error) {
	timeout := 0
	if block {
		timeout = -1
	}
	n, err := unix.EpollWait(p.fd, p.events[:], timeout)
	if err != nil {
		if errors.Is(err, unix.EINTR) {
			return nil, nil
		}
		return nil, err
	}
	ready := p.ready[:0]
	for i := range n {
		if number := uint32(p.events[i].Fd); number != bellNumber {
			ready = append(ready, number)
		} else {
			var buf [8]byte
			_, _ = unix.Read(p.bell, buf[:])
		}
	}
	return ready, nil
}

// wake ends the wait that runs, or the next. Any goroutine may call it.
func (p *poller) wake() {
	one := [8]byte{1}
	_, _ = unix.Write(p.bell, one[:]) // EAGAIN: it rings already
}

func (p *poller) close() {
	for _, fd := range []int{p.fd, p.bell} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
