package queuetest

import (
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
)

// togetherFrames is how many frames each queue gets at once.
const togetherFrames = 5

// together delivers to several queues in one call: everybody gets his own, in
// order, beside one whose container is gone and one that is offered a frame that
// is too big.
func together(t *testing.T, kind Kind) {
	const n, gone, picky = 6, 1, 4
	d, peers := make([]frame.Delivery, n), make([]Peer, n)
	for i := range d {
		var q queues.Queue
		q, peers[i] = open(t, kind, Config{})
		d[i].Lane = q.Lane(0)
	}
	courier, ok := d[0].Lane.(interface{ DeliverAll([]frame.Delivery) })
	if !ok {
		t.Skip("this kind delivers to one lane at a time")
	}
	if err := peers[gone].Leave(); err != nil {
		t.Fatal(err)
	}
	for round := range uint32(8) {
		for i := range d {
			d[i] = frame.Delivery{Lane: d[i].Lane, Frames: nextFive(round, uint32(i)), Taken: 77, Why: frame.Full}
		}
		d[picky].Frames[2] = numbered(0, d[picky].Lane.(queues.Lane).MaxFrame()+1)
		courier.DeliverAll(d)
		for i := range d {
			switch o := &d[i]; {
			case i == gone:
				if o.Taken != 0 || o.Why != frame.Gone {
					t.Fatalf("of %d frames for nobody %d were taken: %d", togetherFrames, o.Taken, o.Why)
				}
			case i == picky:
				pickyFive(t, o, peers[i], round, uint32(i))
			case o.Taken != togetherFrames || o.Why != frame.Accepted:
				t.Fatalf("queue %d took %d of %d frames: %d", i, o.Taken, togetherFrames, o.Why)
			default:
				recvFive(t, peers[i], round, uint32(i), nil)
			}
		}
	}
}

func nextFive(round, queue uint32) []frame.Frame {
	f := make([]frame.Frame, togetherFrames)
	for k := range uint32(togetherFrames) {
		f[k] = numbered(100*round+10*queue+k, minLen+int(round*97+queue*31+k*7)%1000)
	}
	return f
}

// pickyFive goes on behind a frame that was refused: it stands first among those
// that were not taken.
func pickyFive(t *testing.T, o *frame.Delivery, peer Peer, round, queue uint32) {
	t.Helper()
	l := o.Lane.(queues.Lane)
	if o.Why != frame.TooBig || o.Taken < 2 || o.Taken >= togetherFrames || len(o.Frames[o.Taken].Data) <= l.MaxFrame() {
		t.Fatalf("with a frame that is too big in the middle %d were taken: %d", o.Taken, o.Why)
	}
	deliver(t, l, o.Frames[o.Taken+1:], func() { t.Fatal("full") })
	recvFive(t, peer, round, queue, map[uint32]bool{2: true})
}

// recvFive receives the frames of one round, but for those that are left out.
func recvFive(t *testing.T, peer Peer, round, queue uint32, out map[uint32]bool) {
	t.Helper()
	got := frame.Frame{Data: make([]byte, mtu+headerLen)}
	for k := range uint32(togetherFrames) {
		if out[k] {
			continue
		}
		recv(t, peer, &got)
		if n, want := numberOf(got.Data), 100*round+10*queue+k; n != want {
			t.Fatalf("queue %d got frame %d, frame %d was next", queue, n, want)
		}
	}
}
