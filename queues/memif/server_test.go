package memif

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

func TestHello(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{Name: "us", Rings: 2, RingSize: 512})
	hello, err := newClient(t, small()).dial(q.SocketPath())
	want := wire.Hello{Name: "us", MinVersion: 0x0200, MaxVersion: 0x0200,
		MaxRegion: 255, MaxS2CRing: 255, MaxC2SRing: 255, MaxLog2Ring: 9}
	if err != nil || hello != want {
		t.Errorf("%+v, %v, want %+v", hello, err, want)
	}
}

func TestClient(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{})
	if c, ok := q.Client(); ok {
		t.Errorf("a client that nobody is: %+v", c)
	}
	before := time.Now()
	r := connected(t, q, small())
	c, ok := q.Client()
	if !ok || c.Since.Before(before) || c.Since.After(time.Now()) {
		t.Errorf("connected %v, since %v", ok, c.Since)
	}
	c.Since = time.Time{}
	want := Client{Name: "raw client", Interface: "raw0", PID: unix.Getpid(), UID: unix.Getuid(), GID: unix.Getgid(),
		Rings: 1, RingSize: 16, Regions: 1, Memory: small().Size()}
	if c != want {
		t.Errorf("%+v, want %+v", c, want)
	}
	if last := q.LastDisconnect(); last != "" {
		t.Errorf("before anybody went: %q", last)
	}
	if err := r.conn.Send(wire.Disconnect{Reason: "bored\x1b"}, -1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client is gone", func() bool { return !isConnected(q) })
	if last := q.LastDisconnect(); last != "the client left: bored?" {
		t.Errorf("after it went: %q", last)
	}
	if n := q.Violations(); n != 0 {
		t.Errorf("%d violations", n)
	}
}

// One client at a time: another is told so, and the first one stays.
func TestSecondClient(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{})
	first := newClient(t, small())
	if _, err := first.dial(q.SocketPath()); err != nil {
		t.Fatal(err)
	}
	second := newClient(t, small())
	if _, err := second.dial(q.SocketPath()); err != nil {
		t.Fatal(err)
	}
	if err := first.sayInit(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // while the first one shakes hands, and when it is connected
		why := refused("")
		if err := second.sayInit(); !errors.As(err, &why) || !strings.Contains(string(why), "already connected") {
			t.Fatalf("the second client: %v", err)
		}
		if isConnected(q) {
			break
		}
		if err := after(first, first.sayRegion, first.sayRings, first.sayConnect); err != nil {
			t.Fatal(err)
		}
		second = newClient(t, small())
		if _, err := second.dial(q.SocketPath()); err != nil {
			t.Fatal(err)
		}
	}
	if !isConnected(q) || q.LastDisconnect() != "" {
		t.Errorf("connected %v, %q", isConnected(q), q.LastDisconnect())
	}
	if err := first.leave(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first client is gone", func() bool { return !isConnected(q) })
	connected(t, q, small())
}

// Connections that say nothing are few, and end by themselves.
func TestSilentClients(t *testing.T) {
	s := newTestServer(t)
	q := openQueue(t, s, Config{})
	silent := make([]*raw, maxWaiting)
	for i := range silent {
		silent[i] = newClient(t, small())
		if _, err := silent[i].dial(q.SocketPath()); err != nil {
			t.Fatal(err)
		}
	}
	if err := silent[0].sayInit(); err != nil {
		t.Fatal(err)
	}
	var why refused
	if _, err := newClient(t, small()).dial(q.SocketPath()); !errors.As(err, &why) || !strings.Contains(string(why), "8 connections wait") {
		t.Errorf("one more: %v", err)
	}
	s.mu.Lock()
	for e := s.shaking.Front(); e != nil; e = e.Next() {
		e.Value.(*session).deadline = time.Now()
	}
	s.mu.Unlock()
	s.wake()
	for _, r := range silent {
		isDismissed(t, r, "the handshake takes longer than 1h0m0s")
	}
	connected(t, q, small())
}

// The time for a handshake ends without anybody's help.
func TestHandshakeTimeout(t *testing.T) {
	s := newTestServer(t)
	s.mu.Lock()
	s.patience = 50 * time.Millisecond
	s.mu.Unlock()
	q := openQueue(t, s, Config{})
	r := newClient(t, small())
	if _, err := r.dial(q.SocketPath()); err != nil {
		t.Fatal(err)
	}
	isDismissed(t, r, "longer than 50ms")
}

// A client that sends and never listens is not waited for.
func TestDeafClient(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{})
	r := newClient(t, small())
	if _, err := r.dial(q.SocketPath()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server ends it", func() bool {
		return r.conn.Send(wire.Init{Version: wire.Version}, -1) != nil
	})
	eventually(t, "the server has forgotten it", func() bool { return q.connections() == 0 })
	connected(t, q, small())
}

// A client that sends its whole half at once is served as well.
func TestPipelinedClient(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{})
	r := newClient(t, small())
	if _, err := r.dial(q.SocketPath()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		m  wire.Message
		fd int
	}{
		{wire.Init{Version: wire.Version}, -1},
		{wire.AddRegion{Size: r.layout.Size()}, r.file},
		{r.ringMessage(shm.C2S, 0), r.c2s[0].bell},
		{r.ringMessage(shm.S2C, 0), r.s2c[0].bell},
		{wire.Connect{}, -1},
	} {
		if err := r.conn.Send(c.m, c.fd); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []wire.Type{wire.TypeAck, wire.TypeAck, wire.TypeAck, wire.TypeAck, wire.TypeConnected} {
		if m, err := r.hear(); err != nil || m.Type() != want {
			t.Fatalf("answer %d: %+v, %v, want %v", i, m, err, want)
		}
	}
}

// Close tells the client, and nobody can connect any more.
func TestCloseTellsTheClient(t *testing.T) {
	s := newTestServer(t)
	q := openQueue(t, s, Config{})
	r, waiting := connected(t, q, small()), newClient(t, small())
	if _, err := waiting.dial(q.SocketPath()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	isDismissed(t, r, "closes this interface")
	isDismissed(t, waiting, "closes this interface")
	if n, why := q.Lane(0).Deliver([]frame.Frame{{Data: make([]byte, 60)}}); n != 0 || why != frame.Gone {
		t.Errorf("Deliver to a closed queue = %d, %d", n, why)
	}
	if err := newClient(t, small()).connect(q.SocketPath()); err == nil {
		t.Error("a closed queue lets somebody in")
	}
	if _, err := s.Open(Config{Directory: filepath.Join(t.TempDir(), "x"), UID: -1, GID: -1}); !errors.Is(err, ErrClosed) {
		t.Errorf("Open of a closed server: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close of a closed server: %v", err)
	}
}

// A queue that nobody is connected to costs one descriptor, little memory and
// no goroutine, and a connected one no goroutine.
func TestCosts(t *testing.T) {
	s := newTestServer(t)
	dir := t.TempDir()
	open := func(i int) *Queue {
		return openQueue(t, s, Config{Directory: fmt.Sprintf("%s/%d", dir, i), Rings: 4})
	}
	open(-1)
	const n = 100
	fds, goroutines, heap := len(descriptors(t)), runtime.NumGoroutine(), heapInUse()
	queues := make([]*Queue, n)
	for i := range queues {
		queues[i] = open(i)
	}
	if got := len(descriptors(t)) - fds; got > n {
		t.Errorf("%d queues cost %d descriptors", n, got)
	}
	if got := (heapInUse() - heap) / n; got > 8<<10 {
		t.Errorf("a queue costs %d bytes", got)
	}
	for i := range 20 {
		connected(t, queues[i], shm.Layout{Rings: 4, Log2: 4, BufferSize: 256})
	}
	if got := runtime.NumGoroutine() - goroutines; got > 0 {
		t.Errorf("%d queues and 20 clients cost %d goroutines", n, got)
	}
	runtime.KeepAlive(queues)
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Events of a descriptor that was closed meanwhile, and may be another by now,
// reach nobody.
func TestOldEventsMeetNobody(t *testing.T) {
	s := newTestServer(t)
	q := openQueue(t, s, Config{})
	r := connected(t, q, small())
	s.mu.Lock()
	x := q.active
	old := []unix.EpollEvent{{Events: unix.EPOLLIN, Fd: int32(x.token), Pad: int32(x.token >> 32)}}
	x.end("a test", true)
	s.turn(old, time.Now())
	s.mu.Unlock()
	isDismissed(t, r, "a test")
	r = connected(t, q, small())
	s.mu.Lock()
	s.turn(old, time.Now())
	s.mu.Unlock()
	if !isConnected(q) {
		t.Error("an old event ended a new client")
	}
	if err := r.conn.Unix().SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if m, err := r.hear(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the new client hears %v, %v", m, err)
	}
}

// A listener that can accept nobody asks again after a rest, not all the time.
func TestRestingListener(t *testing.T) {
	s := newTestServer(t)
	q := openQueue(t, s, Config{})
	gone := openQueue(t, s, Config{})
	s.mu.Lock()
	q.listener.pause(time.Now().Add(rest))
	gone.listener.pause(time.Now().Add(rest))
	s.mu.Unlock()
	s.wake() // it computes how long it sleeps
	if err := gone.Remove(); err != nil {
		t.Error(err)
	}
	connected(t, q, small()) // waits in the backlog until the rest is over
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.resting) != 0 {
		t.Errorf("%d listeners rest", len(s.resting))
	}
}

// A client that comes and goes all the time waits for the next second, and its
// neighbour does not.
func TestRestlessClient(t *testing.T) {
	s := newTestServer(t)
	q, other := openQueue(t, s, Config{}), openQueue(t, s, Config{})
	begun := time.Now()
	s.mu.Lock()
	q.listener.second, q.listener.accepts = time.Now(), maxPerSecond
	s.mu.Unlock()
	restless := make(chan error, 1)
	go func() {
		conn, err := dial(q.SocketPath())
		if err == nil {
			_, _, err = conn.Recv()
			err = errors.Join(err, conn.Close())
		}
		restless <- err
	}()
	connected(t, other, small())
	if err := <-restless; err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(begun); waited < time.Second {
		t.Errorf("it was served after %v", waited)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.listener.accepts != 1 {
		t.Errorf("%d connections are counted in the new second", q.listener.accepts)
	}
}
