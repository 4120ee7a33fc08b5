package queuetest

import (
	"bytes"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
)

// deliver delivers everything, a full lane being the only refusal allowed;
// drain makes room.
func deliver(t testing.TB, l queues.Lane, f []frame.Frame, drain func()) {
	t.Helper()
	for len(f) > 0 {
		n, why := l.Deliver(f)
		if n < 0 || n > len(f) {
			t.Fatalf("Deliver of %d frames returned %d", len(f), n)
		}
		switch {
		case n == len(f) && why != frame.Accepted:
			t.Fatalf("Deliver took all %d frames and says %d", n, why)
		case n < len(f) && why != frame.Full:
			t.Fatalf("Deliver took %d of %d frames and says %d", n, len(f), why)
		}
		f = f[n:]
		if len(f) > 0 {
			drain()
		}
	}
}

func deliverOrder(t *testing.T, kind Kind) {
	q, peer := open(t, kind, Config{})
	got := frame.Frame{Data: make([]byte, mtu+headerLen)}
	const batch, total = 32, 3200
	for first := uint32(0); first < total; first += batch {
		var f []frame.Frame
		for i := range uint32(batch) {
			f = append(f, numbered(first+i, minLen+int(first*31+i*97)%(mtu+headerLen-minLen+1)))
		}
		deliver(t, q.Lane(0), f, func() { t.Fatal("full after 32 frames") })
		for i := range uint32(batch) {
			recv(t, peer, &got)
			if n := numberOf(got.Data); n != first+i || len(got.Data) != len(f[i].Data) {
				t.Fatalf("frame %d of %d bytes came, frame %d of %d was next", n, len(got.Data), first+i, len(f[i].Data))
			}
		}
	}
}

func deliverRetainsNothing(t *testing.T, kind Kind) {
	q, peer := open(t, kind, Config{})
	f := make([]frame.Frame, 16)
	for i := range f {
		f[i] = numbered(uint32(i), 200)
	}
	deliver(t, q.Lane(0), f, func() { t.Fatal("full") })
	for i := range f {
		for k := range f[i].Data {
			f[i].Data[k] = 0xee
		}
	}
	got := frame.Frame{Data: make([]byte, mtu)}
	for i := range f {
		recv(t, peer, &got)
		if numberOf(got.Data) != uint32(i) {
			t.Errorf("frame %d came as number %d", numberOf(got.Data), i)
		}
	}
	if !bytes.Equal(f[0].Data, bytes.Repeat([]byte{0xee}, 200)) {
		t.Error("the buffer changed after Deliver had returned")
	}
}

func deliverTooBig(t *testing.T, kind Kind) {
	q, peer := open(t, kind, Config{MTU: 1400})
	l := q.Lane(0)
	if l.MaxFrame() < 1400+headerLen {
		t.Fatalf("MaxFrame is %d with an MTU of 1400", l.MaxFrame())
	}
	whole, big := numbered(1, 1400+headerLen), numbered(2, l.MaxFrame()+1)
	last := numbered(3, 100)
	for _, c := range []struct {
		f   []frame.Frame
		n   int
		why frame.Refusal
	}{
		{[]frame.Frame{whole, big, last}, 1, frame.TooBig},
		{[]frame.Frame{big, last}, 0, frame.TooBig},
		{[]frame.Frame{last}, 1, frame.Accepted},
		{[]frame.Frame{last, whole, big}, 2, frame.TooBig},
	} {
		if n, why := l.Deliver(c.f); n != c.n || why != c.why {
			t.Errorf("Deliver of %d frames = %d, %d, want %d, %d", len(c.f), n, why, c.n, c.why)
		}
	}
	got := frame.Frame{Data: make([]byte, mtu)}
	for _, want := range []uint32{1, 3, 3, 1} {
		recv(t, peer, &got)
		if numberOf(got.Data) != want {
			t.Errorf("frame %d came, frame %d was next", numberOf(got.Data), want)
		}
	}
}

func deliverFull(t *testing.T, kind Kind) {
	if kind.Capacity == 0 {
		t.Skip("this kind never says full: the container's kernel takes what it is given")
	}
	q, peer := open(t, kind, Config{})
	f := make([]frame.Frame, kind.Capacity+5)
	for i := range f {
		f[i] = numbered(uint32(i), 60)
	}
	if n, why := q.Lane(0).Deliver(f); n != kind.Capacity || why != frame.Full {
		t.Fatalf("Deliver of %d frames = %d, %d, want %d, full", len(f), n, why, kind.Capacity)
	}
	if n, why := q.Lane(0).Deliver(f[:1]); n != 0 || why != frame.Full {
		t.Fatalf("Deliver into a full lane = %d, %d", n, why)
	}
	got := frame.Frame{Data: make([]byte, mtu)}
	for i := range kind.Capacity {
		recv(t, peer, &got)
		if numberOf(got.Data) != uint32(i) {
			t.Fatalf("frame %d came, frame %d was next", numberOf(got.Data), i)
		}
	}
	if n, why := q.Lane(0).Deliver(f[:1]); n != 1 || why != frame.Accepted {
		t.Errorf("Deliver after the container has read = %d, %d", n, why)
	}
}

func deliverGone(t *testing.T, kind Kind) {
	q, peer := open(t, kind, Config{})
	l := q.Lane(0)
	if err := peer.Leave(); err != nil {
		t.Fatal(err)
	}
	f := []frame.Frame{numbered(1, 100), numbered(2, 100)}
	for range 3 {
		if n, why := l.Deliver(f); n != 0 || why != frame.Gone {
			t.Fatalf("Deliver to nobody = %d, %d, want 0, gone", n, why)
		}
		l.Arm(true)
		if n := collect(l, buffers(4, 2048), 1<<20); n != 0 {
			t.Fatalf("Collect from nobody = %d", n)
		}
	}
	if !kind.Returns {
		return
	}
	if err := peer.Return(); err != nil {
		t.Fatal(err)
	}
	if n, why := l.Deliver(f[:1]); n != 1 || why != frame.Accepted {
		t.Fatalf("Deliver to a container that is back = %d, %d", n, why)
	}
	got := frame.Frame{Data: make([]byte, mtu)}
	recv(t, peer, &got)
}

func nothing(t *testing.T, kind Kind) {
	q, _ := open(t, kind, Config{})
	l := q.Lane(0)
	for _, f := range [][]frame.Frame{nil, {}} {
		if n, why := l.Deliver(f); n != 0 || why != frame.Accepted {
			t.Errorf("Deliver of nothing = %d, %d", n, why)
		}
		if n := l.Collect(f, 1<<20); n != 0 {
			t.Errorf("Collect into nothing = %d", n)
		}
	}
	if n := collect(l, buffers(1, 2048), 1<<20); n != 0 {
		t.Errorf("Collect from a silent container = %d", n)
	}
	if s := q.Stats(); s != (queues.Stats{}) {
		t.Errorf("counters of a queue where nothing was lost: %+v", s)
	}
}
