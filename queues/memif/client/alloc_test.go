package client_test

import (
	"context"
	"testing"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

// echo is a batch on its way to the client, back, and to the server again, all
// in one goroutine.
type echo struct {
	t      testing.TB
	ring   *client.Ring
	p      *peer
	frames [][]byte // what the server sends
	bufs   [][]byte
}

func newEcho(t testing.TB, size int) *echo {
	c, p := connect(t, client.Config{})
	e := &echo{t: t, ring: c.Ring(0), p: p, bufs: client.Buffers(64, max(size, 2048))}
	for i := range e.bufs {
		e.frames = append(e.frames, pattern(i, size))
	}
	return e
}

// release lets the server take what was written, without looking at it.
func (e *echo) release() {
	r := &e.p.c2s[0]
	r.next = r.Head()
	r.SetTail(r.next)
}

// deliver publishes the frames' descriptors again, without copying.
func (e *echo) deliver(n int) {
	r := &e.p.s2c[0]
	for range n {
		d := r.Desc(r.next)
		d.Length = uint32(len(e.frames[0]))
		r.SetDesc(r.next, d)
		r.next++
	}
	r.SetTail(r.next)
}

func TestNothingIsAllocated(t *testing.T) {
	for _, size := range []int{64, 1500, 9216} {
		e := newEcho(t, size)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		once := func() {
			if e.p.deliver(0, false, e.frames...) != len(e.frames) {
				t.Fatal("no room")
			}
			n, err := e.ring.ReadContext(ctx, e.bufs)
			if n != len(e.frames) || err != nil {
				t.Fatal(n, err)
			}
			if n, err = e.ring.WriteContext(ctx, e.bufs[:n]); n != len(e.frames) || err != nil {
				t.Fatal(n, err)
			}
			e.release()
			if n, err := e.ring.Read(e.bufs); n != 0 || err != nil {
				t.Fatal(n, err)
			}
		}
		e.p.c2s[0].SetMasked(false) // interrupts are written as well
		if allocs := testing.AllocsPerRun(200, once); allocs != 0 {
			t.Errorf("%d bytes: %v allocations for each batch", size, allocs)
		}
	}
}

// TestSleepingAllocatesNothing: neither does a reader that waits.
func TestSleepingAllocatesNothing(t *testing.T) {
	e := newEcho(t, 64)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	wake, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for range wake {
			for e.p.s2c[0].Masked() {
				yield()
			}
			e.deliver(1)
			e.p.ring(0)
		}
	}()
	once := func() {
		wake <- struct{}{}
		if n, err := e.ring.ReadContext(ctx, e.bufs); n != 1 || err != nil {
			t.Error(n, err)
		}
	}
	once() // the first one starts the goroutine that listens
	if allocs := testing.AllocsPerRun(100, once); allocs != 0 {
		t.Errorf("%v allocations for each frame waited for", allocs)
	}
	close(wake)
	<-done
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{64, 1500} {
		b.Run(label(size), func(b *testing.B) {
			e := newEcho(b, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for left := b.N; left > 0; {
				batch := min(left, len(e.bufs))
				e.deliver(batch)
				if n, err := e.ring.Read(e.bufs[:batch]); n != batch || err != nil {
					b.Fatal(n, err)
				}
				left -= batch
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{64, 1500} {
		b.Run(label(size), func(b *testing.B) {
			e := newEcho(b, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for left := b.N; left > 0; {
				batch := min(left, len(e.frames))
				if n, err := e.ring.Write(e.frames[:batch]); n != batch || err != nil {
					b.Fatal(n, err)
				}
				e.release()
				left -= batch
			}
		})
	}
}
