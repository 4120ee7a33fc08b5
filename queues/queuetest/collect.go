package queuetest

import (
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
)

func collectOrder(t *testing.T, kind Kind) {
	q, peer := open(t, kind, Config{})
	l, f := q.Lane(0), buffers(32, 2048)
	const batch, total = 48, 2400
	for first := uint32(0); first < total; first += batch {
		var sizes []int
		for i := range uint32(batch) {
			size := minLen + int(first*37+i*101)%(mtu+headerLen-minLen+1)
			sizes = append(sizes, size)
			send(t, peer, numbered(first+i, size))
		}
		for i := uint32(0); i < batch; {
			rewind(f)
			n := collect(l, f, 1<<20)
			if n == 0 {
				t.Fatalf("%d of %d frames came", first+i, total)
			}
			for k := range n {
				if err := intact(f[k].Data); err != nil {
					t.Fatal(err)
				}
				if numberOf(f[k].Data) != first+i || len(f[k].Data) != sizes[i] {
					t.Fatalf("frame %d of %d bytes came, frame %d of %d was next",
						numberOf(f[k].Data), len(f[k].Data), first+i, sizes[i])
				}
				if f[k].Meta != (frame.Meta{}) {
					t.Fatalf("a plain frame came with %+v", f[k].Meta)
				}
				i++
			}
		}
	}
}

func collectLimits(t *testing.T, kind Kind) {
	q, peer := open(t, kind, Config{})
	l := q.Lane(0)
	fill := func() {
		for i := range uint32(8) {
			send(t, peer, numbered(i, 100))
		}
	}
	for _, c := range []struct{ room, maxBytes, want int }{
		{3, 1 << 20, 3}, // as many as there are buffers
		{8, 100, 1},     // no more than asked for
		{8, 150, 2},     // the frame that reaches the limit is the last
		{8, 200, 2},
		{8, 0, 0},
		{16, 1 << 20, 8},
	} {
		for collect(l, buffers(16, 2048), 1<<20) > 0 {
		}
		fill()
		f := buffers(c.room, 2048)
		n := l.Collect(f, c.maxBytes)
		if n != c.want {
			t.Errorf("Collect into %d buffers, %d bytes at most = %d, want %d", c.room, c.maxBytes, n, c.want)
		}
		for i := n; i < len(f); i++ {
			if len(f[i].Data) != 2048 {
				t.Errorf("Collect = %d, and buffer %d is %d bytes long now", n, i, len(f[i].Data))
			}
		}
	}
}

func collectOversize(t *testing.T, kind Kind) {
	q, peer := open(t, kind, Config{})
	l := q.Lane(0)
	for i, size := range []int{100, 300, 200, 201, 100} {
		send(t, peer, numbered(uint32(i), size))
	}
	// The backing array is larger: a lane must keep to the length it was given.
	f := buffers(8, 400)
	for i := range f {
		f[i].Data = f[i].Data[:200]
	}
	n := collect(l, f, 1<<20)
	if n != 3 || q.Stats().Oversize != 2 {
		t.Fatalf("%d frames, %d oversize, want 3 and 2", n, q.Stats().Oversize)
	}
	for i, want := range []uint32{0, 2, 4} {
		if err := intact(f[i].Data); err != nil || numberOf(f[i].Data) != want {
			t.Errorf("frame %d came, %d was next (%v)", numberOf(f[i].Data), want, err)
		}
	}
	for i := range f {
		for _, b := range f[i].Data[200:400] {
			if b != 0 {
				t.Fatal("Collect wrote behind the buffer")
			}
		}
	}
	want := queues.Stats{Oversize: 2}
	if s := q.Stats(); s != want {
		t.Errorf("counters %+v, want %+v", s, want)
	}
	if oversize, malformed := l.Lost(); oversize != 2 || malformed != 0 {
		t.Errorf("the lane says that it lost %d oversize and %d malformed frames, want 2 and 0", oversize, malformed)
	}
}

// What was collected stays as it is, whatever the container sends next.
func collectOwns(t *testing.T, kind Kind) {
	q, peer := open(t, kind, Config{})
	l := q.Lane(0)
	send(t, peer, numbered(1, 1000))
	kept := buffers(1, 2048)
	if n := collect(l, kept, 1<<20); n != 1 {
		t.Fatalf("Collect = %d", n)
	}
	other := buffers(32, 2048)
	for i := range uint32(1024) {
		send(t, peer, numbered(1000+i, 1000))
		rewind(other)
		if n := collect(l, other, 1<<20); n != 1 {
			t.Fatalf("Collect = %d", n)
		}
	}
	if err := intact(kept[0].Data); err != nil || numberOf(kept[0].Data) != 1 {
		t.Errorf("the frame that was collected first is frame %d now (%v)", numberOf(kept[0].Data), err)
	}
}

// doorbell is the race of going to sleep: whoever arms, looks once more and
// then sleeps is woken for the frame that came in between.
func doorbell(t *testing.T, kind Kind) {
	q, peer := open(t, kind, Config{})
	l := q.Lane(0)
	ring := newBell(t, l)
	const total = 5000
	var window = make(chan struct{}, kind.Window/2)
	failed := make(chan error, 1)
	go func() {
		for i := range uint32(total) {
			window <- struct{}{}
			if err := peer.Send(numbered(i, 60)); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	f := buffers(16, 2048)
	for next := uint32(0); next < total; {
		n := collectArmed(t, l, f, ring, kind.patience())
		for i := range n {
			if numberOf(f[i].Data) != next {
				t.Fatalf("frame %d came, frame %d was next", numberOf(f[i].Data), next)
			}
			next++
			<-window
		}
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

// collectArmed is how a worker's sleep begins and ends.
func collectArmed(t *testing.T, l queues.Lane, f []frame.Frame, ring *bell, patience time.Duration) int {
	t.Helper()
	look := func() int {
		rewind(f)
		return collect(l, f, 1<<20)
	}
	if n := look(); n > 0 {
		return n
	}
	l.Arm(true)
	if n := look(); n > 0 {
		l.Arm(false)
		return n
	}
	if !ring.wait(patience) {
		t.Fatalf("no doorbell within %v, and then there are %d frames", patience, look())
	}
	l.Arm(false)
	return look()
}
