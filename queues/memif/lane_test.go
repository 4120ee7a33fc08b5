package memif

import (
	"bytes"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

func numbered(n uint32, size int) []byte {
	b := make([]byte, size)
	fillNumber(b, n)
	return b
}

// Frames of every size pass over buffers of every size, both ways, and the
// indices wrap.
func TestSizes(t *testing.T) {
	for _, layout := range []shm.Layout{
		{Rings: 1, Log2: 1, BufferSize: 9216},
		{Rings: 1, Log2: 4, BufferSize: 2048},
		{Rings: 1, Log2: 6, BufferSize: 256},
		{Rings: 1, Log2: 8, BufferSize: 64},
		{Rings: 1, Log2: 10, BufferSize: 2047},
		{Rings: 1, Log2: 14, BufferSize: 128},
	} {
		q := openQueue(t, newTestServer(t), Config{RingSize: 1 << 14, MaxFrame: 9216})
		r := connected(t, q, layout)
		l, f := q.Lane(0), buffers(1, 9216)
		most := min(9216, layout.BufferSize*min(1<<layout.Log2, maxPieces))
		for slots, i := 0, uint32(0); slots < 1<<16+1000; i++ {
			size := 14 + int(i*7919%uint32(most-13))
			if i%5 == 0 {
				size = most - int(i%3)
			}
			slots += (size + layout.BufferSize - 1) / layout.BufferSize
			want := numbered(i, size)
			if n, why := l.Deliver([]frame.Frame{{Data: want}}); n != 1 {
				t.Fatalf("%+v: Deliver of frame %d, %d bytes: %d", layout, i, size, why)
			}
			got, ok := r.take(0)
			if !ok || !bytes.Equal(got, want) {
				t.Fatalf("%+v: of frame %d, %d bytes, came %d bytes (%v)", layout, i, size, len(got), ok)
			}
			if err := r.send(0, got); err != nil {
				t.Fatalf("%+v: send: %v", layout, err)
			}
			if n := l.Collect(f, 1<<20); n != 1 || !bytes.Equal(f[0].Data, want) {
				t.Fatalf("%+v: Collect of frame %d, %d bytes: %d, %d bytes", layout, i, size, n, len(f[0].Data))
			}
			rewind(f)
		}
	}
}

// A frame that the lent buffers cannot hold now is refused as full, one that
// they never will as too big, and neither leaves anything behind.
func TestChainsThatDoNotFit(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{MaxFrame: 2000})
	r := connected(t, q, shm.Layout{Rings: 1, Log2: 3, BufferSize: 200}) // 1,600 bytes in all
	l := q.Lane(0)
	deliver := func(size int) frame.Refusal {
		_, why := l.Deliver([]frame.Frame{{Data: numbered(uint32(size), size)}})
		return why
	}
	for _, c := range []struct {
		size int
		why  frame.Refusal
	}{
		{2001, frame.TooBig}, {2000, frame.TooBig}, {1601, frame.TooBig}, {1000, frame.Accepted},
		{601, frame.Full}, {1601, frame.Full}, {2001, frame.TooBig}, {600, frame.Accepted}, {14, frame.Full},
	} {
		if why := deliver(c.size); why != c.why {
			t.Errorf("%d bytes: %d, want %d", c.size, why, c.why)
		}
	}
	for _, size := range []int{1000, 600} {
		if b, ok := r.take(0); !ok || !bytes.Equal(b, numbered(uint32(size), size)) {
			t.Errorf("%d bytes came in place of %d (%v)", len(b), size, ok)
		}
	}
	if why := deliver(1600); why != frame.Accepted {
		t.Errorf("the whole ring: %d", why)
	}
	if !isConnected(q) {
		t.Error(q.LastDisconnect())
	}
}

// A super-frame is nothing for a memif client.
func TestSuperFramesAreTooBig(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{})
	connected(t, q, small())
	f := []frame.Frame{{Data: make([]byte, 60), Meta: frame.Meta{GSO: frame.GSOTCPv4}}}
	if n, why := q.Lane(0).Deliver(f); n != 0 || why != frame.TooBig || q.Lane(0).Offloads() != 0 {
		t.Errorf("Deliver = %d, %d, offloads %d", n, why, q.Lane(0).Offloads())
	}
}

// TestStaleNext: DPDK up to 22.11.11 never takes the NEXT flag off the first
// slot of a packet. Where it has sent a frame in two slots, it sends frames in
// one slot whose flag still stands, unless we have taken it off.
func TestStaleNext(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{})
	r := connected(t, q, small())
	l, f := q.Lane(0), buffers(32, 2048)
	ring := &r.c2s[0]
	send := func(pieces int) {
		for p := range pieces {
			d := ring.Desc(ring.head)
			d.Length, d.Offset = 60, r.layout.Buffer(shm.C2S, 0, ring.head)
			if p > 0 { // it assigns the flags of every slot but the first
				d.Flags = 0
			}
			if p < pieces-1 {
				d.Flags |= shm.FlagNext
			}
			ring.SetDesc(ring.head, d)
			ring.head++
		}
	}
	for round, pieces := range []int{1, 2, 1, 2, 2, 1, 1} {
		frames := int(ring.Size()) / pieces
		for range frames {
			send(pieces)
		}
		r.publish(0)
		rewind(f)
		if n := l.Collect(f, 1<<20); n != frames {
			t.Fatalf("round %d: %d of %d frames came", round, n, frames)
		}
		for i := range frames {
			if len(f[i].Data) != 60*pieces {
				t.Fatalf("round %d: a frame of %d bytes came, sent %d", round, len(f[i].Data), 60*pieces)
			}
		}
		if ring.Tail() != ring.head {
			t.Fatalf("round %d: tail %d, head %d", round, ring.Tail(), ring.head)
		}
	}
	if s := q.Stats(); s.Malformed != 0 || s.Oversize != 0 {
		t.Errorf("%+v", s)
	}
}

// The server changes neither region nor offset of a descriptor, assigns the
// flags of each, and reads its own index from nowhere.
func TestDescriptorsStayTheClients(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{})
	r := connected(t, q, small())
	ring := &r.s2c[0]
	for i := range ring.Size() {
		d := ring.Desc(i)
		d.Flags = 0xffff
		ring.SetDesc(i, d)
	}
	ring.SetTail(0x1234) // it is not the client's to write, and means nothing
	l := q.Lane(0)
	f := []frame.Frame{{Data: numbered(1, 60)}, {Data: numbered(2, 1500)}, {Data: numbered(3, 60)}}
	if n, why := l.Deliver(f); n != 3 {
		t.Fatal(n, why)
	}
	want := []shm.Desc{{Length: 60}, {Length: 1024, Flags: shm.FlagNext}, {Length: 476}, {Length: 60}}
	for i := range want {
		want[i].Offset = r.layout.Buffer(shm.S2C, 0, uint16(i))
		if got := ring.Desc(uint16(i)); got != want[i] {
			t.Errorf("descriptor %d is %+v, want %+v", i, got, want[i])
		}
	}
	if ring.Tail() != 4 {
		t.Errorf("tail is %d", ring.Tail())
	}
}

func TestNoAllocationsWithChains(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{MaxFrame: 9216})
	r := connected(t, q, shm.Layout{Rings: 1, Log2: 10, BufferSize: 512})
	in, out := []frame.Frame{{Data: make([]byte, 9000)}}, buffers(1, 9216)
	data := make([]byte, 9000)
	l := q.Lane(0)
	l.Arm(false) // ringing is what the test's client would allocate for
	r.s2c[0].SetMasked(true)
	n := 0
	allocs := testing.AllocsPerRun(1000, func() {
		if _, why := l.Deliver(in); why != frame.Accepted {
			n = -1 << 20
		}
		r.s2c[0].tail = r.s2c[0].Tail()
		r.lend(0, 18)
		if r.send(0, data) == nil {
			n += l.Collect(out, 1<<20)
		}
		out[0].Data = out[0].Data[:9216]
	})
	if allocs != 0 || n != 1001 {
		t.Errorf("%v allocations, %d frames", allocs, n)
	}
}
