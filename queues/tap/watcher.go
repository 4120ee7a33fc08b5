package tap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/netns"
)

// settle is how long the Watcher gathers changes before it tells of them: a
// flush is several, and a container that does nothing else costs at most five
// looks a second.
const settle = 200 * time.Millisecond

// Watcher tells which queues' interfaces somebody changed, so that Reconcile
// can put things back at once. One socket hears of all network namespaces; it
// costs no descriptor per queue. The kernel drops events where too many come,
// so every queue should be looked at from time to time nevertheless.
//
// A namespace that is watched gets a number in the Watcher's own namespace, as
// it does from "ip netns" or a veth pair; that number ends with the namespace.
type Watcher struct {
	file     *os.File // the socket, in the runtime's poller
	home     *netns.NetNS
	closed   atomic.Bool
	overruns atomic.Uint64
	last     event // of Run alone

	mu     sync.Mutex
	queues map[place]*Queue
}

// place is where an interface is: the number of its namespace in the
// Watcher's, or nsidHome, and its index there.
type place struct{ nsid, index int }

const nsidHome = -1

// NewWatcher opens a Watcher in the process's own network namespace. It needs
// CAP_NET_BROADCAST to hear of others.
func NewWatcher() (*Watcher, error) {
	home, err := netns.Self()
	if err != nil {
		return nil, err
	}
	fd, err := openEvents()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch the interfaces of containers: %w", err), home.Close())
	}
	return &Watcher{
		file:   os.NewFile(uintptr(fd), "netlink"),
		home:   home,
		queues: map[place]*Queue{},
	}, nil
}

// openEvents opens the socket: everything that takes something away from an
// interface, in any namespace.
func openEvents() (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, eventFilter()); err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1); err != nil {
		return -1, err
	}
	// Without the right to have more, the default must do.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
		unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	return fd, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups})
}

// eventFilter passes the messages that eventIndex understands.
func eventFilter() *unix.SockFprog {
	types := []uint16{unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_DELADDR, unix.RTM_DELROUTE}
	const typeAt = 4 // of struct nlmsghdr
	prog := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: typeAt}}
	for i, t := range types {
		prog = append(prog, unix.SockFilter{
			Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K,
			Jt:   uint8(len(types) - i), K: uint32(bigEndian(t)),
		})
	}
	prog = append(prog,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)})
	return &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
}

// Close ends the Watcher and its Run.
func (w *Watcher) Close() error {
	w.closed.Store(true)
	return errors.Join(w.file.Close(), w.home.Close())
}

// Overruns counts how often the kernel dropped events.
func (w *Watcher) Overruns() uint64 { return w.overruns.Load() }

// Add watches the interface of a queue, until Remove.
func (w *Watcher) Add(q *Queue) error {
	at, err := w.place(q)
	if err != nil {
		return fmt.Errorf("watch TAP %s: %w", q.Config().Name, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queues[at] = q
	return nil
}

// Remove watches a queue no longer. One that is not watched is no error.
func (w *Watcher) Remove(q *Queue) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, other := range w.queues {
		if other == q {
			delete(w.queues, at)
			return
		}
	}
}

func (w *Watcher) place(q *Queue) (place, error) {
	ns := q.NetNS()
	if ns == nil || ns.Inode() == w.home.Inode() {
		return place{nsidHome, q.Index()}, nil
	}
	h, err := w.home.Handle()
	if err != nil {
		return place{}, err
	}
	defer h.Close()
	nsid, err := number(h, ns)
	return place{nsid, q.Index()}, err
}

// number returns the number of a namespace, and gives it one if it has none.
func number(h *netlink.Handle, ns *netns.NetNS) (int, error) {
	const anyNumber = -1
	if nsid, err := h.GetNetNsIdByFd(ns.Fd()); err == nil && nsid >= 0 {
		return nsid, nil
	}
	if err := h.SetNetNsIdByFd(ns.Fd(), anyNumber); err != nil && !errors.Is(err, unix.EEXIST) {
		return 0, fmt.Errorf("give netns %s a number: %w", ns, err)
	}
	return h.GetNetNsIdByFd(ns.Fd())
}

// Run, of which one may run at a time, calls changed, one queue after the other, whenever something of an
// interface was taken away or changed, also by ourselves; its place is to call
// Reconcile. It returns when ctx ends, os.ErrClosed after Close, or
// what went wrong.
func (w *Watcher) Run(ctx context.Context, changed func(*Queue)) error {
	stop := context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	seen := map[place]bool{}
	for {
		if err := w.gather(seen); err != nil {
			return w.ended(ctx, err)
		}
		select {
		case <-time.After(settle):
		case <-ctx.Done():
			return ctx.Err()
		}
		w.drain(seen)
		w.tell(seen, changed)
		clear(seen)
	}
}

// ended says why Run ends, err being what the socket said.
func (w *Watcher) ended(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case w.closed.Load():
		return os.ErrClosed
	}
	return fmt.Errorf("watch the interfaces of containers: %w", err)
}

func (w *Watcher) tell(seen map[place]bool, changed func(*Queue)) {
	for at := range seen {
		w.mu.Lock()
		q := w.queues[at]
		w.mu.Unlock()
		if q != nil {
			changed(q)
		}
	}
}
