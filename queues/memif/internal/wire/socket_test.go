package wire_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

func pair(t *testing.T) (a, b int) {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(p[0])
		unix.Close(p[1])
	})
	return p[0], p[1]
}

// pipes are n descriptors, of which the last is the write end of a pipe whose
// read end tells when all copies of it are closed.
func pipes(t *testing.T, n int) (fds []int, closed func() bool) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	for range n {
		fds = append(fds, int(w.Fd()))
	}
	return fds, func() bool {
		w.Close()
		if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err := r.Read(make([]byte, 1))
		return errors.Is(err, io.EOF)
	}
}

func TestSendAndRecv(t *testing.T) {
	a, b := pair(t)
	if _, fd, err := wire.Recv(b, closeNow); !errors.Is(err, unix.EAGAIN) || fd != -1 {
		t.Errorf("Recv of nothing: descriptor %d, %v", fd, err)
	}
	fds, closed := pipes(t, 1)
	region := wire.AddRegion{Index: 1, Size: 4096}
	if err := errors.Join(wire.Send(a, region, fds[0]), wire.Send(a, wire.Ack{}, -1)); err != nil {
		t.Fatal(err)
	}
	m, fd, err := wire.Recv(b, closeNow)
	if err != nil || m != region || fd < 0 {
		t.Fatalf("%+v, descriptor %d, %v", m, fd, err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("the descriptor would be inherited (%d, %v)", flags, err)
	}
	unix.Close(fd)
	if !closed() {
		t.Error("more than one descriptor came")
	}
	if m, fd, err := wire.Recv(b, closeNow); err != nil || m != (wire.Ack{}) || fd != -1 {
		t.Errorf("%+v, descriptor %d, %v", m, fd, err)
	}
	unix.Shutdown(a, unix.SHUT_RDWR)
	if _, _, err := wire.Recv(b, closeNow); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if err := wire.Send(b, wire.Ack{}, -1); !errors.Is(err, unix.EPIPE) {
		t.Errorf("Send to nobody: %v", err)
	}
}

// A peer that never reads is an error, not a wait.
func TestSendDoesNotBlock(t *testing.T) {
	a, _ := pair(t)
	for range 100000 {
		if err := wire.Send(a, wire.Ack{}, -1); err != nil {
			if !errors.Is(err, unix.EAGAIN) {
				t.Error(err)
			}
			return
		}
	}
	t.Error("100,000 messages nobody has read")
}

// What is refused leaves no descriptor open, however many came.
func TestRecvRefuses(t *testing.T) {
	whole := wire.Encode(wire.Ack{})
	none := [wire.Size]byte{}
	for _, c := range []struct {
		name  string
		bytes []byte
		fds   int
		want  error
	}{
		{"short", whole[:127], 0, wire.ErrSize},
		{"short, with a descriptor", whole[:2], 1, wire.ErrSize},
		{"long by one", append(whole[:], 0), 1, wire.ErrSize},
		{"long", make([]byte, 4000), 1, wire.ErrTruncated},
		{"two descriptors", whole[:], 2, wire.ErrDescriptors},
		{"ten descriptors", whole[:], 10, wire.ErrDescriptors},
		{"as many descriptors as a message can have", whole[:], 253, wire.ErrDescriptors},
		{"no type", none[:], 1, wire.ErrType},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := pair(t)
			fds, closed := pipes(t, c.fds)
			var beside []byte
			if c.fds > 0 {
				beside = unix.UnixRights(fds...)
			}
			if err := unix.Sendmsg(a, c.bytes, beside, nil, 0); err != nil {
				t.Fatal(err)
			}
			m, fd, err := wire.Recv(b, closeNow)
			if !errors.Is(err, c.want) || m != nil || fd != -1 {
				t.Errorf("%+v, descriptor %d, %v, want %v", m, fd, err, c.want)
			}
			if c.fds > 0 && !closed() {
				t.Error("a descriptor is still open")
			}
		})
	}
}

// A socket that is told the sender's credentials still takes a descriptor.
func TestRecvWithCredentials(t *testing.T) {
	a, b := pair(t)
	if err := unix.SetsockoptInt(b, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		t.Fatal(err)
	}
	fds, closed := pipes(t, 1)
	if err := wire.Send(a, wire.Ack{}, fds[0]); err != nil {
		t.Fatal(err)
	}
	m, fd, err := wire.Recv(b, closeNow)
	if err != nil || m != (wire.Ack{}) || fd < 0 {
		t.Fatalf("%+v, descriptor %d, %v", m, fd, err)
	}
	unix.Close(fd)
	if !closed() {
		t.Error("more than one descriptor came")
	}
}

func TestConn(t *testing.T) {
	a, b := conns(t)
	got := make(chan error, 1)
	go func() {
		m, fd, err := b.Recv() // waits
		if err == nil && (m != wire.Connect{Interface: "x"} || fd != -1) {
			err = errors.New("another message came")
		}
		got <- err
	}()
	if err := a.Send(wire.Connect{Interface: "x"}, -1); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if err := b.Unix().SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Recv(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: %v", err)
	}
	if err := b.Unix().SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _, err := b.Recv()
		got <- err
	}()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err == nil {
		t.Error("Recv of a closed connection succeeds")
	}
	if err := a.Send(wire.Ack{}, -1); err == nil {
		t.Error("Send to a closed connection succeeds")
	}
}

func conns(t *testing.T) (a, b *wire.Conn) {
	t.Helper()
	path := t.TempDir() + "/s"
	addr := &net.UnixAddr{Name: path, Net: "unixpacket"}
	l, err := net.ListenUnix("unixpacket", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.DialUnix("unixpacket", nil, addr)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	return conn(t, dialled), conn(t, accepted)
}

func conn(t *testing.T, u *net.UnixConn) *wire.Conn {
	t.Helper()
	c, err := wire.NewConn(u)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func closeNow(fd int) { unix.Close(fd) }
