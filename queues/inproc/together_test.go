package inproc_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/inproc"
)

// unlike are queues that differ in all that matters to Deliver: one slot and many,
// a program that takes frames by a function and one that has left.
func unlike(t *testing.T) (all []*inproc.Queue) {
	for _, cfg := range []inproc.Config{
		{Slots: 1}, {Slots: 4}, {Slots: 64, MaxFrame: 9000}, {Slots: 4, Offloads: frame.OffloadTCPv4},
		{Receive: func(_ int, f []frame.Frame) int { return len(f) / 2 }}, {Slots: 8},
	} {
		all = append(all, mustOpen(t, cfg))
	}
	all[len(all)-1].Endpoint(0).Close()
	return all
}

// TestDeliverAllIsDeliver: the same frames, one lane after the other and all at
// once, have the same fate and look the same to the programs.
func TestDeliverAllIsDeliver(t *testing.T) {
	one, all := unlike(t), unlike(t)
	for round := range 2000 {
		x := make([]frame.Delivery, len(one))
		y := make([]frame.Delivery, len(all))
		for i := range one {
			f := make([]frame.Frame, rand.IntN(6))
			for k := range f {
				f[k] = frameOf(rand.Uint32(), []int{14, 60, 1518, 1519, 9000, 9001}[rand.IntN(6)])
				if rand.IntN(20) == 0 {
					f[k].GSO = frame.GSOTCPv4
				}
			}
			x[i] = frame.Delivery{Lane: one[i].Lane(0), Frames: f}
			y[i] = frame.Delivery{Lane: all[i].Lane(0), Frames: f, Taken: 9, Why: frame.TooBig}
			x[i].Taken, x[i].Why = one[i].Lane(0).Deliver(f)
		}
		y[0].Lane.(*inproc.Lane).DeliverAll(y)
		for i := range x {
			if x[i].Taken != y[i].Taken || x[i].Why != y[i].Why {
				t.Fatalf("round %d, lane %d: %d taken (%d) alone, %d (%d) together", round, i, x[i].Taken, x[i].Why, y[i].Taken, y[i].Why)
			}
			if i < 4 {
				sameFrames(t, one[i], all[i], rand.IntN(8))
			}
		}
	}
}

// sameFrames has both programs take up to n frames.
func sameFrames(t *testing.T, one, all *inproc.Queue, n int) {
	t.Helper()
	a, b := buffers(n, 9000), buffers(n, 9000)
	a, b = a[:one.Endpoint(0).Read(a)], b[:all.Endpoint(0).Read(b)]
	if len(a) != len(b) {
		t.Fatalf("%d frames alone, %d together", len(a), len(b))
	}
	for i := range a {
		if !bytes.Equal(a[i].Data, b[i].Data) || a[i].Meta != b[i].Meta {
			t.Fatalf("frame %d: %x alone, %x together", i, a[i].Data, b[i].Data)
		}
	}
}
