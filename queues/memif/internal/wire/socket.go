package wire

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Errors of Recv beside those of Decode, the system's, and io.EOF.
var (
	// ErrTruncated: a message or what came beside it was longer than the
	// protocol allows.
	ErrTruncated = errors.New("a memif message is longer than it may be")
	// ErrDescriptors: a message came with more than one descriptor.
	ErrDescriptors = errors.New("a memif message carries one descriptor at most")
)

// maxRights is how many descriptors a message can bring (SCM_MAX_FD of Linux).
const maxRights = 253

// Send sends m over a SOCK_SEQPACKET socket, with descriptor fd beside it
// unless that is negative; it stays the caller's. It never blocks: a socket
// whose buffer is full is EAGAIN.
func Send(sock int, m Message, fd int) error {
	b := Encode(m)
	var beside []byte
	if fd >= 0 {
		beside = unix.UnixRights(fd)
	}
	for {
		_, err := unix.SendmsgN(sock, b[:], beside, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return fmt.Errorf("send memif %s: %w", m.Type(), err)
		}
	}
}

// Recv receives one message and the descriptor beside it, -1 if there is none.
// The descriptor is the caller's, closed on exec. It never blocks: with
// nothing to receive the error is EAGAIN, at the end of the connection it is
// io.EOF. After any error but EAGAIN the connection is of no use. Descriptors
// that the protocol does not allow go to discard, which is to close them:
// closing what somebody else has opened can take any time.
func Recv(sock int, discard func(fd int)) (m Message, fd int, err error) {
	var b [Size + 1]byte // one more, to tell what is longer
	// Room for all descriptors that there can be, for the kernel closes what
	// there is no room for, and for the credentials that a socket with
	// SO_PASSCRED is given.
	beside := make([]byte, unix.CmsgSpace(maxRights*4)+unix.CmsgSpace(unix.SizeofUcred))
	n, besideN, flags, err := recvmsg(sock, b[:], beside)
	if err != nil {
		return nil, -1, fmt.Errorf("receive a memif message: %w", err)
	}
	fds := descriptors(beside[:besideN])
	m, err = check(b[:n], flags, len(fds))
	if err != nil {
		for _, fd := range fds {
			discard(fd)
		}
		return nil, -1, err
	}
	if len(fds) == 0 {
		return m, -1, nil
	}
	return m, fds[0], nil
}

func recvmsg(sock int, b, beside []byte) (n, besideN, flags int, err error) {
	for {
		n, besideN, flags, _, err = unix.Recvmsg(sock, b, beside, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			return n, besideN, flags, err
		}
	}
}

func check(b []byte, flags, fds int) (Message, error) {
	switch {
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		return nil, ErrTruncated
	case fds > 1:
		return nil, ErrDescriptors
	case len(b) == 0:
		return nil, io.EOF
	}
	return Decode(b)
}

// descriptors are all that came, also those that nobody asked for.
func descriptors(beside []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(beside)
	if err != nil {
		return nil // the kernel wrote it; an empty one parses
	}
	for i := range messages {
		if got, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}
