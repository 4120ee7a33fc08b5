package client_test

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif"
	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

func newEpoll(t *testing.T) int {
	t.Helper()
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(epoll) })
	return epoll
}

// sleeper is a queue, and the ring of its client, which is armed and watched.
func sleeper(t *testing.T, epoll, number int) (*memif.Queue, *client.Ring) {
	t.Helper()
	q, cfg := open(t, memif.Config{})
	c, err := client.Dial(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	r := c.Ring(0)
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: int32(number)}
	if err := errors.Join(unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, r.Fd(), &ev), r.Arm(true)); err != nil {
		t.Fatal(err)
	}
	return q, r
}

// One thread sleeps on the rings of many connections in an epoll instance of its
// own, as a program with an event loop does, and misses nothing.
func TestOneEpollForManyRings(t *testing.T) {
	const ports, rounds = 20, 200
	epoll := newEpoll(t)
	var queues []*memif.Queue
	var rings []*client.Ring
	for i := range ports {
		q, r := sleeper(t, epoll, i)
		queues, rings = append(queues, q), append(rings, r)
	}
	for round := range rounds {
		i := round % ports
		if n, why := queues[i].Lane(0).Deliver([]frame.Frame{{Data: pattern(round, 60)}}); n != 1 {
			t.Fatal(why)
		}
		if got := ringing(t, epoll); got != i {
			t.Fatalf("round %d: ring %d rings, want %d", round, got, i)
		}
		bufs := client.Buffers(4, 2048)
		if n, err := rings[i].Read(bufs); n != 1 || err != nil || !same(bufs[:1], [][]byte{pattern(round, 60)}) {
			t.Fatalf("round %d: Read = %d, %v", round, n, err)
		}
	}
}

// ringing is whose doorbell rings; a signal does not end it.
func ringing(t *testing.T, epoll int) int {
	t.Helper()
	var ev [1]unix.EpollEvent
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if n, _ := unix.EpollWait(epoll, ev[:], 100); n == 1 {
			return int(ev[0].Fd)
		}
	}
	t.Fatal("no doorbell rings")
	return -1
}

// Who sleeps on Fd is woken when the server leaves, and told why.
func TestEndOfConnectionRings(t *testing.T) {
	epoll := newEpoll(t)
	q, r := sleeper(t, epoll, 0)
	go q.Close()
	ringing(t, epoll)
	var left *client.DisconnectedError
	if n, err := r.Read(client.Buffers(1, 2048)); n != 0 || !errors.As(err, &left) {
		t.Errorf("Read = %d, %v", n, err)
	}
}

func TestArm(t *testing.T) {
	q, cfg := open(t, memif.Config{})
	c, err := client.Dial(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := c.Ring(0)
	rings := func() bool {
		var count [8]byte
		if n, why := q.Lane(0).Deliver([]frame.Frame{{Data: make([]byte, 60)}}); n != 1 {
			t.Fatal(why)
		}
		n, _ := unix.Read(r.Fd(), count[:])
		return n == 8
	}
	for _, on := range []bool{false, true, false, true} {
		err := r.Arm(on)
		if got := rings(); got != on || err != nil {
			t.Errorf("armed %v: rings %v, %v", on, got, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Arm(true); !errors.Is(err, client.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
