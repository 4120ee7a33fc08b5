package memif

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

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

// BenchmarkDeliverMany is one frame of 64 bytes for each of 64 lanes of many, as
// a batch from a busy wire is, one lane after the other and all at once.
func BenchmarkDeliverMany(b *testing.B) {
	for _, lanes := range []int{64, 1000} {
		for _, spread := range []bool{false, true} {
			layout := func(l shm.Layout) shm.Layout { return l }
			if spread {
				layout = func(l shm.Layout) shm.Layout { return l.Spread(rand.Uint32()) }
			}
			queues, clients := manyPairs(b, lanes, layout)
			for _, all := range []bool{false, true} {
				b.Run(fmt.Sprintf("lanes=%d,spread=%v,at once=%v", lanes, spread, all), func(b *testing.B) { deliverMany(b, queues, clients, all) })
			}
		}
	}
}

func deliverMany(b *testing.B, queues []*Queue, clients []*raw, all bool) {
	const many = 64
	one := []frame.Frame{{Data: make([]byte, 64)}}
	d, x := make([]frame.Delivery, many), uint64(1)
	var spent []time.Duration
	for range b.N {
		x = x*6364136223846793005 + 1442695040888963407
		at := func(i int) int { return (int(x>>33) + 37*i) % len(queues) }
		for i := range d {
			d[i] = frame.Delivery{Lane: queues[at(i)].lanes[0], Frames: one}
		}
		start := time.Now()
		if all {
			queues[0].lanes[0].DeliverAll(d)
		} else {
			for i := range d {
				d[i].Taken, d[i].Why = d[i].Lane.(*Lane).Deliver(d[i].Frames)
			}
		}
		spent = append(spent, time.Since(start))
		for i := range d {
			if d[i].Taken != 1 {
				b.Fatal(i, d[i].Why)
			}
			clients[at(i)].lend(0, 1)
		}
	}
	slices.Sort(spent) // the median: other programs want the processor, too
	b.ReportMetric(float64(spent[len(spent)/2].Nanoseconds())/many, "ns/frame")
}

func manyPairs(b *testing.B, n int, layout func(shm.Layout) shm.Layout) (queues []*Queue, clients []*raw) {
	server := newTestServer(b)
	for range n {
		q := openQueue(b, server, Config{})
		queues = append(queues, q)
		clients = append(clients, connected(b, q, layout(shm.Layout{Rings: 1, Log2: 6, BufferSize: 2048})))
		clients[len(clients)-1].s2c[0].SetMasked(true)
	}
	return queues, clients
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
