package client_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
	"github.com/xdpdemux/xdpdemux/queues/memif"
	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

// open is a queue of our own server, and the configuration of its client.
func open(t testing.TB, cfg memif.Config) (*memif.Queue, client.Config) {
	t.Helper()
	s, err := memif.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if cfg.Directory == "" && cfg.Abstract == "" {
		cfg.Directory = filepath.Join(t.TempDir(), "q")
	}
	cfg.UID, cfg.GID = -1, -1
	q, err := s.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	socket := q.SocketPath()
	if cfg.Abstract != "" {
		socket = "@" + cfg.Abstract
	}
	return q, client.Config{Socket: socket, ID: cfg.ID, Secret: cfg.Secret,
		Rings: cfg.Rings, RingSize: cfg.RingSize, BufferSize: cfg.BufferSize}
}

// A numbered frame has its stream and number in front, then filling, and a
// checksum over all of that at its end.
func number(f []byte, stream uint16, n uint64) {
	binary.BigEndian.PutUint16(f[12:], stream)
	binary.BigEndian.PutUint64(f[14:], n)
	for i := 22; i < len(f)-4; i += 61 {
		f[i] = byte(n) + byte(i)
	}
	end := len(f) - 4
	binary.BigEndian.PutUint32(f[end:], crc32.ChecksumIEEE(f[12:end]))
}

func verify(f []byte, stream uint16, n uint64, size int) error {
	if len(f) != size {
		return fmt.Errorf("frame %d of stream %d has %d bytes, not %d", n, stream, len(f), size)
	}
	end := len(f) - 4
	if got := binary.BigEndian.Uint16(f[12:]); got != stream {
		return fmt.Errorf("a frame of stream %d came on stream %d", got, stream)
	}
	if got := binary.BigEndian.Uint64(f[14:]); got != n {
		return fmt.Errorf("stream %d: frame %d came where %d was next", stream, got, n)
	}
	if crc32.ChecksumIEEE(f[12:end]) != binary.BigEndian.Uint32(f[end:]) {
		return fmt.Errorf("frame %d of stream %d was damaged", n, stream)
	}
	return nil
}

// sizeOf frame n: from the smallest to the largest, not in step with any ring.
func sizeOf(n uint64, largest int) int { return 60 + int(n*977%uint64(largest-59)) }

// TestOursAgainstOurs runs every lane and ring at once, both ways, until the
// 16-bit indices have wrapped (save those of large slots), and looks at every
// byte.
func TestOursAgainstOurs(t *testing.T) {
	for _, c := range []struct {
		name           string
		rings, slots   int
		buffer, frames int
		largest        int
		polling        bool
	}{
		{"one ring", 1, 256, 2048, 70_000, 200, false},
		{"one ring, polling", 1, 256, 2048, 70_000, 200, true},
		{"two slots", 1, 2, 2048, 66_000, 64, false},
		{"four rings, chains", 4, 64, 256, 20_000, 1518, false}, // 4.5 slots a frame
		{"one ring, jumbo chains", 1, 512, 256, 5_000, 9216, false},
		{"large slots", 1, 16, 16384, 3_000, 9216, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			q, cfg := open(t, memif.Config{Rings: c.rings, RingSize: c.slots, BufferSize: c.buffer, MaxFrame: c.largest})
			cfg.Polling = c.polling
			conn, err := client.Dial(within(t), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			frames, largest := uint64(c.frames), c.largest
			var side sync.WaitGroup
			for i := range c.rings {
				in, out := uint16(2*i), uint16(2*i+1)
				side.Go(func() { check(t, serverSends(q.Lane(i), in, frames, largest)) })
				side.Go(func() { check(t, clientReads(within(t), conn.Ring(i), in, frames, largest)) })
				side.Go(func() { check(t, clientWrites(within(t), conn.Ring(i), out, frames, largest)) })
				side.Go(func() { check(t, serverCollects(within(t), q.Lane(i), out, frames, largest)) })
			}
			side.Wait()
			if s := q.Stats(); s != (queues.Stats{}) {
				t.Errorf("the server counted %+v", s)
			}
		})
	}
}

func check(t *testing.T, err error) {
	if err != nil {
		t.Error(err)
	}
}

const batch = 32

func serverSends(l queues.Lane, stream uint16, frames uint64, largest int) error {
	room := client.Buffers(batch, largest)
	list := make([]frame.Frame, batch)
	for n := uint64(0); n < frames; {
		part := list[:min(batch, frames-n)]
		for i := range part {
			part[i].Data = room[i][:sizeOf(n+uint64(i), largest)]
			number(part[i].Data, stream, n+uint64(i))
		}
		n += uint64(len(part))
		for len(part) > 0 {
			took, why := l.Deliver(part)
			if part = part[took:]; why != frame.Accepted && why != frame.Full {
				return fmt.Errorf("refused: %v", why)
			}
			if len(part) > 0 {
				runtime.Gosched()
			}
		}
	}
	return nil
}

func clientReads(ctx context.Context, r *client.Ring, stream uint16, frames uint64, largest int) error {
	bufs := client.Buffers(batch, largest)
	for n := uint64(0); n < frames; {
		got, err := r.ReadContext(ctx, bufs)
		if err != nil {
			return fmt.Errorf("after %d frames: %w", n, err)
		}
		for _, f := range bufs[:got] {
			if err := verify(f, stream, n, sizeOf(n, largest)); err != nil {
				return err
			}
			n++
		}
	}
	return nil
}

func clientWrites(ctx context.Context, r *client.Ring, stream uint16, frames uint64, largest int) error {
	bufs := client.Buffers(batch, largest)
	for n := uint64(0); n < frames; {
		part := bufs[:min(batch, frames-n)]
		for i := range part {
			part[i] = part[i][:sizeOf(n, largest)]
			number(part[i], stream, n)
			n++
		}
		if _, err := r.WriteContext(ctx, part); err != nil {
			return fmt.Errorf("after %d frames: %w", n, err)
		}
	}
	return nil
}

func serverCollects(ctx context.Context, l queues.Lane, stream uint16, frames uint64, largest int) error {
	room := client.Buffers(batch, largest)
	list := make([]frame.Frame, batch)
	for n := uint64(0); n < frames; {
		for i := range list {
			list[i].Data = room[i]
		}
		got := l.Collect(list, 1<<30)
		for i := range got {
			if err := verify(list[i].Data, stream, n, sizeOf(n, largest)); err != nil {
				return err
			}
			n++
		}
		if got == 0 {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("after %d frames: %w", n, err)
			}
			runtime.Gosched()
		}
	}
	return nil
}

// TestOurServerRefuses says what was wrong in the words of the server.
func TestOurServerRefuses(t *testing.T) {
	_, right := open(t, memif.Config{ID: 3, Secret: "s3cret", Rings: 2, RingSize: 64})
	for _, c := range []struct {
		name string
		turn func(*client.Config)
		why  string
	}{
		{"wrong secret", func(c *client.Config) { c.Secret = "guess" }, "secret"},
		{"no secret", func(c *client.Config) { c.Secret = "" }, "ecret"},
		{"wrong id", func(c *client.Config) { c.ID = 4 }, "id"},
		{"too few rings", func(c *client.Config) { c.Rings = 1 }, "ring"},
		{"too many rings", func(c *client.Config) { c.Rings = 3 }, "ring"},
		{"too much memory", func(c *client.Config) { c.BufferSize = 65535 }, "memory"},
	} {
		cfg := right
		c.turn(&cfg)
		_, err := client.Dial(within(t), cfg)
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	first, err := client.Dial(within(t), right)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	var refused *client.RefusedError
	if _, err := client.Dial(within(t), right); !errors.As(err, &refused) || refused.Reason == "" {
		t.Errorf("a second client: %v", err)
	}
	if err := first.Err(); err != nil {
		t.Errorf("the first client suffered: %v", err)
	}
}

// TestOurServerRemovesItsQueue while a client waits.
func TestOurServerRemovesItsQueue(t *testing.T) {
	q, cfg := open(t, memif.Config{})
	conn, err := client.Dial(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	read := make(chan error, 1)
	go func() {
		_, err := conn.Ring(0).ReadContext(within(t), client.Buffers(1, 2048))
		read <- err
	}()
	if err := q.Remove(); err != nil {
		t.Fatal(err)
	}
	var gone *client.DisconnectedError
	if err := <-read; !errors.As(err, &gone) || gone.Reason == "" {
		t.Errorf("the reader returned with %v", err)
	}
}

func TestOurAbstractSocket(t *testing.T) {
	name := fmt.Sprintf("memif-client-test-%d", os.Getpid())
	q, cfg := open(t, memif.Config{Abstract: name})
	conn, err := client.Dial(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	eventually(t, "the server knows its client", func() bool {
		c, ok := q.Client()
		return ok && c.PID == os.Getpid() && c.Rings == 1
	})
}

// TestSessionSurvivesOurServer: the queue goes and comes back, and so does the
// connection, with frames both ways.
func TestSessionSurvivesOurServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "q")
	q, cfg := open(t, memif.Config{Directory: dir, RingSize: 64})
	s, _ := session(t, client.SessionConfig{Config: cfg})
	for i := range 3 {
		conn, err := s.Conn(within(t))
		if err != nil {
			t.Fatal(err)
		}
		check(t, serverSends(q.Lane(0), 1, 32, 200))
		check(t, clientReads(within(t), conn.Ring(0), 1, 32, 200))
		check(t, clientWrites(within(t), conn.Ring(0), 2, 32, 200))
		check(t, serverCollects(within(t), q.Lane(0), 2, 32, 200))
		if i == 2 {
			return
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		<-conn.Done()
		q, _ = open(t, memif.Config{Directory: dir, RingSize: 64})
	}
}
