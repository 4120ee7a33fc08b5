package client_test

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// drained is how often an eventfd was written since the last time.
func drained(t *testing.T, fd int) uint64 {
	t.Helper()
	var b [8]byte
	switch _, err := unix.Read(fd, b[:]); {
	case errors.Is(err, unix.EAGAIN):
		return 0
	case err != nil:
		t.Fatal(err)
	}
	return binary.NativeEndian.Uint64(b[:])
}

// held are this process's eventfds and memif regions: descriptors and mappings.
func held(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		target, _ := os.Readlink("/proc/self/fd/" + e.Name())
		if strings.Contains(target, "memfd:memif-") || strings.Contains(target, "[eventfd]") || strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return n + strings.Count(string(maps), "memfd:memif-")
}

// settle runs do once to warm up (the runtime's poller has an eventfd of its
// own), and then says whether more runs leave anything behind.
func settle(t *testing.T, do func()) {
	t.Helper()
	do()
	before := held(t)
	for range 5 {
		do()
	}
	if after := held(t); after != before {
		t.Errorf("%d descriptors and mappings became %d", before, after)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	settle(t, func() {
		s := listen(t)
		accepted := s.accept()
		c, err := client.Dial(within(t), client.Config{Socket: s.socket, Rings: 2, RingSize: 4})
		p := <-accepted
		if err := errors.Join(err, p.err); err != nil {
			t.Fatal(err)
		}
		read := make(chan error)
		go func() {
			_, err := c.Ring(1).ReadContext(within(t), client.Buffers(1, 100))
			read <- err
		}()
		eventually(t, "the reader sleeps", func() bool { return !p.s2c[1].Masked() })
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := <-read; !errors.Is(err, client.ErrClosed) {
			t.Error(err)
		}
		p.close()
		s.l.Close()
	})
}

func TestRefusalLeavesNothing(t *testing.T) {
	for _, step := range []func(wire.Message) bool{isNil, is[wire.Init], is[wire.AddRegion], is[wire.AddRing], is[wire.Connect]} {
		settle(t, func() {
			s := listen(t)
			s.answer = func(m wire.Message) wire.Message {
				if step(m) {
					return wire.Disconnect{Reason: "no"}
				}
				return nil
			}
			accepted := s.accept()
			if _, err := client.Dial(within(t), client.Config{Socket: s.socket}); err == nil {
				t.Error("the server let us in")
			}
			(<-accepted).close()
			s.l.Close()
		})
	}
}

// TestCloseAtAnyMoment closes under readers and writers in full flight, on every
// ring and from several goroutines at once. A reader that touched memory that is
// gone would end the process.
func TestCloseAtAnyMoment(t *testing.T) {
	for range 15 {
		c, p := connect(t, client.Config{Rings: 2, RingSize: 8, BufferSize: 64})
		var side, closers sync.WaitGroup
		stop := make(chan struct{})
		for i := range 2 {
			side.Go(func() { useUntilClosed(t, c.Ring(i).Read, 64) })
			side.Go(func() { useUntilClosed(t, c.Ring(i).Write, 100) })
			side.Go(func() {
				useUntilClosed(t, func(b [][]byte) (int, error) { return c.Ring(i).ReadContext(within(t), b) }, 64)
			})
			side.Go(func() {
				useUntilClosed(t, func(b [][]byte) (int, error) { return c.Ring(i).WriteContext(within(t), b) }, 64)
			})
		}
		closers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				p.deliver(0, false, pattern(1, 150))
				p.deliver(1, false, pattern(1, 50))
				_, err0 := p.collect(0)
				_, err1 := p.collect(1)
				if err := errors.Join(err0, err1); err != nil {
					t.Error(err)
				}
				runtime.Gosched()
			}
		})
		eventually(t, "frames flow", func() bool {
			a, b := c.Ring(0).Stats(), c.Ring(1).Stats()
			return min(a.Sent, b.Sent, a.Received+a.Oversize, b.Received) > 3
		})
		for range 3 {
			side.Go(func() {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		side.Wait()
		close(stop)
		closers.Wait()
		p.close()
	}
}

func useUntilClosed(t *testing.T, use func([][]byte) (int, error), size int) {
	bufs := client.Buffers(4, size)
	for {
		n, err := use(bufs)
		if err != nil {
			if !errors.Is(err, client.ErrClosed) {
				t.Error(err)
			}
			return
		}
		if n == 0 {
			runtime.Gosched()
		}
		for i := range bufs {
			bufs[i] = bufs[i][:cap(bufs[i])]
		}
	}
}
