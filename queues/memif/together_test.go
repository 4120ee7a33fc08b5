package memif

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// alone delivers to one lane after the other, as DeliverAll need not.
func alone(d []frame.Delivery) {
	for i := range d {
		d[i].Taken, d[i].Why = d[i].Lane.(*Lane).Deliver(d[i].Frames)
	}
}

// neighbours are queues whose clients differ in all that matters to Deliver: rings
// and buffers of several sizes, and one that nobody has connected to.
type neighbours struct {
	queues  []*Queue
	clients []*raw
}

func newNeighbours(t *testing.T) (n neighbours) {
	s := newTestServer(t)
	for _, l := range []shm.Layout{
		{Rings: 1, Log2: 1, BufferSize: 2048},
		{Rings: 1, Log2: 4, BufferSize: 2048},
		{Rings: 1, Log2: 6, BufferSize: 256},
		{Rings: 1, Log2: 2, BufferSize: 100}, // a frame of 600 bytes never fits
		small().Spread(7),
	} {
		n.queues = append(n.queues, openQueue(t, s, Config{}))
		n.clients = append(n.clients, connected(t, n.queues[len(n.queues)-1], l))
	}
	n.queues = append(n.queues, openQueue(t, s, Config{}))
	return n
}

// deliveries are the same for the same dice.
func (n *neighbours) deliveries(dice *rand.Rand) (d []frame.Delivery) {
	for _, i := range dice.Perm(len(n.queues)) {
		f := make([]frame.Frame, dice.IntN(7))
		for k := range f {
			f[k].Data = numbered(dice.Uint32(), []int{14, 60, 256, 257, 600, 1518, 1519}[dice.IntN(7)])
			if dice.IntN(20) == 0 {
				f[k].GSO = frame.GSOTCPv4
			}
		}
		d = append(d, frame.Delivery{Lane: n.queues[i].lanes[0], Frames: f, Taken: 99, Why: frame.TooBig})
	}
	return d
}

// TestDeliverAllIsDeliver: the same frames, one lane after the other and all at
// once, have the same fate and look the same to the clients, who read and sleep
// as they like.
func TestDeliverAllIsDeliver(t *testing.T) {
	one, all := newNeighbours(t), newNeighbours(t)
	seed := rand.Uint64()
	a, b := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 1))
	for round := range 500 {
		x, y := one.deliveries(a), all.deliveries(b)
		alone(x)
		y[0].Lane.(*Lane).DeliverAll(y)
		for i := range x {
			if x[i].Taken != y[i].Taken || x[i].Why != y[i].Why {
				t.Fatalf("seed %d, round %d, delivery %d: %d taken (%d) alone, %d (%d) together", seed, round, i, x[i].Taken, x[i].Why, y[i].Taken, y[i].Why)
			}
		}
		if say := same(one.clients, all.clients, a, b); say != "" {
			t.Fatalf("seed %d, round %d: %s", seed, round, say)
		}
	}
}

// same has both clients of each pair take some frames, and sleep or not.
func same(one, all []*raw, a, b *rand.Rand) string {
	for i := range one {
		one[i].s2c[0].SetMasked(a.IntN(2) == 0)
		all[i].s2c[0].SetMasked(b.IntN(2) == 0)
		b.IntN(8)
		for range a.IntN(8) {
			x, ok1 := one[i].take(0)
			y, ok2 := all[i].take(0)
			if ok1 != ok2 || !bytes.Equal(x, y) {
				return fmt.Sprintf("client %d takes %x (%v) alone, %x (%v) together", i, x, ok1, y, ok2)
			}
		}
	}
	return ""
}

// TestDeliverAllRings: a client that sleeps is woken, one that polls is not.
func TestDeliverAllRings(t *testing.T) {
	n := newNeighbours(t)
	sleeper, poller := n.clients[1], n.clients[4]
	poller.s2c[0].SetMasked(true)
	d := []frame.Delivery{
		{Lane: n.queues[1].lanes[0], Frames: []frame.Frame{{Data: numbered(1, 60)}}},
		{Lane: n.queues[4].lanes[0], Frames: []frame.Frame{{Data: numbered(2, 60)}}},
	}
	n.queues[1].lanes[0].DeliverAll(d)
	if d[0].Taken != 1 || d[1].Taken != 1 {
		t.Fatalf("taken: %+v", d)
	}
	eventually(t, "the sleeper's doorbell rings", func() bool { return rang(sleeper.s2c[0].bell) })
	if rang(poller.s2c[0].bell) {
		t.Error("the poller's doorbell rang")
	}
}

func rang(fd int) bool {
	var count [8]byte
	n, err := unix.Preadv2(fd, [][]byte{count[:]}, -1, unix.RWF_NOWAIT)
	return err == nil && n == 8
}

// TestDeliverAllBesideLiars: clients that lie, and one whose memory is gone, are
// sent away; whoever stands before and behind them in the batch gets everything.
func TestDeliverAllBesideLiars(t *testing.T) {
	for name, c := range map[string]struct {
		says string
		do   func(*testing.T, *raw)
	}{
		"memory withdrawn": {"taken away", func(t *testing.T, r *raw) {
			if err := unix.Ftruncate(r.file, 0); err != nil {
				t.Fatal(err)
			}
		}},
		"buffer outside": {"outside", func(_ *testing.T, r *raw) {
			r.s2c[0].SetDesc(0, shm.Desc{Length: 2048, Offset: uint32(r.layout.Size())})
		}},
		"no such region": {"outside", func(_ *testing.T, r *raw) {
			r.s2c[0].SetDesc(0, shm.Desc{Region: 9, Length: 2048})
		}},
		"index beyond": {"ring", func(_ *testing.T, r *raw) { r.s2c[0].SetHead(1000) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestServer(t)
			var d []frame.Delivery
			var clients []*raw
			for i := range 5 {
				q := openQueue(t, s, Config{AllowUnsealed: true})
				r := newUnsealed(t)
				if err := r.connect(q.SocketPath()); err != nil {
					t.Fatal(err)
				}
				clients = append(clients, r)
				d = append(d, frame.Delivery{Lane: q.lanes[0], Frames: []frame.Frame{{Data: numbered(uint32(i), 60)}, {Data: numbered(uint32(i)+100, 900)}}})
			}
			c.do(t, clients[1])
			c.do(t, clients[3])
			d[0].Lane.(*Lane).DeliverAll(d)
			for i, r := range clients {
				if i%2 == 1 {
					if d[i].Taken != 0 || d[i].Why != frame.Gone {
						t.Errorf("liar %d: %d taken (%d)", i, d[i].Taken, d[i].Why)
					}
					isDismissed(t, r, c.says)
					continue
				}
				x, _ := r.take(0)
				y, _ := r.take(0)
				if d[i].Taken != 2 || d[i].Why != frame.Accepted || !bytes.Equal(x, d[i].Frames[0].Data) || !bytes.Equal(y, d[i].Frames[1].Data) {
					t.Errorf("neighbour %d: %d taken (%d), %x %x", i, d[i].Taken, d[i].Why, x, y)
				}
			}
		})
	}
}

// TestDeliverAllWhileClientsComeAndGo: no worker touches memory that has been
// taken back, which would be a fault that nobody survives.
func TestDeliverAllWhileClientsComeAndGo(t *testing.T) {
	s := newTestServer(t)
	var d []frame.Delivery
	var clients sync.WaitGroup
	var stop atomic.Bool
	for i := range 4 {
		q := openQueue(t, s, Config{})
		d = append(d, frame.Delivery{Lane: q.lanes[0], Frames: []frame.Frame{{Data: numbered(uint32(i), 60)}}})
		clients.Go(func() {
			for n := 0; n < 50 && !t.Failed(); n++ {
				comeAndGo(t, q)
			}
		})
	}
	taken, worker := 0, make(chan struct{})
	go func() {
		defer close(worker)
		for !stop.Load() {
			d[0].Lane.(*Lane).DeliverAll(d)
			for i := range d {
				taken += d[i].Taken
			}
		}
	}()
	clients.Wait()
	stop.Store(true)
	<-worker
	if taken == 0 {
		t.Error("nothing was ever taken")
	}
}

func comeAndGo(t *testing.T, q *Queue) {
	r, err := newRaw(small())
	if err != nil {
		t.Error(err)
		return
	}
	defer r.close()
	if err := r.connect(q.SocketPath()); err != nil {
		t.Error(err)
		return
	}
	for end := time.Now().Add(2 * time.Millisecond); time.Now().Before(end); {
		r.take(0)
	}
	if err := r.leave(); err != nil {
		t.Error(err)
	}
	eventually(t, "the client is gone", func() bool { return !isConnected(q) })
}

// TestLiarIsLeftAlone: once a client was caught its memory is not looked at any
// more, also before the server has sent it away, and though it made amends.
func TestLiarIsLeftAlone(t *testing.T) {
	x := newLocal(t, 4)
	x.sender.ring.SetDesc(0, shm.Desc{Region: 7, Length: 60})
	x.sender.ring.SetHead(4)
	one := []frame.Frame{{Data: numbered(1, 60)}}
	if n, why := x.lane.Deliver(one); n != 0 || why != frame.Gone {
		t.Fatalf("%d taken (%d) by a client without that region", n, why)
	}
	x.sender.ring.SetDesc(0, shm.Desc{Length: 60, Offset: 4096})
	d := []frame.Delivery{{Lane: x.lane, Frames: one}}
	x.lane.DeliverAll(d)
	if n, why := x.lane.Deliver(one); n != 0 || why != frame.Gone || d[0].Taken != 0 || d[0].Why != frame.Gone {
		t.Errorf("%d taken (%d), together %d (%d)", n, why, d[0].Taken, d[0].Why)
	}
	if x.sender.ring.Tail() != 0 {
		t.Error("its ring was written to")
	}
}
