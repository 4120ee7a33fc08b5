package memif

import (
	"errors"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// bells is a worker's epoll, as the daemon has one.
type bells struct {
	epoll int
	fail  error

	mu      sync.Mutex
	watched map[int]int // lane: descriptor
	added   int
	wrong   []string
}

func newBells(t *testing.T) *bells {
	t.Helper()
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return &bells{epoll: fd, watched: map[int]int{}}
}

func (b *bells) Add(lane, fd int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	if _, ok := b.watched[lane]; ok {
		b.wrong = append(b.wrong, "added twice")
	}
	b.watched[lane] = fd
	b.added++
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: int32(lane)}
	return unix.EpollCtl(b.epoll, unix.EPOLL_CTL_ADD, fd, &ev)
}

func (b *bells) Remove(lane, fd int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.watched[lane] != fd {
		b.wrong = append(b.wrong, "removed what was not added")
	}
	delete(b.watched, lane)
	err := unix.EpollCtl(b.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	if err != nil {
		b.wrong = append(b.wrong, "removed what was closed: "+err.Error())
	}
	return err
}

// wait returns the lane that rings, -1 if none does.
func (b *bells) wait(limit time.Duration) int {
	var ev [1]unix.EpollEvent
	for end := time.Now().Add(limit); ; {
		n, err := unix.EpollWait(b.epoll, ev[:], int(max(0, time.Until(end))/time.Millisecond))
		if n > 0 {
			return int(ev[0].Fd)
		}
		if err == nil {
			return -1
		}
	}
}

func (b *bells) check(t *testing.T, watched int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.watched) != watched || len(b.wrong) != 0 {
		t.Errorf("%d doorbells are watched, want %d; %v", len(b.watched), watched, b.wrong)
	}
}

// Doorbells come and go with the clients, and whoever watches is told of all.
func TestWatch(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{Rings: 2})
	layout := shm.Layout{Rings: 2, Log2: 4, BufferSize: 256}
	first, second := newBells(t), newBells(t)
	if err := q.Watch(first); err != nil {
		t.Fatal(err)
	}
	first.check(t, 0)
	r := connected(t, q, layout)
	first.check(t, 2)
	if err := r.send(1, make([]byte, 60)); err != nil {
		t.Fatal(err)
	}
	if lane := first.wait(generous); lane != 1 {
		t.Errorf("lane %d rings, want 1", lane)
	}
	if err := q.Watch(second); err != nil {
		t.Fatal(err)
	}
	first.check(t, 0)
	second.check(t, 2)
	if lane := second.wait(generous); lane != 1 { // it has rung, and was not collected
		t.Errorf("lane %d rings, want 1", lane)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client is gone", func() bool { return !isConnected(q) })
	second.check(t, 0)
	r = connected(t, q, layout)
	second.check(t, 2)
	if err := q.Watch(nil); err != nil {
		t.Fatal(err)
	}
	second.check(t, 0)
	if !isConnected(q) {
		t.Error("nobody watches, and the client is gone")
	}
	if err := q.Watch(second); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	second.check(t, 0)
	if fd := q.lanes[0].Fd(); fd != -1 {
		t.Errorf("descriptor %d of a closed queue", fd)
	}
}

// A doorbell that cannot be watched is the end of its client: it would never
// be heard.
func TestWatchFails(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{})
	b := newBells(t)
	b.fail = errors.New("no room")
	r := connected(t, q, small())
	if err := q.Watch(b); !errors.Is(err, b.fail) {
		t.Errorf("Watch: %v", err)
	}
	isDismissed(t, r, "no room")
	if err := q.Watch(b); err != nil {
		t.Errorf("Watch of nothing: %v", err)
	}
	r = newClient(t, small())
	var why refused
	if err := r.connect(q.SocketPath()); !errors.As(err, &why) {
		t.Errorf("the next one: %v", err)
	}
	b.check(t, 0)
}

// A worker that polls is not rung for; one that sleeps is, once armed.
func TestArm(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{})
	l, f := q.Lane(0), buffers(4, 2048)
	r := connected(t, q, small())
	ring := &r.c2s[0]
	if ring.Masked() {
		t.Error("a lane is born masked")
	}
	l.Arm(false)
	if !ring.Masked() {
		t.Error("the client would ring for a worker that polls")
	}
	l.Arm(true)
	if ring.Masked() {
		t.Error("the client would not ring for a worker that sleeps")
	}
	l.Arm(false)
	// Another client begins unmasked, and is told at the first visit.
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client is gone", func() bool { return !isConnected(q) })
	r = connected(t, q, small())
	ring = &r.c2s[0]
	if ring.Masked() {
		t.Error("nobody would look at the new client")
	}
	if n := l.Collect(f, 1<<20); n != 0 || !ring.Masked() {
		t.Errorf("Collect = %d, masked %v", n, ring.Masked())
	}
}

// TestLostDoorbell: the client looked at the mask before the worker took it
// off, and published its frame after the worker had looked. The server looks
// again, and the worker wakes.
func TestLostDoorbell(t *testing.T) {
	s := newTestServer(t)
	q := openQueue(t, s, Config{})
	b := newBells(t)
	if err := q.Watch(b); err != nil {
		t.Fatal(err)
	}
	l, f := q.Lane(0), buffers(4, 2048)
	r := connected(t, q, small())
	for round := range 20 {
		l.Arm(false)
		l.Collect(f, 1<<20)
		for b.wait(0) >= 0 {
		}
		if err := r.put(0, make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock() // a processor's store is seen sooner than the server looks; a test's need not be
		l.Arm(true)
		n := l.Collect(f, 1<<20)
		r.c2s[0].SetHead(r.c2s[0].head) // seen now, and not rung for
		s.mu.Unlock()
		if n != 0 {
			t.Fatalf("round %d: Collect = %d", round, n)
		}
		if lane := b.wait(generous); lane != 0 {
			t.Fatalf("round %d: lane %d rings", round, lane)
		}
		if n := l.Collect(f, 1<<20); n != 1 {
			t.Fatalf("round %d: Collect = %d after the doorbell", round, n)
		}
		rewind(f)
	}
}

func rewind(f []frame.Frame) {
	for i := range f {
		f[i].Data = f[i].Data[:cap(f[i].Data)]
	}
}

// A server at rest does not look every millisecond.
func TestServerRests(t *testing.T) {
	s := newTestServer(t)
	q := openQueue(t, s, Config{})
	connected(t, q, small())
	q.Lane(0).Arm(false)
	q.Lane(0).Arm(true)
	eventually(t, "the server sleeps", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return !s.ticking.Load() && s.calls.Load() == nil && s.timeout(time.Now()) == -1
	})
}

// bothServers are one that rings by the kernel, and one for which the kernel has
// no way, so that every client that sleeps has a ringer.
func bothServers() map[string]func(testing.TB) *Server {
	return map[string]func(testing.TB) *Server{
		"by the kernel": newTestServer,
		"by ringers": func(t testing.TB) *Server {
			s := newTestServer(t)
			s.mu.Lock()
			defer s.mu.Unlock()
			if err := s.notifier.Close(); err != nil {
				t.Fatal(err)
			}
			s.notifier = nil
			return s
		},
	}
}

// rung tells whether a doorbell of the client has rung since it was asked last.
func (r *raw) rung(ring int) bool {
	var count [8]byte
	n, _ := unix.Read(r.s2c[ring].bell, count[:])
	return n == 8
}

// hasRinger tells whether a goroutine rings for the queue's client.
func hasRinger(q *Queue) bool {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	return q.active.ringer.Load() != nil
}

// A client that sleeps is rung for every burst, one that polls for none.
func TestRinging(t *testing.T) {
	for name, server := range bothServers() {
		t.Run(name, func(t *testing.T) { ringing(t, server(t)) })
	}
}

func ringing(t *testing.T, s *Server) {
	q := openQueue(t, s, Config{})
	l := q.Lane(0)
	r := connected(t, q, small())
	one := []frame.Frame{{Data: make([]byte, 60)}}
	rung := func() bool { return r.rung(0) }
	r.s2c[0].SetMasked(true)
	for range 3 {
		if n, why := l.Deliver(one); n != 1 {
			t.Fatal(why)
		}
	}
	if hasRinger(q) {
		t.Error("somebody rings for a client that polls")
	}
	r.s2c[0].SetMasked(false)
	for range 5 {
		if n, why := l.Deliver(one); n != 1 {
			t.Fatal(why)
		}
		eventually(t, "the client's doorbell rings", rung)
	}
	r.s2c[0].SetMasked(true)
	if n, why := l.Deliver(one); n != 1 {
		t.Fatal(why)
	}
	if rung() {
		t.Error("the doorbell rings for a client that polls")
	}
}

// Who cannot be told by the kernel, for whatever reason, is told by a ringer; the
// others of the same call are told as ever.
func TestSomebodyCannotBeTold(t *testing.T) {
	s := newTestServer(t)
	var clients []*raw
	var d []frame.Delivery
	var queues []*Queue
	for range 3 {
		q := openQueue(t, s, Config{})
		r := connected(t, q, small())
		r.s2c[0].SetMasked(false)
		queues, clients = append(queues, q), append(clients, r)
		d = append(d, frame.Delivery{Lane: q.Lane(0), Frames: []frame.Frame{{Data: make([]byte, 60)}}})
	}
	s.mu.Lock()
	queues[1].active.senders[0].bell.target = s.notifier.Target(-1)
	s.mu.Unlock()
	for round := range 2 {
		queues[0].lanes[0].DeliverAll(d)
		for i, r := range clients {
			if d[i].Taken != 1 {
				t.Fatalf("client %d: %v", i, d[i].Why)
			}
			eventually(t, "the client's doorbell rings", func() bool { return r.rung(0) })
			if got := hasRinger(queues[i]); got != (i == 1) {
				t.Errorf("round %d, client %d: has a ringer: %v", round, i, got)
			}
		}
	}
}

// Waking clients allocates nothing, neither one nor many at once.
func TestRingingAllocatesNothing(t *testing.T) {
	s := newTestServer(t)
	var d []frame.Delivery
	var clients []*raw
	for range 8 {
		q := openQueue(t, s, Config{})
		r := connected(t, q, small())
		r.s2c[0].SetMasked(false)
		clients = append(clients, r)
		d = append(d, frame.Delivery{Lane: q.Lane(0), Frames: []frame.Frame{{Data: make([]byte, 60)}}})
	}
	first := d[0].Lane.(*Lane)
	for what, deliver := range map[string]func(){
		"one":  func() { first.Deliver(d[0].Frames) },
		"many": func() { first.DeliverAll(d) },
	} {
		for range 3 {
			for _, r := range clients {
				for _, ok := r.take(0); ok; _, ok = r.take(0) {
				}
				r.rung(0)
			}
			if n := testing.AllocsPerRun(5, deliver); n != 0 {
				t.Errorf("%s: %v allocations", what, n)
			}
			if !clients[0].rung(0) {
				t.Errorf("%s: nobody was rung", what)
			}
		}
	}
}
