package memif

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// listener is a queue's socket. Its fields belong to whoever holds Server.mu.
type listener struct {
	server *Server
	queue  *Queue
	sock   int // -1 once it is closed
	token  token
	until  time.Time // it rests until then

	second  time.Time // in which accepts are counted
	accepts int
}

const (
	// maxAccepts bounds how many connections one listener takes before others do.
	maxAccepts = 16
	// maxPerSecond bounds what a client can make the server do by coming and
	// going. What comes beyond waits in the backlog.
	maxPerSecond = 200
)

// ready accepts.
func (l *listener) ready(now time.Time) {
	for range maxAccepts {
		if l.exhausted(now) {
			l.pause(l.second.Add(time.Second))
			return
		}
		if l.queue.discard.full() {
			l.pause(now.Add(rest))
			return
		}
		sock, _, err := unix.Accept4(l.sock, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		switch {
		case err == nil:
			l.accepts++
			l.welcome(sock, now)
		case errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return
		default: // out of descriptors or memory: asking again at once is no help
			l.pause(now.Add(rest))
			return
		}
	}
}

// exhausted tells whether enough has been accepted in this second.
func (l *listener) exhausted(now time.Time) bool {
	if now.Sub(l.second) >= time.Second {
		l.second, l.accepts = now, 0
	}
	return l.accepts >= maxPerSecond
}

// pause stops listening for a while. The clients wait in the backlog.
func (l *listener) pause(until time.Time) {
	_ = unix.EpollCtl(l.server.epoll, unix.EPOLL_CTL_DEL, l.sock, nil)
	l.until = until
	l.server.resting = append(l.server.resting, l)
}

// welcome begins a handshake, or says why there is none.
func (l *listener) welcome(sock int, now time.Time) {
	x := &session{server: l.server, queue: l.queue, sock: sock,
		shake: handshake{cfg: &l.queue.cfg}, deadline: now.Add(l.server.patience)}
	if err := l.receive(x); err != nil {
		x.dismiss(err.Error())
		x.hangUp()
		return
	}
	x.place = l.server.shaking.PushBack(x)
	l.queue.sessions = append(l.queue.sessions, x)
	if err := x.say(hello(&l.queue.cfg)); err != nil {
		x.end(err.Error(), false)
	}
}

func (l *listener) receive(x *session) error {
	cred, err := unix.GetsockoptUcred(x.sock, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return fmt.Errorf("the server cannot tell who the client is: %w", err)
	}
	x.cred = *cred
	if !l.queue.cfg.admits(x.cred) {
		return fmt.Errorf("user %d, group %d may not use this interface", cred.Uid, cred.Gid)
	}
	if len(l.queue.sessions) >= maxWaiting {
		return fmt.Errorf("%d connections wait already: one client needs one", maxWaiting)
	}
	x.token, err = l.server.watch(x, x.sock)
	return err
}

// hello announces more rings than there are, for DPDK's clients go wrong when
// they are told to use fewer than they have: who brings too many is sent away.
func hello(cfg *Config) wire.Hello {
	return wire.Hello{
		Name:       cfg.Name,
		MinVersion: wire.Version, MaxVersion: wire.Version,
		MaxRegion:  maxRegions - 1,
		MaxS2CRing: 255, MaxC2SRing: 255,
		MaxLog2Ring: cfg.maxLog2(),
	}
}

// admits tells whether somebody may connect. Of a socket in the file system
// that is decided by its mode.
func (c *Config) admits(cred unix.Ucred) bool {
	if c.Abstract == "" || c.UID < 0 && c.GID < 0 {
		return true
	}
	uid, gid := int(cred.Uid), int(cred.Gid)
	return uid == 0 || uid == unix.Geteuid() || c.UID >= 0 && uid == c.UID || c.GID >= 0 && gid == c.GID
}

// close ends the socket, and with it connections that nobody has accepted, with
// all that they have sent.
func (l *listener) close() {
	l.queue.discard.take(l.sock)
	l.sock = -1
}

// socketPath is how people write the socket's address.
func (c *Config) socketPath() string {
	if c.Abstract != "" {
		return "@" + c.Abstract
	}
	return c.Directory + "/" + SocketName
}

// listen makes the queue's socket and says where it lies.
func listen(cfg *Config) (sock int, at place, err error) {
	if cfg.Abstract != "" {
		sock, err = listenAbstract(cfg)
		return sock, place{}, err
	}
	return listenInDirectory(cfg)
}

func listenAbstract(cfg *Config) (sock int, err error) {
	open := func() error {
		sock, err = bound("@" + cfg.Abstract)
		return err
	}
	if cfg.NetNS != nil {
		err = cfg.NetNS.Do(open)
	} else {
		err = open()
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return -1, inUse(fmt.Sprintf("the abstract socket %q is in use: end whoever listens there, or choose another name", cfg.Abstract))
	case err != nil:
		return -1, fmt.Errorf("listen on the abstract socket %q: %w", cfg.Abstract, err)
	}
	return sock, nil
}

// backlog is for clients that come while the server is busy.
const backlog = 16

// bound is a listening socket at an address, where nothing may be.
func bound(address string) (int, error) {
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Bind(sock, &unix.SockaddrUnix{Name: address}); err == nil {
		err = unix.Listen(sock, backlog)
	}
	if err != nil {
		_ = unix.Close(sock)
		return -1, err
	}
	return sock, nil
}
