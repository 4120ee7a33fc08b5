package queuetest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
	"github.com/xdpdemux/xdpdemux/queues/inproc"
	"github.com/xdpdemux/xdpdemux/queues/queuetest"
)

// faultEnv names the fault that a child process is to have.
const faultEnv = "QUEUETEST_FAULT"

// faults are wrong queues, and the part of the suite that must find each.
var faults = []struct{ fault, found string }{
	{"", ""}, // none: the suite passes
	{"reorder", "deliver order and bytes"},
	{"corrupt", "deliver order and bytes"},
	{"retain", "deliver retains nothing"},
	{"truncate what is too big", "deliver refuses what is too big"},
	{"count the refused one as taken", "deliver refuses what is too big"},
	{"drop when full", "deliver says full"},
	{"say full when gone", "deliver says gone"},
	{"confuse neighbours", "deliver to many at once"},
	{"say taken for all", "deliver to many at once"},
	{"forget what was refused", "deliver to many at once"},
	{"count what was not lost", "deliver and collect nothing"},
	{"collect in another order", "collect order and bytes"},
	{"collect without limit", "collect keeps to its limits"},
	{"yield oversize", "collect counts what is oversize"},
	{"do not count oversize", "collect counts what is oversize"},
	{"do not tell of losses", "collect counts what is oversize"},
	{"yield our own memory", "what is collected is ours"},
	{"do not arm", "no doorbell is lost"},
	{"cut super-frames", "a super-frame passes whole"},
	{"forget meta", "a partial checksum passes"},
	{"move flows", "lanes keep flows together"},
	{"lose one in a thousand", "both directions at once"},
	{"close twice", "close under traffic"},
	{"allocate", "no allocations"},
	{"leak a descriptor", "nothing is left behind"},
	{"leak a goroutine", "nothing is left behind"},
}

// Each wrong queue is found, by the part of the suite that is about it.
func TestEveryFaultIsFound(t *testing.T) {
	for _, f := range faults {
		t.Run(f.fault, func(t *testing.T) {
			part := strings.ReplaceAll(f.found, " ", "_")
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWithFault$/^"+part)
			cmd.Env = append(os.Environ(), faultEnv+"="+f.fault, "QUEUETEST_CHILD=1")
			out, err := cmd.CombinedOutput()
			var failed *exec.ExitError
			if err != nil && !errors.As(err, &failed) {
				t.Fatal(err)
			}
			if f.fault == "" {
				if err != nil {
					t.Errorf("the suite fails a queue without fault:\n%s", out)
				}
				return
			}
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestWithFault/"+part) {
				t.Errorf("%q did not find it (%v):\n%s", f.found, err, out)
			}
		})
	}
}

func TestWithFault(t *testing.T) {
	if os.Getenv("QUEUETEST_CHILD") == "" {
		t.Skip("runs in a child process of TestEveryFaultIsFound")
	}
	fault := os.Getenv(faultEnv)
	const slots = 1024
	queuetest.Run(t, queuetest.Kind{
		Open: func(t testing.TB, cfg queuetest.Config) (queues.Queue, queuetest.Peer) {
			c := inproc.Config{Lanes: cfg.Lanes, Slots: slots, MaxFrame: cfg.MTU + 14, EventFD: true}
			if cfg.GSO {
				c.Slots, c.MaxFrame = 16, inproc.MaxFrame
				c.Offloads = frame.OffloadChecksum | frame.OffloadTCPv4 | frame.OffloadTCPv6
			}
			q, err := inproc.Open(c)
			if err != nil {
				t.Fatal(err)
			}
			return newFaulty(q, fault)
		},
		Capacity: slots, Window: slots, GSO: true, Patience: patienceWith(fault),
	})
}

// patienceWith is how long the suite waits: short where a fault is to be found,
// of which some show by a frame that never comes, long where nothing may fail,
// however busy the machine.
func patienceWith(fault string) time.Duration {
	if fault == "" {
		return 20 * time.Second
	}
	return 2 * time.Second
}

// faultyQueue is a queue with one fault, faultyLane its only interesting part,
// and faultyPeer a right container but for the faults that show there.
type (
	faultyQueue struct {
		*inproc.Queue
		fault  string
		lanes  []*faultyLane
		closed int
	}
	faultyLane struct {
		*inproc.Lane
		fault   string
		pending []frame.Frame
		own     []byte
		calls   int
		sink    []byte
	}
	faultyPeer struct {
		q     *faultyQueue
		turns int
		ctx   context.Context
		end   func()
	}
)

func newFaulty(q *inproc.Queue, fault string) (queues.Queue, queuetest.Peer) {
	fq := &faultyQueue{Queue: q, fault: fault}
	for i := range q.Lanes() {
		fq.lanes = append(fq.lanes, &faultyLane{Lane: q.Lane(i).(*inproc.Lane), fault: fault, own: make([]byte, 1<<16)})
	}
	switch fault {
	case "leak a descriptor":
		_, _ = unix.Eventfd(0, 0)
	case "leak a goroutine":
		go func() { select {} }()
	}
	p := &faultyPeer{q: fq}
	p.ctx, p.end = context.WithCancel(context.Background())
	return fq, p
}

func (q *faultyQueue) Lane(i int) queues.Lane { return q.lanes[i] }

func (q *faultyQueue) Close() error {
	if q.closed++; q.fault == "close twice" && q.closed > 1 {
		return errors.New("closed already")
	}
	return q.Queue.Close()
}

func (q *faultyQueue) Stats() queues.Stats {
	s := q.Queue.Stats()
	switch q.fault {
	case "do not count oversize":
		s.Oversize = 0
	case "count what was not lost":
		s.Malformed++
	}
	return s
}

func (l *faultyLane) Deliver(f []frame.Frame) (int, frame.Refusal) {
	l.calls++
	switch l.fault {
	case "reorder":
		if len(f) > 1 {
			f = append([]frame.Frame{f[1], f[0]}, f[2:]...)
		}
	case "corrupt":
		if len(f) > 0 && len(f[0].Data) > 30 {
			f[0].Data[29] ^= 1
			defer func(b []byte) { b[29] ^= 1 }(f[0].Data)
		}
	case "retain":
		l.pending = append(l.pending, f...)
		return len(f), frame.Accepted
	case "allocate":
		l.sink = make([]byte, 10)
	case "lose one in a thousand":
		if l.calls%1000 == 999 {
			return len(f), frame.Accepted
		}
	case "truncate what is too big", "cut super-frames":
		f = l.cut(f)
	case "forget meta":
		for i := range f {
			f[i].Meta = frame.Meta{}
		}
	}
	return l.answer(l.Lane.Deliver(f))
}

// DeliverAll is Deliver of each.
func (l *faultyLane) DeliverAll(d []frame.Delivery) {
	if l.fault == "confuse neighbours" {
		d[0].Lane, d[2].Lane = d[2].Lane, d[0].Lane
	}
	for i := range d {
		d[i].Taken, d[i].Why = d[i].Lane.(*faultyLane).Deliver(d[i].Frames)
		switch {
		case l.fault == "say taken for all" && i > 0:
			d[i].Taken, d[i].Why = d[0].Taken, d[0].Why
		case l.fault == "forget what was refused" && d[i].Why == frame.TooBig:
			d[i].Frames[d[i].Taken], d[i].Frames[len(d[i].Frames)-1] = d[i].Frames[len(d[i].Frames)-1], d[i].Frames[d[i].Taken]
		}
	}
}

// cut makes frames smaller that it should not.
func (l *faultyLane) cut(f []frame.Frame) []frame.Frame {
	f = append([]frame.Frame(nil), f...)
	for i := range f {
		if size := min(len(f[i].Data), l.MaxFrame()); l.fault == "truncate what is too big" {
			f[i].Data = f[i].Data[:size]
		} else if f[i].GSO != frame.GSONone {
			f[i].Data = f[i].Data[:1400]
		}
	}
	return f
}

// answer is what Deliver says of what it did.
func (l *faultyLane) answer(n int, why frame.Refusal) (int, frame.Refusal) {
	switch {
	case l.fault == "count the refused one as taken" && why == frame.TooBig:
		return n + 1, why
	case l.fault == "drop when full" && why == frame.Full:
		return n + 5, frame.Accepted
	case l.fault == "say full when gone" && why == frame.Gone:
		return n, frame.Full
	}
	return n, why
}

func (l *faultyLane) Collect(f []frame.Frame, maxBytes int) int {
	if l.fault == "collect without limit" {
		maxBytes = 1 << 30
	}
	var lengths []int
	if l.fault == "yield oversize" {
		lengths = make([]int, len(f))
		for i := range f {
			lengths[i] = len(f[i].Data)
			f[i].Data = f[i].Data[:cap(f[i].Data)]
		}
	}
	n := l.Lane.Collect(f, maxBytes)
	switch {
	case l.fault == "yield oversize":
		for i := range f {
			f[i].Data = f[i].Data[:min(len(f[i].Data), lengths[i])]
		}
	case l.fault == "collect in another order" && n > 1:
		f[0], f[1] = f[1], f[0]
	case l.fault == "yield our own memory" && n > 0:
		f[0].Data = l.own[:copy(l.own, f[0].Data)]
	}
	return n
}

func (l *faultyLane) Lost() (oversize, malformed uint64) {
	if l.fault == "do not tell of losses" {
		return 0, 0
	}
	return l.Lane.Lost()
}

func (l *faultyLane) Arm(on bool) {
	if l.fault != "do not arm" {
		l.Lane.Arm(on)
	}
}

func (p *faultyPeer) Send(f frame.Frame) error {
	lane := 0
	if len(f.Data) > 36 && f.Data[12] == 0x08 {
		if lane = int(binary.BigEndian.Uint16(f.Data[34:])) % p.q.Lanes(); p.q.fault == "move flows" {
			p.turns++
			lane = p.turns * 7 / 5 % p.q.Lanes()
		}
	}
	if n, why := p.q.Endpoint(lane).Write([]frame.Frame{f}); n != 1 {
		return fmt.Errorf("refused: %d", why)
	}
	return nil
}

func (p *faultyPeer) Recv(f *frame.Frame) error {
	one := []frame.Frame{*f}
	for i, l := range p.q.lanes {
		for _, late := range l.pending {
			_, _ = l.Lane.Deliver([]frame.Frame{late})
		}
		l.pending = nil
		if p.q.Endpoint(i).Read(one) == 1 {
			*f = one[0]
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(p.ctx, patienceWith(p.q.fault))
	defer cancel()
	_, err := p.q.Endpoint(0).ReadContext(ctx, one)
	*f = one[0]
	return err
}

func (p *faultyPeer) Leave() error {
	for i := range p.q.Lanes() {
		p.q.Endpoint(i).Close()
	}
	return nil
}

func (p *faultyPeer) Return() error { return errors.New("no") }
func (p *faultyPeer) Close() error  { p.end(); return nil }
