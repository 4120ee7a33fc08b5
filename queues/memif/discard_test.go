package memif

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// lingering is a file that its last close waits for: a TCP socket that has data for
// a peer which never reads, and lingers.
func lingering(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() }) // and then nobody waits any more
	file, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, 1<<20); err == nil; {
		_, err = unix.Write(fd, b)
	}
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 3600}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// TestLingeringDescriptor: a client gives the server files whose close takes an
// hour, in every place where the server would close one. All others are served as
// ever.
func TestLingeringDescriptor(t *testing.T) {
	before := countAll(t)
	t.Run("attack", func(t *testing.T) {
		s := newTestServer(t)
		v := newVictim(t, s)
		for name, give := range map[string]func(*raw, int) error{
			"beside what takes none": func(r *raw, fd int) error { return r.conn.Send(wire.Connect{}, fd) },
			"in place of a region":   func(r *raw, fd int) error { return r.conn.Send(wire.AddRegion{Size: 1}, fd) },
			"many":                   func(r *raw, fd int) error { return r.sendMany(fd) },
			"behind the last message": func(r *raw, fd int) error {
				return errors.Join(r.conn.Send(wire.Connect{}, -1), r.conn.Send(wire.Ack{}, fd))
			},
		} {
			q := openQueue(t, s, Config{})
			r := newClient(t, small())
			if _, err := r.dial(q.SocketPath()); err != nil {
				t.Fatal(err)
			}
			if err := r.sayInit(); err != nil {
				t.Fatal(err)
			}
			fd := lingering(t)
			s.mu.Lock() // the server's is to be the last
			if err := errors.Join(give(r, fd), unix.Close(fd)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			s.mu.Unlock()
			began := time.Now()
			connected(t, openQueue(t, s, Config{}), small())
			v.passes(t, 100)
			if took := time.Since(began); took > generous {
				t.Errorf("%s: a stranger is served after %v", name, took)
			}
		}
		v.end(t)
	})
	before.settle(t)
}

// sendMany sends one descriptor many times in one message.
func (r *raw) sendMany(fd int) error {
	fds := make([]int, 200)
	for i := range fds {
		fds[i] = fd
	}
	b := wire.Encode(wire.Init{Version: wire.Version})
	raw, err := r.conn.Unix().SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := raw.Control(func(sock uintptr) { sent = unix.Sendmsg(int(sock), b[:], unix.UnixRights(fds...), nil, 0) }); err != nil {
		return err
	}
	return sent
}

// A queue in which much waits to be closed accepts nobody until that is done.
func TestFullDiscardAcceptsNobody(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{})
	var d = &q.discard
	d.mu.Lock()
	for range maxDiscarded {
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.FcntlInt(null.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		null.Close()
		if err != nil {
			t.Fatal(err)
		}
		d.fds = append(d.fds, fd)
	}
	d.idle = make(chan struct{}) // nobody closes them, so far
	d.mu.Unlock()
	r := newClient(t, small())
	done := make(chan error, 1)
	go func() { done <- r.connect(q.SocketPath()) }()
	select {
	case err := <-done:
		t.Fatalf("accepted: %v", err)
	case <-time.After(3 * rest):
	}
	go d.run()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
