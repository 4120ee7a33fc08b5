package demuxtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// notes is a Reporter that a test reads.
type notes []string

func (n *notes) Errorf(format string, args ...any) { *n = append(*n, fmt.Sprintf(format, args...)) }

func (n *notes) want(t *testing.T, what ...string) {
	t.Helper()
	if len(*n) != len(what) {
		t.Fatalf("reported %q, want %q", *n, what)
	}
	for i, w := range what {
		if !strings.Contains((*n)[i], w) {
			t.Errorf("reported %q, want %q", (*n)[i], w)
		}
	}
}

// TestLinkReports breaks each rule of a Link once.
func TestLinkReports(t *testing.T) {
	reserve := func(l *Link, n int) []frame.Frame {
		f := make([]frame.Frame, n)
		return f[:l.Reserve(f, 100)]
	}
	for name, c := range map[string]struct {
		do   func(*Link)
		want []string
	}{
		"nothing": {func(l *Link) {
			f := reserve(l, 3)
			l.Commit([]frame.Frame{{Data: f[1].Data[4:50]}, {Data: f[0].Data}})
		}, nil},
		"foreign buffer":  {func(l *Link) { reserve(l, 1); l.Commit([]frame.Frame{{Data: make([]byte, 60)}}) }, []string{"not reserved"}},
		"twice":           {func(l *Link) { f := reserve(l, 1); l.Commit([]frame.Frame{f[0], f[0]}) }, []string{"or twice"}},
		"after a commit":  {func(l *Link) { f := reserve(l, 2); l.Commit(f[:1]); l.Commit(f[1:]) }, []string{"not reserved"}},
		"empty":           {func(l *Link) { f := reserve(l, 1); f[0].Data = f[0].Data[:0]; l.Commit(f) }, []string{"empty"}},
		"recv twice":      {func(l *Link) { l.Arrive([]byte{1}); f := make([]frame.Frame, 1); l.Recv(f); l.Recv(f) }, []string{"Recv before Release"}},
		"never released":  {func(l *Link) { l.Arrive([]byte{1}); l.Recv(make([]frame.Frame, 1)); l.Idle() }, []string{"never released"}},
		"never committed": {func(l *Link) { reserve(l, 2); l.Idle() }, []string{"2 buffers were never given back"}},
		"given back":      {func(l *Link) { reserve(l, 2); l.Commit(nil); l.Idle() }, nil},
		"more than it is": {func(l *Link) { l.SetRoom(1); f := reserve(l, 5); l.Commit(f); l.Commit(reserve(l, 1)) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var n notes
			c.do(NewLink(&n, nil))
			n.want(t, c.want...)
		})
	}
}

// TestLinkPoisons is bytes that somebody kept after they were given back.
func TestLinkPoisons(t *testing.T) {
	var n notes
	l := NewLink(&n, nil)
	l.Arrive([]byte{1, 2, 3})
	f := make([]frame.Frame, 2)
	l.Recv(f)
	kept := f[0].Data
	l.Release()
	if kept[0] != Poison || kept[2] != Poison {
		t.Errorf("a released frame holds % x", kept)
	}
	l.Reserve(f, 10)
	kept, sent := f[1].Data, f[0].Data
	l.Commit(f[:1])
	if kept[0] != Poison || sent[0] != Poison {
		t.Errorf("after Commit the buffers hold % x and % x", kept, sent)
	}
	if got := l.Sent(); len(got) != 1 || len(got[0]) != 10 || got[0][0] == Poison {
		t.Errorf("sent % x", got)
	}
	n.want(t)
}

// TestLaneReports breaks each rule of a Lane once.
func TestLaneReports(t *testing.T) {
	var n notes
	l := NewLane(&n, nil, LaneConfig{})
	l.Close()
	l.Deliver([]frame.Frame{{Data: []byte{1}}})
	l.Collect(nil, 0)
	l.Arm(true)
	n.want(t, "Deliver after", "during Deliver", "Collect after", "during Collect", "Arm after", "during Arm")
}

// TestLaneTwoAtATime is a Deliver within a Deliver.
func TestLaneTwoAtATime(t *testing.T) {
	var n notes
	var l *Lane
	l = NewLane(&n, nil, LaneConfig{Take: func(f *frame.Frame) {
		if len(f.Data) == 2 {
			l.Deliver([]frame.Frame{{Data: []byte{1}}})
		}
	}})
	l.Deliver([]frame.Frame{{Data: []byte{1, 2}}})
	n.want(t, "two at a time")
}

// TestLaneCopies holds a lane's own promise: it keeps nothing that it was lent.
func TestLaneCopies(t *testing.T) {
	l := NewLane(t, nil, LaneConfig{})
	in := []byte{1, 2, 3}
	l.Deliver([]frame.Frame{{Data: in}})
	l.Send(in)
	poison(in)
	if got := l.Got(); got[0].Data[0] != 1 {
		t.Errorf("delivered: % x", got[0].Data)
	}
	f := []frame.Frame{{Data: make([]byte, 10)}}
	if n := l.Collect(f, 100); n != 1 || len(f[0].Data) != 3 || f[0].Data[0] != 1 {
		t.Errorf("collected %d: % x", n, f[0].Data)
	}
}

// TestLaneRefuses is a lane's refusals and its doorbell.
func TestLaneRefuses(t *testing.T) {
	rings := 0
	l := NewLane(t, func() { rings++ }, LaneConfig{Depth: 2, MaxFrame: 5})
	one, long := frame.Frame{Data: []byte{1}}, frame.Frame{Data: make([]byte, 6)}
	if n, why := l.Deliver([]frame.Frame{one, long}); n != 1 || why != frame.TooBig {
		t.Errorf("%d, %v", n, why)
	}
	if n, why := l.Deliver([]frame.Frame{one, one}); n != 1 || why != frame.Full {
		t.Errorf("%d, %v", n, why)
	}
	l.SetGone(true)
	if n, why := l.Deliver([]frame.Frame{one}); n != 0 || why != frame.Gone {
		t.Errorf("%d, %v", n, why)
	}
	l.Send([]byte{1})
	l.Arm(true)
	l.Send([]byte{2}, make([]byte, 20))
	if rings != 1 {
		t.Errorf("the doorbell rang %d times", rings)
	}
	f := []frame.Frame{{Data: make([]byte, 10)}, {Data: make([]byte, 10)}, {Data: make([]byte, 10)}}
	if n := l.Collect(f, 100); n != 2 || l.Oversize() != 1 || l.Queued() != 0 {
		t.Errorf("collected %d, %d too large", n, l.Oversize())
	}
}

// TestWaiter is a doorbell that is heard once, and a Wake that is not lost.
func TestWaiter(t *testing.T) {
	w := NewWaiter()
	w.Ring(7)
	w.Ring(8)
	ready := make([]uint32, 1)
	if n := w.Wait(ready, -1); n != 1 || ready[0] != 7 {
		t.Errorf("%d: %v", n, ready)
	}
	if n := w.Wait(ready, -1); n != 1 || ready[0] != 8 {
		t.Errorf("%d: %v", n, ready)
	}
	w.Wake()
	if n := w.Wait(ready, -1); n != 0 {
		t.Errorf("%d: %v", n, ready)
	}
	if n := w.Wait(ready, 0) + w.Wait(ready, time.Millisecond); n != 0 || w.Sleeps() != 4 {
		t.Errorf("%d: %v, %d sleeps", n, ready, w.Sleeps())
	}
}
