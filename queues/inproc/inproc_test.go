package inproc_test

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
	"github.com/xdpdemux/xdpdemux/queues/inproc"
)

func mustOpen(t testing.TB, cfg inproc.Config) *inproc.Queue {
	t.Helper()
	q, err := inproc.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Remove(); err != nil {
			t.Error(err)
		}
	})
	return q
}

func frameOf(n uint32, size int) frame.Frame {
	b := make([]byte, size)
	binary.BigEndian.PutUint32(b, n)
	return frame.Frame{Data: b}
}

func buffers(n, size int) []frame.Frame {
	f := make([]frame.Frame, n)
	for i := range f {
		f[i].Data = make([]byte, size)
	}
	return f
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		cfg  inproc.Config
		says string
	}{
		{inproc.Config{}, ""},
		{inproc.Config{Lanes: 8, Slots: 1, MaxFrame: inproc.MaxFrame}, ""},
		{inproc.Config{Lanes: -1}, "lanes"},
		{inproc.Config{Slots: 100}, "power of two"},
		{inproc.Config{Slots: -8}, "power of two"},
		{inproc.Config{Slots: inproc.MaxSlots * 2}, "power of two"},
		{inproc.Config{MaxFrame: 20}, "20 bytes"},
		{inproc.Config{MaxFrame: inproc.MaxFrame + 1}, "bytes"},
	} {
		_, err := inproc.Open(c.cfg)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.says)
		}
	}
}

// The indices only grow; a ring of any size goes around its end, with batches
// that do not divide it, and stays in order.
func TestRingGoesRound(t *testing.T) {
	for _, slots := range []int{1, 2, 8} {
		q := mustOpen(t, inproc.Config{Slots: slots})
		l, e := q.Lane(0), q.Endpoint(0)
		var in, out uint32
		for step := range 1000 {
			batch := make([]frame.Frame, 1+step%5)
			for i := range batch {
				batch[i] = frameOf(in+uint32(i), 60)
			}
			n, why := l.Deliver(batch)
			if (n < len(batch)) != (why == frame.Full) {
				t.Fatalf("%d slots: Deliver of %d = %d, %d", slots, len(batch), n, why)
			}
			in += uint32(n)
			got := buffers(1+step%3, 100)
			for _, f := range got[:e.Read(got)] {
				if binary.BigEndian.Uint32(f.Data) != out || len(f.Data) != 60 {
					t.Fatalf("%d slots: frame %d came, frame %d was next", slots, binary.BigEndian.Uint32(f.Data), out)
				}
				out++
			}
			if in-out > uint32(slots) {
				t.Fatalf("%d frames wait in %d slots", in-out, slots)
			}
		}
		if out < 500 {
			t.Errorf("%d slots: only %d frames came through", slots, out)
		}
	}
}

// Notify rings once for each arming, on the program's goroutine, and never
// when the worker has not asked.
func TestNotify(t *testing.T) {
	var rings []int
	q := mustOpen(t, inproc.Config{Lanes: 2, Notify: func(lane int) { rings = append(rings, lane) }})
	write := func(lane int) {
		if n, why := q.Endpoint(lane).Write([]frame.Frame{frameOf(1, 60)}); n != 1 {
			t.Fatalf("Write: %d", why)
		}
	}
	write(1) // a lane is born armed
	write(1)
	q.Lane(1).Arm(false)
	write(1)
	q.Lane(0).Arm(false)
	write(0)
	q.Lane(0).Arm(true)
	write(0)
	write(0)
	if len(rings) != 2 || rings[0] != 1 || rings[1] != 0 {
		t.Errorf("rings of lanes %v, want 1, then 0", rings)
	}
	if fd := q.Fd(0); fd != -1 {
		t.Errorf("descriptor %d without asking for one", fd)
	}
	q.Endpoint(0).Close()
	if n, why := q.Endpoint(0).Write([]frame.Frame{frameOf(1, 60)}); n != 0 || why != frame.Gone || len(rings) != 2 {
		t.Errorf("Write after Close = %d, %d, rings %v", n, why, rings)
	}
}

// Receive sees the very bytes that were delivered, without a copy.
func TestReceive(t *testing.T) {
	var seen []frame.Frame
	take := 2
	q := mustOpen(t, inproc.Config{Receive: func(lane int, f []frame.Frame) int {
		seen = append(seen, f...)
		return take
	}})
	l := q.Lane(0)
	f := []frame.Frame{frameOf(1, 60), frameOf(2, 60), frameOf(3, 60)}
	if n, why := l.Deliver(f); n != 2 || why != frame.Full {
		t.Errorf("Deliver of 3 of which 2 are taken = %d, %d", n, why)
	}
	if len(seen) != 3 || &seen[0].Data[0] != &f[0].Data[0] {
		t.Errorf("Receive saw %d frames", len(seen))
	}
	take = 99 // more than there are
	if n, why := l.Deliver(f); n != 3 || why != frame.Accepted {
		t.Errorf("Deliver = %d, %d", n, why)
	}
	take = -1
	if n, why := l.Deliver(f[:1]); n != 0 || why != frame.Full {
		t.Errorf("Deliver = %d, %d", n, why)
	}
	big := []frame.Frame{f[0], frameOf(2, 5000), f[2]}
	take = 1
	if n, why := l.Deliver(big); n != 1 || why != frame.TooBig {
		t.Errorf("Deliver with a large frame = %d, %d", n, why)
	}
	q.Endpoint(0).Close()
	if n, why := l.Deliver(f); n != 0 || why != frame.Gone {
		t.Errorf("Deliver after Close = %d, %d", n, why)
	}
}

func TestSuperFramesNeedTheOffload(t *testing.T) {
	q := mustOpen(t, inproc.Config{MaxFrame: 9000, Offloads: frame.OffloadTCPv6})
	for gso, want := range map[uint8]frame.Refusal{
		frame.GSONone: frame.Accepted, frame.GSOTCPv6: frame.Accepted,
		frame.GSOTCPv4: frame.TooBig, frame.GSOUDP: frame.TooBig, 77: frame.TooBig,
	} {
		f := frameOf(1, 3000)
		f.GSO = gso
		if _, why := q.Lane(0).Deliver([]frame.Frame{f}); why != want {
			t.Errorf("a frame of kind %d: %d, want %d", gso, why, want)
		}
	}
}

// The program cannot pretend to be the kernel's look-up or to be in a VLAN.
func TestWriteOwnsItsMeta(t *testing.T) {
	q := mustOpen(t, inproc.Config{})
	f := frameOf(1, 60)
	f.Meta = frame.Meta{Hint: 7, Gen: 8, VLAN: 9, Flags: frame.ChecksumVerified, CsumStart: 34}
	if n, _ := q.Endpoint(0).Write([]frame.Frame{f}); n != 1 {
		t.Fatal("Write is refused")
	}
	got := buffers(1, 100)
	if q.Lane(0).Collect(got, 1000) != 1 {
		t.Fatal("nothing came")
	}
	if want := (frame.Meta{Flags: frame.ChecksumVerified, CsumStart: 34}); got[0].Meta != want {
		t.Errorf("%+v came, want %+v", got[0].Meta, want)
	}
}

func TestReadCutsToTheBuffer(t *testing.T) {
	q := mustOpen(t, inproc.Config{})
	if n, _ := q.Lane(0).Deliver([]frame.Frame{frameOf(5, 1000)}); n != 1 {
		t.Fatal("Deliver refuses")
	}
	got := buffers(1, 10)
	if q.Endpoint(0).Read(got) != 1 || len(got[0].Data) != 10 {
		t.Errorf("%d bytes came", len(got[0].Data))
	}
}

// A reader that sleeps is woken for every frame, by the end and by its context.
func TestReadContext(t *testing.T) {
	q := mustOpen(t, inproc.Config{Slots: 4})
	e := q.Endpoint(0)
	const total = 3000
	var got atomic.Uint32
	var wg sync.WaitGroup
	wg.Go(func() {
		f := buffers(3, 100)
		for {
			for i := range f {
				f[i].Data = f[i].Data[:100]
			}
			n, err := e.ReadContext(t.Context(), f)
			for _, g := range f[:n] {
				if binary.BigEndian.Uint32(g.Data) != got.Load() {
					t.Errorf("frame %d came, frame %d was next", binary.BigEndian.Uint32(g.Data), got.Load())
				}
				got.Add(1)
			}
			if err != nil {
				if !errors.Is(err, inproc.ErrClosed) {
					t.Error(err)
				}
				return
			}
		}
	})
	for i := uint32(0); i < total; {
		if n, why := q.Lane(0).Deliver([]frame.Frame{frameOf(i, 60)}); n == 1 {
			i++
		} else if why != frame.Full {
			t.Fatalf("Deliver: %d", why)
		} else {
			time.Sleep(10 * time.Microsecond)
		}
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if got.Load() != total {
		t.Errorf("%d of %d frames came; what was delivered before Close is still read", got.Load(), total)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := mustOpen(t, inproc.Config{}).Endpoint(0).ReadContext(ctx, buffers(1, 100)); !errors.Is(err, context.Canceled) {
		t.Errorf("ReadContext: %v", err)
	}
}

// A writer that waits for room is woken when the worker collects.
func TestWriteContext(t *testing.T) {
	q := mustOpen(t, inproc.Config{Slots: 2})
	const total = 500
	done := make(chan error, 1)
	go func() {
		var f []frame.Frame
		for i := range uint32(total) {
			f = append(f, frameOf(i, 60))
		}
		n, why, err := q.Endpoint(0).WriteContext(t.Context(), f)
		if n != total || why != frame.Accepted {
			t.Errorf("WriteContext = %d, %d", n, why)
		}
		done <- err
	}()
	f := buffers(8, 100)
	for next := uint32(0); next < total; {
		for i := range f {
			f[i].Data = f[i].Data[:100]
		}
		for _, g := range f[:q.Lane(0).Collect(f, 1<<20)] {
			if binary.BigEndian.Uint32(g.Data) != next {
				t.Fatalf("frame %d came, frame %d was next", binary.BigEndian.Uint32(g.Data), next)
			}
			next++
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	n, why, err := q.Endpoint(0).WriteContext(t.Context(), []frame.Frame{frameOf(1, 60), frameOf(2, 5000), frameOf(3, 60)})
	if n != 1 || why != frame.TooBig || err != nil {
		t.Errorf("WriteContext of a large frame = %d, %d, %v", n, why, err)
	}
	q.Endpoint(0).Close()
	if _, why, err := q.Endpoint(0).WriteContext(t.Context(), []frame.Frame{frameOf(1, 60)}); why != frame.Gone || !errors.Is(err, inproc.ErrClosed) {
		t.Errorf("WriteContext after Close: %d, %v", why, err)
	}
}

// What the program wrote before it left can still be collected.
func TestCollectAfterTheProgramLeft(t *testing.T) {
	q := mustOpen(t, inproc.Config{})
	e := q.Endpoint(0)
	if n, _ := e.Write([]frame.Frame{frameOf(1, 60), frameOf(2, 60)}); n != 2 {
		t.Fatal("Write is refused")
	}
	e.Close()
	e.Close()
	if n := q.Lane(0).Collect(buffers(4, 100), 1<<20); n != 2 {
		t.Errorf("Collect = %d", n)
	}
	if s := q.Stats(); s != (queues.Stats{}) {
		t.Errorf("counters %+v", s)
	}
}

func BenchmarkLane(b *testing.B) {
	q := mustOpen(b, inproc.Config{})
	l, e := q.Lane(0), q.Endpoint(0)
	const batch = 64
	in, out := buffers(batch, 64), buffers(batch, 2048)
	b.ReportAllocs()
	for b.Loop() {
		if n, _ := l.Deliver(in); n != batch {
			b.Fatal("Deliver refuses")
		}
		for i := range out {
			out[i].Data = out[i].Data[:cap(out[i].Data)]
		}
		if e.Read(out) != batch {
			b.Fatal("frames are missing")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/frame")
}
