package queuetest

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
)

// Run checks everything that package queues promises.
func Run(t *testing.T, kind Kind) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Kind)
	}{
		{"deliver order and bytes", deliverOrder},
		{"deliver retains nothing", deliverRetainsNothing},
		{"deliver refuses what is too big", deliverTooBig},
		{"deliver says full", deliverFull},
		{"deliver says gone", deliverGone},
		{"deliver to many at once", together},
		{"deliver and collect nothing", nothing},
		{"collect order and bytes", collectOrder},
		{"collect keeps to its limits", collectLimits},
		{"collect counts what is oversize", collectOversize},
		{"what is collected is ours", collectOwns},
		{"no doorbell is lost", doorbell},
		{"a super-frame passes whole", superFrame},
		{"a partial checksum passes", partialChecksum},
		{"lanes keep flows together", lanes},
		{"both directions at once", bothWays},
		{"close under traffic", closeUnderTraffic},
		{"no allocations", noAllocations},
		{"nothing is left behind", leaks},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, kind) })
	}
}

const mtu = 1500

// open opens a queue that lives until the end of the test.
func open(t *testing.T, kind Kind, cfg Config) (queues.Queue, Peer) {
	t.Helper()
	if cfg.Lanes == 0 {
		cfg.Lanes = 1
	}
	if cfg.MTU == 0 {
		cfg.MTU = mtu
	}
	q, peer := kind.Open(t, cfg)
	if q.Lanes() != cfg.Lanes {
		t.Fatalf("%d lanes, asked for %d", q.Lanes(), cfg.Lanes)
	}
	t.Cleanup(func() {
		if err := q.Remove(); err != nil {
			t.Error(err)
		}
		if err := peer.Close(); err != nil {
			t.Error(err)
		}
	})
	return q, peer
}

// recv receives one of the suite's frames and checks its bytes.
func recv(t testing.TB, peer Peer, f *frame.Frame) {
	t.Helper()
	f.Data = f.Data[:cap(f.Data)]
	if err := peer.Recv(f); err != nil {
		t.Fatal(err)
	}
	if err := intact(f.Data); err != nil {
		t.Fatal(err)
	}
}

// send sends a frame out of the container.
func send(t testing.TB, peer Peer, f frame.Frame) {
	t.Helper()
	if err := peer.Send(f); err != nil {
		t.Fatal(err)
	}
}

// collect collects until it has a frame of the suite's, and drops what the
// container's kernel says by itself. It returns the number of those in f.
func collect(l queues.Lane, f []frame.Frame, maxBytes int) int {
	n := l.Collect(f, maxBytes)
	kept := 0
	for i := range n {
		if isNumbered(f[i].Data) {
			f[kept], f[i] = f[i], f[kept]
			kept++
		}
	}
	return kept
}

// bell waits for one lane's doorbell.
type bell struct{ epoll int }

func newBell(t testing.TB, l queues.Lane) *bell {
	t.Helper()
	belled, ok := l.(Belled)
	if !ok || belled.Fd() < 0 {
		t.Fatal("the lane has no descriptor to wait on")
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff}
	if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, belled.Fd(), &ev); err != nil {
		t.Fatal(err)
	}
	return &bell{epoll: fd}
}

// wait reports whether the bell rang within the time.
func (b *bell) wait(limit time.Duration) bool {
	var ev [1]unix.EpollEvent
	for end := time.Now().Add(limit); ; {
		n, err := unix.EpollWait(b.epoll, ev[:], int(max(0, time.Until(end))/time.Millisecond))
		if err != unix.EINTR {
			return n > 0
		}
	}
}
