package memif

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// victim is an honest client of the same server, with a worker, that passes
// numbered frames both ways while somebody else misbehaves. Not one of them may
// be lost, changed or late by more than generous.
type victim struct {
	queue  *Queue
	client *raw
	stop   chan struct{}
	wg     sync.WaitGroup

	up, down        atomic.Uint32 // frames that have come, each way
	sent, delivered atomic.Uint32
	failure         atomic.Pointer[string]
}

// victimWindow is below the size of its ring: full is nobody's excuse.
const victimWindow = 200

func newVictim(t *testing.T, s *Server) *victim {
	t.Helper()
	q := openQueue(t, s, Config{})
	v := &victim{queue: q, stop: make(chan struct{})}
	v.client = connected(t, q, shm.Layout{Rings: 1, Log2: 8, BufferSize: 512})
	v.wg.Go(v.work)
	v.wg.Go(v.live)
	return v
}

func (v *victim) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	v.failure.CompareAndSwap(nil, &text)
}

func (v *victim) stopped() bool {
	select {
	case <-v.stop:
		return true
	default:
		return v.failure.Load() != nil
	}
}

// work is the worker's half.
func (v *victim) work() {
	l := v.queue.Lane(0)
	out, in := make([]frame.Frame, 8), make([]frame.Frame, 8)
	for i := range in {
		out[i].Data, in[i].Data = make([]byte, 700), make([]byte, 2048)
	}
	for ; v.delivered.Load() != v.down.Load() || !v.stopped() || v.sent.Load() != v.up.Load(); breathe() {
		if v.failure.Load() != nil {
			return
		}
		if !v.stopped() && v.delivered.Load()-v.down.Load() < victimWindow {
			number(out, v.delivered.Load())
			if n, why := l.Deliver(out); n != len(out) {
				v.fail("the worker delivers %d of %d frames (%d), and its client went for %q", n, len(out), why, v.queue.LastDisconnect())
			}
			v.delivered.Add(uint32(len(out)))
		}
		for i := range in {
			in[i].Data = in[i].Data[:2048]
		}
		for _, f := range in[:l.Collect(in, 1<<20)] {
			v.check("to the worker", f.Data, v.up.Add(1)-1)
		}
	}
}

// live is the client's half.
func (v *victim) live() {
	for ; v.sent.Load() != v.up.Load() || !v.stopped() || v.delivered.Load() != v.down.Load(); breathe() {
		if v.failure.Load() != nil {
			return
		}
		if !v.stopped() && v.sent.Load()-v.up.Load() < victimWindow/2 {
			one := []frame.Frame{{Data: make([]byte, 700)}} // two buffers each
			number(one, v.sent.Load())
			if err := v.client.send(0, one[0].Data); err != nil {
				v.fail("the client sends: %v", err)
			}
			v.sent.Add(1)
		}
		if b, ok := v.client.take(0); ok {
			v.check("to the client", b, v.down.Add(1)-1)
		}
	}
}

// number fills frames so that the number decides every byte and the length.
func number(f []frame.Frame, first uint32) {
	for i := range f {
		n := first + uint32(i)
		f[i].Data = f[i].Data[:60+int(n*31%400)]
		fillNumber(f[i].Data, n)
	}
}

func fillNumber(b []byte, n uint32) {
	binary.BigEndian.PutUint32(b, n)
	for i := 4; i < len(b); i++ {
		b[i] = byte(n) + byte(i)*7
	}
}

func (v *victim) check(way string, b []byte, n uint32) {
	want := []frame.Frame{{Data: make([]byte, 700)}}
	number(want, n)
	if !bytes.Equal(b, want[0].Data) {
		v.fail("%s: frame %d is another, or has other bytes (% x)", way, n, b[:min(len(b), 16)])
	}
}

// passes waits until n more frames have come each way.
func (v *victim) passes(t *testing.T, n uint32) {
	t.Helper()
	up, down := v.up.Load(), v.down.Load()
	for end := time.Now().Add(generous); v.up.Load()-up < n || v.down.Load()-down < n; time.Sleep(100 * time.Microsecond) {
		if v.failure.Load() != nil || time.Now().After(end) {
			break
		}
	}
	if f := v.failure.Load(); f != nil {
		t.Fatalf("the neighbour: %s", *f)
	}
	if v.up.Load()-up < n || v.down.Load()-down < n {
		t.Fatalf("the neighbour stands still: %d frames up, %d down", v.up.Load()-up, v.down.Load()-down)
	}
}

// end lets what is on its way arrive and checks that all of it did.
func (v *victim) end(t *testing.T) {
	t.Helper()
	close(v.stop)
	done := make(chan struct{})
	go func() { v.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(generous):
		v.fail("frames are missing: sent %d, came %d; delivered %d, came %d",
			v.sent.Load(), v.up.Load(), v.delivered.Load(), v.down.Load())
		<-done
	}
	if f := v.failure.Load(); f != nil {
		t.Errorf("the neighbour: %s", *f)
	}
	if s := v.queue.Stats(); s.Oversize+s.Malformed+s.Errors != 0 {
		t.Errorf("the neighbour's counters: %+v", s)
	}
	if v.sent.Load() != v.up.Load() || v.delivered.Load() != v.down.Load() {
		t.Errorf("the neighbour: sent %d, came %d; delivered %d, came %d",
			v.sent.Load(), v.up.Load(), v.delivered.Load(), v.down.Load())
	}
}

// worker polls the lanes of a queue whose client is hostile, as a worker that
// also has frames for it.
type worker struct {
	stop, done      chan struct{}
	collected, gave atomic.Uint64
}

func startWorker(t *testing.T, q *Queue) *worker {
	t.Helper()
	w := &worker{stop: make(chan struct{}), done: make(chan struct{})}
	go w.run(q)
	t.Cleanup(w.end)
	return w
}

func (w *worker) end() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	<-w.done
}

func (w *worker) run(q *Queue) {
	defer close(w.done)
	in := make([]frame.Frame, 16)
	out := []frame.Frame{{Data: make([]byte, 60)}, {Data: make([]byte, 1400)}, {Data: make([]byte, 600)}}
	for turn := 0; ; turn++ {
		select {
		case <-w.stop:
			return
		default:
		}
		for i := range q.Lanes() {
			l := q.Lane(i)
			for k := range in {
				in[k].Data = make([]byte, 2048)[:2048:2048]
			}
			l.Arm(turn%3 == 0)
			w.collected.Add(uint64(l.Collect(in, 1<<20)))
			n, _ := l.Deliver(out)
			w.gave.Add(uint64(n))
		}
		breathe()
	}
}

// breathe lets others have the processor: the tests need not be fast.
func breathe() { time.Sleep(20 * time.Microsecond) }
