package memif

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// c2sLie publishes one descriptor to the server.
func c2sLie(d shm.Desc) func(r *raw) {
	return func(r *raw) {
		ring := &r.c2s[0]
		ring.SetDesc(ring.head, d)
		ring.head++
		ring.SetHead(ring.head)
	}
}

// s2cLie makes every buffer that is lent to the server this one.
func s2cLie(d shm.Desc) func(r *raw) {
	return func(r *raw) {
		ring := &r.s2c[0]
		for i := range ring.Size() {
			ring.SetDesc(i, d)
		}
	}
}

// memoryAttacks are what a connected client does to the memory that both share,
// and what it is told; nothing is told for what harms nobody.
func memoryAttacks() []struct {
	name, says string
	attack     func(r *raw)
} {
	size := uint32(small().Size())
	return []struct {
		name, says string
		attack     func(r *raw)
	}{
		{"a head toward the server beyond the ring", "further ahead", func(r *raw) { r.c2s[0].SetHead(r.c2s[0].Size() + 1) }},
		{"a head toward the server that goes back", "further ahead", func(r *raw) { r.c2s[0].SetHead(0xffff) }},
		{"a head from the server beyond the ring", "further ahead", func(r *raw) { r.s2c[0].SetHead(r.s2c[0].Tail() + 0x8000) }},
		{"a frame in no region", "outside of the regions", c2sLie(shm.Desc{Region: 1, Length: 60})},
		{"a frame in region 65535", "outside of the regions", c2sLie(shm.Desc{Region: 65535, Length: 60})},
		{"a frame that ends behind its region", "outside of the regions", c2sLie(shm.Desc{Offset: size - 59, Length: 60})},
		{"a frame behind its region", "outside of the regions", c2sLie(shm.Desc{Offset: 0xfffffff0, Length: 60})},
		{"a frame whose end is beyond 32 bits", "outside of the regions", c2sLie(shm.Desc{Offset: 0xffffffff, Length: 0xffffffff})},
		{"a frame of 4 GiB", "outside of the regions", c2sLie(shm.Desc{Length: 0xffffffff})},
		{"a piece of a frame in no region", "outside of the regions", func(r *raw) {
			c2sLie(shm.Desc{Flags: shm.FlagNext, Length: 60})(r)
			r.c2s[0].SetDesc(r.c2s[0].head, shm.Desc{Region: 2, Length: 60})
			r.c2s[0].head++
			r.c2s[0].SetHead(r.c2s[0].head)
		}},
		{"a chain all around the ring", "", func(r *raw) {
			ring := &r.c2s[0]
			for range ring.Size() {
				ring.SetDesc(ring.head, shm.Desc{Flags: shm.FlagNext, Length: 100})
				ring.head++
			}
			ring.SetHead(ring.head)
		}},
		{"a frame of nothing", "", c2sLie(shm.Desc{})},
		{"a frame of 13 bytes", "", c2sLie(shm.Desc{Length: 13})},
		{"a frame larger than any", "", c2sLie(shm.Desc{Length: size})},
		{"a buffer in no region", "outside of the regions", s2cLie(shm.Desc{Region: 1, Length: 1024})},
		{"a buffer that ends behind its region", "outside of the regions", s2cLie(shm.Desc{Offset: size - 100, Length: 1024})},
		{"a buffer whose end is beyond 32 bits", "outside of the regions", s2cLie(shm.Desc{Offset: 0xffffffff, Length: 0xffffffff})},
		{"a small buffer in no region", "outside of the regions", s2cLie(shm.Desc{Region: 9, Length: 8})},
		{"buffers of nothing", "no bytes", s2cLie(shm.Desc{})},
		{"buffers of one byte", "", s2cLie(shm.Desc{Length: 1})},
		{"buffers over the rings", "", s2cLie(shm.Desc{Length: size})},
		{"a DISCONNECT", "", func(r *raw) { _ = r.conn.Send(wire.Disconnect{Reason: "enough"}, -1) }},
	}
}

// TestHostileMemory: whatever a client writes into the shared memory while a
// worker is at it, it harms itself alone.
func TestHostileMemory(t *testing.T) {
	before := countAll(t)
	t.Run("attacks", func(t *testing.T) {
		s := newTestServer(t)
		v := newVictim(t, s)
		q := openQueue(t, s, Config{})
		w := startWorker(t, q)
		for _, c := range memoryAttacks() {
			t.Run(c.name, func(t *testing.T) {
				r := connected(t, q, small())
				c.attack(r)
				if c.says != "" {
					isDismissed(t, r, c.says)
				}
				v.passes(t, 20)
				if err := r.close(); err != nil {
					t.Error(err)
				}
				eventually(t, "the client is gone", func() bool { return !isConnected(q) })
			})
			serves(t, q)
		}
		w.end()
		v.end(t)
	})
	before.settle(t)
}

// isDismissed: the client hears why, and then nothing more.
func isDismissed(t *testing.T, r *raw, says string) {
	t.Helper()
	m, err := r.hear()
	bye, ok := m.(wire.Disconnect)
	if err != nil || !ok || !strings.Contains(bye.Reason, says) {
		t.Errorf("the client hears %+v, %v, want %q", m, err, says)
		return
	}
	if _, err := r.hear(); !errors.Is(err, io.EOF) {
		t.Errorf("after the reason: %v, want the end", err)
	}
}

// What harms nobody is dropped and counted, and the client stays.
func TestDropped(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{})
	l := q.Lane(0)
	for _, c := range []struct {
		name  string
		lie   func(r *raw)
		stats queues.Stats
	}{
		{"nothing", c2sLie(shm.Desc{}), queues.Stats{Malformed: 1}},
		{"13 bytes", c2sLie(shm.Desc{Length: 13}), queues.Stats{Malformed: 1}},
		{"1,519 bytes", c2sLie(shm.Desc{Length: 1519}), queues.Stats{Oversize: 1}},
		{"a chain that does not end", func(r *raw) {
			c2sLie(shm.Desc{Flags: shm.FlagNext, Length: 60})(r)
		}, queues.Stats{Malformed: 1}},
		{"pieces that are too much together", func(r *raw) {
			for range 2 {
				r.c2s[0].SetDesc(r.c2s[0].head, shm.Desc{Flags: shm.FlagNext, Length: 1000})
				r.c2s[0].head++
			}
			c2sLie(shm.Desc{Length: 14})(r)
		}, queues.Stats{Oversize: 1}},
		{"pieces that are too little together", func(r *raw) {
			r.c2s[0].SetDesc(r.c2s[0].head, shm.Desc{Flags: shm.FlagNext, Length: 6})
			r.c2s[0].head++
			c2sLie(shm.Desc{Length: 7})(r)
		}, queues.Stats{Malformed: 1}},
	} {
		r := connected(t, q, small())
		before := q.Stats()
		c.lie(r)
		f := buffers(4, 2048)
		if n := l.Collect(f, 1<<20); n != 0 {
			t.Errorf("%s: Collect = %d", c.name, n)
		}
		if err := r.send(0, make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
		if n := l.Collect(f, 1<<20); n != 1 || len(f[0].Data) != 60 {
			t.Errorf("%s, and a frame: Collect = %d, of %d bytes", c.name, n, len(f[0].Data))
		}
		if got := q.Stats(); got != before.Add(c.stats) {
			t.Errorf("%s: counters %+v, before %+v, want %+v more", c.name, got, before, c.stats)
		}
		if !isConnected(q) || r.c2s[0].Tail() != r.c2s[0].head {
			t.Errorf("%s: connected %v, tail %d, head %d", c.name, isConnected(q), r.c2s[0].Tail(), r.c2s[0].head)
		}
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the client is gone", func() bool { return !isConnected(q) })
	}
}

// A chain of very many pieces ends the client. It is the largest that one call
// follows, whatever the ring holds.
func TestEndlessChain(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{})
	r := connected(t, q, shm.Layout{Rings: 1, Log2: 9, BufferSize: 64})
	for range maxPieces + 1 {
		r.c2s[0].SetDesc(r.c2s[0].head, shm.Desc{Flags: shm.FlagNext, Length: 1})
		r.c2s[0].head++
	}
	r.publish(0)
	if n := q.Lane(0).Collect(buffers(1, 2048), 1<<20); n != 0 {
		t.Errorf("Collect = %d", n)
	}
	isDismissed(t, r, "256 descriptors")
	if n := q.Violations(); n != 1 {
		t.Errorf("%d violations counted", n)
	}
}

// Frames of nothing do not hold the worker up: one call takes so many and no
// more, and the next goes on.
func TestEmptyFramesAreBounded(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{RingSize: 8192})
	r := connected(t, q, shm.Layout{Rings: 1, Log2: 13, BufferSize: 64})
	for range r.c2s[0].Size() {
		r.c2s[0].SetDesc(r.c2s[0].head, shm.Desc{})
		r.c2s[0].head++
	}
	r.publish(0)
	for i := 1; i <= 8; i++ {
		if n := q.Lane(0).Collect(buffers(1, 2048), 1<<20); n != 0 {
			t.Fatalf("Collect = %d", n)
		}
		if got, want := q.Stats().Malformed, uint64(i*maxVisits); got != want {
			t.Fatalf("after %d calls %d frames of nothing are gone, want %d", i, got, want)
		}
	}
}

// TestRestlessMemory changes everything all the time while a worker reads it.
func TestRestlessMemory(t *testing.T) {
	before := countAll(t)
	t.Run("attack", func(t *testing.T) {
		s := newTestServer(t)
		v := newVictim(t, s)
		q := openQueue(t, s, Config{})
		w := startWorker(t, q)
		for round := range uint32(20) {
			r := connected(t, q, small())
			scramble(r, round)
			v.passes(t, 10)
			if err := r.close(); err != nil {
				t.Error(err)
			}
			eventually(t, "the client is gone", func() bool { return !isConnected(q) })
		}
		w.end()
		v.end(t)
	})
	before.settle(t)
}

// scramble writes pseudo-random descriptors and indices, most of which are
// nearly right.
func scramble(r *raw, seed uint32) {
	next := func() uint32 {
		seed = seed*1664525 + 1013904223
		return seed >> 8
	}
	for range 20000 {
		ring := &r.c2s[0]
		if next()%2 == 0 {
			ring = &r.s2c[0]
		}
		switch next() % 8 {
		case 0:
			ring.SetHead(ring.Tail() + uint16(next()%17))
		case 1:
			if next()%4096 == 0 {
				ring.SetHead(uint16(next()))
			}
		case 2:
			ring.SetMasked(next()%2 == 0)
		default:
			d := shm.Desc{Flags: uint16(next() % 2), Length: next() % 1500, Offset: next() % uint32(small().Size()-1500)}
			if next()%8192 == 0 {
				d.Region = uint16(next())
			}
			ring.SetDesc(uint16(next()), d)
		}
	}
}

// TestWithdrawnMemory: a client whose memory can shrink shrinks it while the
// worker is at it. The worker survives, and the client is told.
func TestWithdrawnMemory(t *testing.T) {
	before := countAll(t)
	t.Run("attack", func(t *testing.T) {
		s := newTestServer(t)
		v := newVictim(t, s)
		q := openQueue(t, s, Config{AllowUnsealed: true})
		w := startWorker(t, q)
		for range 10 {
			r := newUnsealed(t)
			if err := r.connect(q.SocketPath()); err != nil {
				t.Fatal(err)
			}
			seen := w.gave.Load()
			eventually(t, "the worker is at it", func() bool { return w.gave.Load() > seen })
			if err := unix.Ftruncate(r.file, 0); err != nil {
				t.Fatal(err)
			}
			isDismissed(t, r, "taken away")
			v.passes(t, 20)
			if err := r.close(); err != nil {
				t.Error(err)
			}
		}
		w.end()
		v.end(t)
	})
	before.settle(t)
}

// newUnsealed is a client whose region it can cut.
func newUnsealed(t *testing.T) *raw {
	t.Helper()
	r := newClient(t, small())
	loose := memory(t, 0, 0)
	region, err := shm.MapRegion(loose, r.layout.Size(), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.rebase(region, loose); err != nil {
		t.Fatal(err)
	}
	return r
}

// Memory that is gone before CONNECT is noticed there.
func TestWithdrawnBeforeConnect(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{AllowUnsealed: true})
	r := newUnsealed(t)
	if _, err := r.dial(q.SocketPath()); err != nil {
		t.Fatal(err)
	}
	if err := after(r, r.sayInit, r.sayRegion, r.sayRings); err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(r.file, 0); err != nil {
		t.Fatal(err)
	}
	why := refused("")
	if err := r.sayConnect(); !errors.As(err, &why) || !strings.Contains(string(why), "taken away") {
		t.Errorf("the client is told %v", err)
	}
}

// TestBlockingDoorbell: a client makes its doorbell block and fills it, again
// and again. No worker waits, and at the end no thread does either.
func TestBlockingDoorbell(t *testing.T) {
	for name, server := range bothServers() {
		t.Run(name, func(t *testing.T) {
			before := countAll(t)
			t.Run("attack", func(t *testing.T) { blockDoorbell(t, server(t)) })
			before.settle(t)
		})
	}
}

func blockDoorbell(t *testing.T, s *Server) {
	v := newVictim(t, s)
	q := openQueue(t, s, Config{})
	w := startWorker(t, q)
	for range 3 {
		r := connected(t, q, small())
		stop, done := make(chan struct{}), make(chan struct{})
		go func() { saturate(r.s2c[0].bell, stop); close(done) }()
		for range 200 { // frames are delivered, so that somebody wants to ring
			r.take(0)
			time.Sleep(50 * time.Microsecond)
		}
		v.passes(t, 100)
		if err := r.leave(); err != nil {
			t.Error(err)
		}
		eventually(t, "the client is gone", func() bool { return !isConnected(q) })
		close(stop)
		<-done
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}
	w.end()
	v.end(t)
}

// TestDearDoorbell: a client has thousands watch its doorbell, so that each ring
// takes long. It gets a ringer of its own, and hears it as before.
func TestDearDoorbell(t *testing.T) {
	before := countAll(t)
	t.Run("attack", func(t *testing.T) {
		s := newTestServer(t)
		v := newVictim(t, s)
		q := openQueue(t, s, Config{})
		r := connected(t, q, small())
		r.s2c[0].SetMasked(false)
		watchByMany(t, r.s2c[0].bell)
		heard := 0
		one := []frame.Frame{{Data: make([]byte, 60)}}
		for rings := 0; !hasRinger(q); rings++ {
			if rings == 100_000 {
				t.Fatalf("a dear client has no ringer: verdict %d, budget %v", q.trial.verdict.Load(), budget)
			}
			q.Lane(0).Deliver(one)
			if r.rung(0) {
				heard++
			}
			r.take(0)
		}
		if heard == 0 {
			t.Error("it was never rung before")
		}
		r.rung(0)
		for range 3 {
			r.take(0)
			if n, why := q.Lane(0).Deliver(one); n != 1 {
				t.Fatal(why)
			}
			eventually(t, "the ringer rings", func() bool { return r.rung(0) })
		}
		v.passes(t, 100)
		v.end(t)
		if v.queue.trial.verdict.Load() == outcast {
			t.Error("the victim has a ringer as well")
		}
		if err := r.leave(); err != nil {
			t.Error(err)
		}
		eventually(t, "the client is gone", func() bool { return !isConnected(q) })
		if connected(t, q, small()); q.trial.verdict.Load() != outcast {
			t.Error("he comes back, and is trusted again")
		}
	})
	before.settle(t)
}

// watchByMany makes an eventfd dear to ring.
func watchByMany(t *testing.T, fd int) {
	const many = 3000
	for range many {
		epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(epoll) })
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
			t.Fatal(err)
		}
	}
}

// saturate keeps an eventfd full, and blocking for whoever else writes there.
func saturate(fd int, stop chan struct{}) {
	full := []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for {
		select {
		case <-stop:
			_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_NONBLOCK)
			return
		default:
		}
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_NONBLOCK)
		_, _ = unix.Write(fd, full)
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0)
	}
}

// TestFullAndSilent: a client that never takes a frame, or never gives a buffer
// back, is full, and nobody waits for it.
func TestFullAndSilent(t *testing.T) {
	s := newTestServer(t)
	v := newVictim(t, s)
	q := openQueue(t, s, Config{})
	connected(t, q, small())
	w := startWorker(t, q)
	eventually(t, "the ring is full", func() bool { return w.gave.Load() > 0 })
	v.passes(t, 500)
	w.end()
	if w.gave.Load() > 16 {
		t.Errorf("%d frames in 16 buffers", w.gave.Load())
	}
	v.end(t)
}
