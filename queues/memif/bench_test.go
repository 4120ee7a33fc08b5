package memif

import (
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// burst is how many frames a worker hands over at a time.
const burst = 32

func BenchmarkDeliver(b *testing.B) {
	for _, c := range []struct {
		name         string
		size, buffer int
	}{{"64B", 64, 2048}, {"1500B", 1500, 2048}, {"1500B in 256B buffers", 1500, 256}, {"9216B in 2048B buffers", 9216, 2048}} {
		b.Run(c.name, func(b *testing.B) {
			q, client := benchPair(b, c.buffer)
			ring := &client.s2c[0]
			ring.SetMasked(true)
			f := make([]frame.Frame, burst)
			for i := range f {
				f[i].Data = make([]byte, c.size)
			}
			slots := (c.size + c.buffer - 1) / c.buffer * burst
			l := q.Lane(0)
			b.ReportAllocs()
			b.SetBytes(int64(c.size * burst))
			for b.Loop() {
				if n, why := l.Deliver(f); n != burst {
					b.Fatal(n, why)
				}
				client.lend(0, uint16(slots))
			}
			perFrame(b)
		})
	}
}

func BenchmarkCollect(b *testing.B) {
	for _, c := range []struct {
		name         string
		size, buffer int
	}{{"64B", 64, 2048}, {"1500B", 1500, 2048}, {"1500B in 256B buffers", 1500, 256}} {
		b.Run(c.name, func(b *testing.B) {
			q, client := benchPair(b, c.buffer)
			q.Lane(0).Arm(false)
			data := make([]byte, c.size)
			for client.put(0, data) == nil { // every slot is a frame, for good
			}
			ring := &client.c2s[0]
			slots := (c.size + c.buffer - 1) / c.buffer
			f := make([]frame.Frame, burst)
			room := make([]byte, burst*2048)
			l := q.Lane(0)
			ring.head = 0
			b.ReportAllocs()
			b.SetBytes(int64(c.size * burst))
			for b.Loop() {
				if slots == 1 {
					ring.head += burst
				} else {
					refill(b, client, data) // the lane took the flags off
				}
				ring.SetHead(ring.head)
				for i := range f {
					f[i].Data = room[i*2048 : (i+1)*2048]
				}
				if n := l.Collect(f, 1<<20); n != burst {
					b.Fatal(n)
				}
			}
			perFrame(b)
		})
	}
}

func refill(b *testing.B, client *raw, data []byte) {
	for range burst {
		if err := client.put(0, data); err != nil {
			b.Fatal(err)
		}
	}
}

func benchPair(b *testing.B, buffer int) (*Queue, *raw) {
	q := openQueue(b, newTestServer(b), Config{MaxFrame: 9216})
	return q, connected(b, q, shm.Layout{Rings: 1, Log2: 10, BufferSize: buffer})
}

func perFrame(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/burst, "ns/frame")
}
