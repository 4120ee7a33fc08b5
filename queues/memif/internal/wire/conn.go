package wire

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Conn sends and receives over a net.UnixConn of network "unixpacket": it
// waits, and keeps to the connection's deadlines. One goroutine may send while
// another receives.
type Conn struct {
	unix *net.UnixConn
	raw  syscall.RawConn
}

// NewConn wraps c, which the Conn closes.
func NewConn(c *net.UnixConn) (*Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Conn{unix: c, raw: raw}, nil
}

// Unix is the connection itself, for its deadlines.
func (c *Conn) Unix() *net.UnixConn { return c.unix }

// Close closes the connection. Whoever waits returns with an error.
func (c *Conn) Close() error { return c.unix.Close() }

// Send is Send, and waits for room.
func (c *Conn) Send(m Message, fd int) error {
	var err error
	waited := c.raw.Write(func(sock uintptr) bool {
		err = Send(int(sock), m, fd)
		return !errors.Is(err, unix.EAGAIN)
	})
	if waited != nil {
		return waited
	}
	return err
}

// closeNow is for descriptors of a server, which the client trusts that far.
func closeNow(fd int) { _ = unix.Close(fd) }

// Recv is Recv, and waits for a message.
func (c *Conn) Recv() (m Message, fd int, err error) {
	waited := c.raw.Read(func(sock uintptr) bool {
		m, fd, err = Recv(int(sock), closeNow)
		return !errors.Is(err, unix.EAGAIN)
	})
	if waited != nil {
		return nil, -1, waited
	}
	return m, fd, err
}
