package queuetest

import (
	"encoding/binary"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// lanes checks that every lane delivers, that a flow stays on one lane, and
// that many flows use all.
func lanes(t *testing.T, kind Kind) {
	const count, flows, rounds = 3, 48, 4
	q, peer := open(t, kind, Config{Lanes: count})
	got := frame.Frame{Data: make([]byte, mtu)}
	for i := range count {
		deliver(t, q.Lane(i), []frame.Frame{numbered(uint32(i), 100)}, func() { t.Fatal("full") })
		recv(t, peer, &got)
		if numberOf(got.Data) != uint32(i) {
			t.Errorf("frame %d came out of lane %d", numberOf(got.Data), i)
		}
	}
	laneOf, next := map[uint16]int{}, map[uint16]uint32{}
	for round := range uint32(rounds) {
		for flow := range uint16(flows) {
			f := tcpFrame(2000+flow, round, 40)
			f.Meta = frame.Meta{}
			send(t, peer, f)
		}
		for i := range count {
			drainFlows(t, q.Lane(i), i, laneOf, next)
		}
	}
	used := map[int]bool{}
	for flow, lane := range laneOf {
		used[lane] = true
		if next[flow] != rounds {
			t.Errorf("%d of %d frames of flow %d came", next[flow], rounds, flow)
		}
	}
	if len(laneOf) != flows || len(used) != count {
		t.Errorf("%d of %d flows came, over %d of %d lanes", len(laneOf), flows, len(used), count)
	}
}

func drainFlows(t *testing.T, l interface {
	Collect([]frame.Frame, int) int
}, lane int, laneOf map[uint16]int, next map[uint16]uint32) {
	t.Helper()
	for f := buffers(64, 2048); ; rewind(f) {
		n := l.Collect(f, 1<<20)
		if n == 0 {
			return
		}
		for _, g := range f[:n] {
			if len(g.Data) < tcpAt || binary.BigEndian.Uint16(g.Data[12:]) != 0x0800 {
				continue
			}
			flow, seq := binary.BigEndian.Uint16(g.Data[l4At:]), binary.BigEndian.Uint32(g.Data[l4At+4:])
			if before, seen := laneOf[flow]; seen && before != lane {
				t.Errorf("flow %d moved from lane %d to %d", flow, before, lane)
			}
			if seq != next[flow] {
				t.Errorf("frame %d of flow %d came, frame %d was next", seq, flow, next[flow])
			}
			laneOf[flow], next[flow] = lane, seq+1
		}
	}
}

// bothWays runs four goroutines over one lane: a slow lane's Deliver is not on
// the thread of Collect. Every frame comes, once and in order.
func bothWays(t *testing.T, kind Kind) {
	q, peer := open(t, kind, Config{})
	l := q.Lane(0)
	const total = 4000
	window := max(kind.Window/2, 1)
	out, in := make(chan struct{}, window), make(chan struct{}, window)
	var wg sync.WaitGroup
	wg.Go(func() { // the worker delivers
		for i := range uint32(total) {
			in <- struct{}{}
			f := []frame.Frame{numbered(i, 60+int(i%1400))}
			deliver(t, l, f, func() { time.Sleep(time.Millisecond) })
		}
	})
	wg.Go(func() { // the container receives
		got := frame.Frame{Data: make([]byte, 2048)}
		for i := range uint32(total) {
			got.Data = got.Data[:cap(got.Data)]
			err := peer.Recv(&got)
			if err == nil {
				err = intact(got.Data)
			}
			if err != nil || numberOf(got.Data) != i {
				t.Errorf("frame %d: %v", i, err)
			}
			<-in
		}
	})
	wg.Go(func() { // the container sends
		for i := range uint32(total) {
			out <- struct{}{}
			if err := peer.Send(numbered(i, 60+int(i%1400))); err != nil {
				t.Error(err)
			}
		}
	})
	collected := uint32(0)
	f := buffers(32, 2048)
	for deadline := time.Now().Add(kind.patience()); collected < total && time.Now().Before(deadline); rewind(f) {
		for _, g := range f[:collect(l, f, 1<<20)] {
			if err := intact(g.Data); err != nil || numberOf(g.Data) != collected {
				t.Errorf("frame %d came, frame %d was next (%v)", numberOf(g.Data), collected, err)
			}
			collected++
			<-out
		}
	}
	if collected < total {
		t.Fatalf("%d of %d frames came within %v", collected, total, kind.patience())
	}
	wg.Wait()
}

// closeUnderTraffic closes the queue while the container sends and receives.
func closeUnderTraffic(t *testing.T, kind Kind) {
	q, peer := kind.Open(t, Config{Lanes: 1, MTU: mtu})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := uint32(0); ; i++ {
			select {
			case <-stop:
				return
			default:
				_ = peer.Send(numbered(i, 100)) // refused sooner or later
			}
		}
	})
	wg.Go(func() {
		got := frame.Frame{Data: make([]byte, 2048)}
		for {
			got.Data = got.Data[:cap(got.Data)]
			if peer.Recv(&got) != nil {
				return
			}
		}
	})
	l, f := q.Lane(0), buffers(16, 2048)
	for i := range uint32(500) {
		_, _ = l.Deliver([]frame.Frame{numbered(i, 100)})
		l.Collect(f, 1<<20)
		rewind(f)
	}
	for range 2 { // the second changes nothing
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	if err := q.Remove(); err != nil {
		t.Error(err)
	}
	peer.Close()
	wg.Wait()
}

func noAllocations(t *testing.T, kind Kind) {
	q, peer := open(t, kind, Config{})
	l := q.Lane(0)
	const batch = 8
	in := make([]frame.Frame, batch)
	for i := range in {
		in[i] = numbered(uint32(i), 200)
	}
	out := buffers(batch, 2048)
	got := frame.Frame{Data: make([]byte, 2048)}
	allocs := testing.AllocsPerRun(100, func() {
		if n, _ := l.Deliver(in); n != batch {
			t.Fatal("Deliver refuses")
		}
		l.Arm(true)
		rewind(out)
		l.Collect(out, 1<<20)
		l.Arm(false)
		_, _, _ = l.MaxFrame(), l.Offloads(), q.Lanes()
	})
	if allocs != 0 {
		t.Errorf("%v allocations in Deliver and an empty Collect", allocs)
	}
	for range 100 {
		recv(t, peer, &got)
	}
	for i := range uint32(kind.Window / 2) {
		send(t, peer, numbered(i, 200))
	}
	allocs = testing.AllocsPerRun(kind.Window/2/batch-1, func() {
		rewind(out)
		l.Collect(out, 1<<20)
	})
	if allocs != 0 {
		t.Errorf("%v allocations in Collect", allocs)
	}
}

// leaks opens and closes queues and counts what is left.
func leaks(t *testing.T, kind Kind) {
	once := func() {
		q, peer := kind.Open(t, Config{Lanes: 2, MTU: mtu})
		_, _ = q.Lane(0).Deliver([]frame.Frame{numbered(1, 100)})
		_ = peer.Send(numbered(1, 100))
		q.Lane(0).Collect(buffers(1, 2048), 1<<20)
		if err := q.Remove(); err != nil {
			t.Error(err)
		}
		if err := peer.Close(); err != nil {
			t.Error(err)
		}
	}
	once() // what is made once for all is made now,
	if r, w, err := os.Pipe(); err == nil {
		r.Close() // and the runtime's poller too
		w.Close()
	}
	fds, maps, goroutines := entries(t, "/proc/self/fd"), sharedMappings(t), goleak.IgnoreCurrent()
	for range 10 {
		once()
	}
	if n := entries(t, "/proc/self/fd"); n != fds {
		t.Errorf("%d descriptors, %d before", n, fds)
	}
	if n := sharedMappings(t); n != maps {
		t.Errorf("%d shared mappings, %d before", n, maps)
	}
	if err := goleak.Find(goroutines); err != nil {
		t.Error(err)
	}
}

func entries(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func sharedMappings(t *testing.T) (n int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if perms := strings.Fields(line)[1]; strings.HasSuffix(perms, "s") {
			n++
		}
	}
	return n
}
