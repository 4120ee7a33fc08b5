package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// poller is an epoll instance over descriptors with numbers, and over links, which
// stand in it only while somebody sleeps now and then, as a worker of the daemon
// does. wait belongs to one goroutine, what adds and removes numbers to anybody.
type poller struct {
	fd, bell int
	events   [256]unix.EpollEvent
	ready    [256]uint32
	links    []int
	looks    int // since the last sleep
	short    int // sleeps in a row
}

// While shortSleeps sleeps in a row, or more, have been shorter than doze, in
// milliseconds, Go's scheduler is not told of the next until it was longer. So do the
// daemon's workers; the consumer stands for programs in languages that have none.
const (
	shortSleeps = 8
	doze        = 2
)

// busyLooks is how often one looks without sleeping before the links are taken out.
const busyLooks = 4

// How a poller watches.
const (
	level = unix.EPOLLIN
	edge  = unix.EPOLLIN | unix.EPOLLET&0xffffffff
)

// The kinds of descriptor: those that wait tells of, and those that just end it.
const (
	kindNumbered int32 = iota
	kindLink
	kindBell
)

func newPoller() (p *poller, err error) {
	p = &poller{fd: -1, bell: -1}
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("creating an epoll instance: %w", err)
	}
	if p.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		err = p.watch(p.bell, unix.EpollEvent{Events: level, Pad: kindBell})
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// add watches fd for something to read.
func (p *poller) add(fd int, number uint32, how uint32) error {
	return p.watch(fd, unix.EpollEvent{Events: how, Fd: int32(number), Pad: kindNumbered})
}

// addLink watches the socket of a NIC: something to read ends wait without a
// number.
func (p *poller) addLink(fd int) error {
	p.links = append(p.links, fd)
	return p.watchLink(fd)
}

func (p *poller) watchLink(fd int) error {
	return p.watch(fd, unix.EpollEvent{Events: edge, Pad: kindLink})
}

// joinOrPart has the links in the instance where somebody is about to sleep, and
// not where he has looked often.
func (p *poller) joinOrPart(sleeps bool) (err error) {
	if !sleeps {
		if p.looks++; p.looks == busyLooks {
			for _, fd := range p.links {
				err = errors.Join(err, p.remove(fd))
			}
		}
		return err
	}
	for _, fd := range p.links {
		if p.looks >= busyLooks {
			err = errors.Join(err, p.watchLink(fd))
		}
	}
	p.looks = 0
	return err
}

func (p *poller) watch(fd int, ev unix.EpollEvent) error {
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watching descriptor %d: %w", fd, err)
	}
	return nil
}

// remove forgets fd.
func (p *poller) remove(fd int) error { return unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) }

// wait returns the numbers of descriptors with something to read, valid until
// the next call; a negative timeout waits for one, or for wake.
func (p *poller) wait(timeout time.Duration) ([]uint32, error) {
	ms := -1
	if timeout >= 0 {
		ms = int((timeout + time.Millisecond - 1) / time.Millisecond)
	}
	if err := p.joinOrPart(ms != 0); err != nil {
		return nil, err
	}
	n, err := p.sleep(ms)
	if err != nil {
		if errors.Is(err, unix.EINTR) {
			return nil, nil
		}
		return nil, err
	}
	ready := p.ready[:0]
	for i := range n {
		switch ev := &p.events[i]; ev.Pad {
		case kindNumbered:
			ready = append(ready, uint32(ev.Fd))
		case kindBell:
			var buf [8]byte
			_, _ = unix.Read(p.bell, buf[:])
		}
	}
	return ready, nil
}

// sleep waits for so many milliseconds, -1 for ever.
func (p *poller) sleep(ms int) (int, error) {
	if p.short >= shortSleeps || ms == 0 {
		moment := doze
		if ms >= 0 {
			moment = min(doze, ms)
		}
		n, err := look(p.fd, p.events[:], moment)
		if n > 0 || err != nil || moment == ms {
			return n, err
		}
		p.short = 0
		if ms > 0 {
			ms -= moment
		}
	}
	began := time.Now()
	n, err := unix.EpollWait(p.fd, p.events[:], ms)
	if n > 0 && time.Since(began) < doze*time.Millisecond {
		p.short++
	} else {
		p.short = 0
	}
	return n, err
}

// wake ends the wait that runs, or the next.
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
