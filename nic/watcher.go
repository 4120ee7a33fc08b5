package nic

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// watcher feeds a tracker from the kernel.
type watcher struct {
	conn    *conn // for dumps
	news    *newsSocket
	tracker *tracker
	first   State
	events  chan Event
}

// newWatcher subscribes before it reads what is so, so nothing falls between.
// What it hears twice makes no event.
func newWatcher(cfg WatchConfig, index int) (_ *watcher, err error) {
	w := &watcher{tracker: newTracker(cfg.Ignore), events: make(chan Event)}
	if w.conn, err = dial(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.news, err = subscribe(cfg.ReceiveBuffer); err != nil {
		return nil, err
	}
	d, err := w.conn.dump()
	if err != nil {
		return nil, err
	}
	w.tracker.start(d, index)
	if !w.tracker.nic.Present {
		return nil, &NotFoundError{Index: index}
	}
	w.first = w.tracker.state()
	return w, nil
}

func (w *watcher) close() {
	w.conn.close()
	if w.news != nil {
		w.news.close()
	}
}

// run ends when ctx does, which closes the socket under the reader.
func (w *watcher) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, w.news.close)
	defer close(w.events)
	defer w.close()
	defer stop()
	for {
		events, err := w.next()
		if err != nil {
			events = append(events, Event{Kind: Failed, Link: w.tracker.nic, Before: w.tracker.nic, Err: err})
		}
		if !w.tell(ctx, events) || err != nil {
			return
		}
	}
}

// next waits for the kernel's next messages.
func (w *watcher) next() ([]Event, error) {
	datagram, err := w.news.receive()
	if errors.Is(err, unix.ENOBUFS) {
		return w.resync()
	}
	if err != nil {
		return nil, fmt.Errorf("receive netlink messages: %w", err)
	}
	return w.apply(datagram)
}

// resync throws the backlog away before it reads everything: messages from
// before the loss would else be taken in after the dump, which is newer.
func (w *watcher) resync() ([]Event, error) {
	if err := w.news.drain(); err != nil {
		return nil, err
	}
	d, err := w.conn.dump()
	if err != nil {
		return nil, err
	}
	return w.tracker.resync(d), nil
}

func (w *watcher) apply(datagram []byte) ([]Event, error) {
	msgs, err := parseNews(datagram)
	var events []Event
	for _, m := range msgs {
		switch {
		case m.kind == unix.RTM_NEWLINK:
			events = append(events, w.tracker.link(m.link)...)
		case m.kind == unix.RTM_DELLINK:
			events = append(events, w.tracker.unlink(m.link.index)...)
		case m.kind == unix.RTM_NEWADDR:
			events = append(events, w.tracker.addr(m.addr)...)
		case m.kind == unix.RTM_DELADDR:
			events = append(events, w.tracker.unaddr(m.addr)...)
		}
	}
	return events, err
}

// tell says whether the reader got them all.
func (w *watcher) tell(ctx context.Context, events []Event) bool {
	for _, e := range events {
		if e.Kind == Failed && ctx.Err() != nil {
			return false // we closed the socket ourselves
		}
		select {
		case w.events <- e:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// newsSocket is subscribed to changes of links and addresses (rtnetlink(7)).
type newsSocket struct {
	file *os.File
	buf  [64 << 10]byte // one datagram; a notification has a few KiB
}

const defaultNewsBuffer = 1 << 20

func subscribe(bufferSize int) (*newsSocket, error) {
	if bufferSize <= 0 {
		bufferSize = defaultNewsBuffer
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	s := &newsSocket{file: os.NewFile(uintptr(fd), "rtnetlink")}
	// Beyond net.core.rmem_max only root may go, by the other option.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bufferSize) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bufferSize)
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{
		Family: unix.AF_NETLINK,
		Groups: 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1),
	})
	if err != nil {
		s.close()
		return nil, fmt.Errorf("subscribe to netlink: %w", err)
	}
	return s, nil
}

// close may be called while another goroutine receives, and twice.
func (s *newsSocket) close() { _ = s.file.Close() }

// receive waits for one datagram, which is valid until the next call. ENOBUFS
// is that others were lost.
func (s *newsSocket) receive() ([]byte, error) {
	n, err := 0, error(nil)
	wait := func(fd uintptr) bool {
		n, err = s.receiveNow(int(fd))
		return !errors.Is(err, unix.EAGAIN)
	}
	if err := s.read(wait); err != nil {
		return nil, err
	}
	return s.buf[:max(n, 0)], err
}

// drain throws away what was received so far.
func (s *newsSocket) drain() error {
	return s.read(func(fd uintptr) bool {
		for {
			_, err := s.receiveNow(int(fd))
			if err != nil && !errors.Is(err, unix.ENOBUFS) {
				return true // EAGAIN: empty. What else is wrong shows again.
			}
		}
	})
}

func (s *newsSocket) read(fn func(fd uintptr) bool) error {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(fn)
}

func (s *newsSocket) receiveNow(fd int) (int, error) {
	for {
		n, _, err := unix.Recvfrom(fd, s.buf[:], 0)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
