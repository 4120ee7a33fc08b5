package memif

import (
	"runtime/debug"
	"sync/atomic"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// Lane is the worker's half; see queues.Lane for who may call what. It outlives
// the clients that come and go.
type Lane struct {
	out outlet // first, so that it is one cache line: Deliver may run on another thread

	in    gate[receiver]
	armed bool // what Arm last asked for; belongs to the thread of Collect and Arm

	clients uint32 // that have connected, of Server.mu

	maxFrame            int
	oversize, malformed atomic.Uint64 // written by Collect alone
	fd                  atomic.Int32
}

var _ queues.Lane = (*Lane)(nil)

func newLane(maxFrame int) *Lane {
	l := &Lane{maxFrame: maxFrame, armed: true}
	l.fd.Store(-1)
	return l
}

// MaxFrame is described at queues.Lane.
func (l *Lane) MaxFrame() int { return l.maxFrame }

// Offloads is described at queues.Lane: a memif client finishes nothing.
func (l *Lane) Offloads() frame.Offload { return 0 }

// Stats are the lane's counters.
func (l *Lane) Stats() queues.Stats {
	return queues.Stats{Oversize: l.oversize.Load(), Malformed: l.malformed.Load()}
}

// Lost is described at queues.Lane.
func (l *Lane) Lost() (oversize, malformed uint64) { return l.oversize.Load(), l.malformed.Load() }

// Fd is the doorbell of the client that is connected, for an edge-triggered
// epoll on readability; nobody needs to read it. It is -1 while there is none,
// and closed when the client leaves: Queue.Watch tells when.
func (l *Lane) Fd() int { return int(l.fd.Load()) }

// Deliver is described at queues.Lane. Gone means that no client is connected.
func (l *Lane) Deliver(f []frame.Frame) (n int, why frame.Refusal) {
	if len(f) == 0 {
		return 0, frame.Accepted
	}
	o := &l.out
	o.knock()
	defer o.leave()
	shm.Barrier()
	if !o.admitted() {
		return 0, frame.Gone
	}
	why = frame.Gone // where the client's memory is gone as well
	defer o.s.client.survive(debug.SetPanicOnFault(true))
	took, refused := o.fill(f)
	if took > 0 {
		shm.Barrier()
		if b := o.unannounced(); b != nil {
			o.s.client.server.ring([]*doorbell{b})
		}
	}
	return took, refused
}

// Collect is described at queues.Lane.
func (l *Lane) Collect(f []frame.Frame, maxBytes int) int {
	r := l.in.enter()
	if r == nil {
		return 0
	}
	defer l.in.leave()
	r.taken = 0
	l.collect(r, f, maxBytes)
	return r.taken
}

func (l *Lane) collect(r *receiver, f []frame.Frame, maxBytes int) {
	defer r.client.survive(debug.SetPanicOnFault(true))
	r.collect(f, maxBytes)
}

// Arm is described at queues.Lane. A lane is born armed.
func (l *Lane) Arm(on bool) {
	l.armed = on
	r := l.in.enter()
	if r == nil {
		return
	}
	defer l.in.leave()
	defer r.client.survive(debug.SetPanicOnFault(true))
	r.arm(on)
}
