package tap

import (
	"fmt"
	"sync"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
)

// BenchmarkDeliver is the way to a container whose kernel has no use for the
// frames, by a system call for each and by the ring.
func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{64, 1514} {
		for _, n := range []int{1, 2, 4, 8, 64} {
			b.Run(fmt.Sprintf("%dB/%d", size, n), func(b *testing.B) { benchDeliver(b, size, n, nil) })
			b.Run(fmt.Sprintf("%dB/%d/ring", size, n), func(b *testing.B) { benchDeliver(b, size, n, mustOpenRing(b)) })
		}
	}
}

func benchDeliver(b *testing.B, size, n int, r *Ring) {
	ns := nstest.New(b)
	silence(b, ns)
	cfg := testConfig(ns)
	cfg.Rings = []*Ring{r}
	q := mustOpen(b, cfg)
	f := make([]frame.Frame, n)
	for i := range f {
		f[i].Data = make([]byte, size)
		copy(f[i].Data[12:], []byte{0x88, 0xb5})
	}
	d := []frame.Delivery{{Lane: q.Lane(0), Frames: f}}
	b.ReportAllocs()
	for b.Loop() {
		if q.lanes[0].DeliverAll(d); d[0].Taken != n {
			b.Fatalf("DeliverAll: %d", d[0].Why)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/frame")
}

func BenchmarkCollect(b *testing.B) {
	ns := nstest.New(b)
	silence(b, ns)
	q := mustOpen(b, testConfig(ns))
	p := newPeer(b, ns, DefaultName)
	defer p.Close()
	const batch = 64
	f := make([]frame.Frame, batch)
	data := make([]byte, 64)
	copy(data[12:], []byte{0x88, 0xb5})
	for b.Loop() {
		b.StopTimer()
		for i := range f {
			if err := p.Send(frame.Frame{Data: data}); err != nil {
				b.Fatal(err)
			}
			f[i].Data = make([]byte, 2048)
		}
		b.StartTimer()
		if n := q.Lane(0).Collect(f, 1<<20); n != batch {
			b.Fatalf("Collect = %d", n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/frame")
}

// BenchmarkReconcile is the look at a container where all is well.
func BenchmarkReconcile(b *testing.B) {
	ns := nstest.New(b)
	q := mustOpen(b, fullConfig(ns))
	for _, gw := range fullConfig(ns).Gateways {
		if err := q.SetNeighbour(gw, [6]byte{2}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if r, err := q.Reconcile(); err != nil || r != (Repairs{}) {
			b.Fatal(r, err)
		}
	}
}

// BenchmarkOpenRemove makes and removes a full interface, 16 at a time.
func BenchmarkOpenRemove(b *testing.B) {
	ns := nstest.New(b)
	steering, err := LoadSteering()
	if err != nil {
		b.Fatal(err)
	}
	defer steering.Close()
	for b.Loop() {
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				c := fullConfig(ns)
				c.Name, c.Gateways, c.Steering = fmt.Sprintf("t%d", i), nil, steering
				q, err := Open(c)
				if err == nil {
					err = q.Remove()
				}
				if err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*16), "ns/queue")
}
