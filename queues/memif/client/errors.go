package client

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

var (
	// ErrClosed: the Conn or Session was closed on this side.
	ErrClosed = errors.New("memif: the connection was closed on this side")
	// ErrTooBig: a frame to write needs more slots than the ring has.
	ErrTooBig = errors.New("memif: the frame needs more slots than the ring has")
	// ErrEmpty: a frame to write has no bytes.
	ErrEmpty = errors.New("memif: the frame is empty")
	// ErrServer: the server broke the protocol. The connection has ended.
	ErrServer = errors.New("memif: the server broke the protocol")
)

// RefusedError is the error of Dial where the server did not let us in.
type RefusedError struct {
	// Socket is the server's.
	Socket string
	// Message is what it was that the server refused, such as INIT.
	Message string
	// Reason is the server's; empty if it just closed the connection.
	Reason string
}

// Error names the message and the server's reason.
func (e *RefusedError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("memif: the server at %q closed the connection after our %s, without a reason: "+
			"it may serve another client, or want another id or other rings", e.Socket, e.Message)
	}
	return fmt.Sprintf("memif: the server at %q refused our %s: %s", e.Socket, e.Message, e.Reason)
}

// DisconnectedError says that the server left.
type DisconnectedError struct {
	// Reason is the server's; empty if it just closed the connection, as a
	// server that ends does.
	Reason string
}

// Error gives the reason.
func (e *DisconnectedError) Error() string {
	if e.Reason == "" {
		return "memif: the server closed the connection"
	}
	return "memif: the server disconnected: " + e.Reason
}

// connectError says what to do about a socket that does not let us connect.
func connectError(socket string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint = " (is the server running, and is this its path?)"
	case errors.Is(err, syscall.ECONNREFUSED) && socket[0] == '@':
		hint = " (nobody listens there; an abstract socket is seen in its own network namespace only)"
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = " (nobody listens there any more)"
	case errors.Is(err, fs.ErrPermission):
		hint = " (the server gives its socket to a certain user)"
	case errors.Is(err, syscall.EPROTOTYPE):
		hint = " (this is no memif socket)"
	}
	return fmt.Errorf("memif: connect to %q: %w%s", socket, innermost(err), hint)
}

// innermost leaves out the wrappers that repeat the address.
func innermost(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no
	}
	return err
}
