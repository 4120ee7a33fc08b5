package memif

import (
	"runtime/debug"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// DeliverAll is described at demux.Courier. It goes over all lanes in steps, each
// of which needs what the one before has waited for: the ring's index, the next
// descriptor, the buffer. So the processor waits for the memory of many clients
// side by side, and there are two barriers for all of them in place of two for
// each.
func (l *Lane) DeliverAll(d []frame.Delivery) {
	r := round{d: d}
	for i := range d {
		r.out(i).knock()
	}
	shm.Barrier()
	r.each(stepLook)
	r.each(stepTouch)
	r.ahead.Fetch()
	r.each(stepFill)
	shm.Barrier()
	r.each(stepAnnounce)
	r.ring()
	for i := range d {
		r.out(i).leave()
	}
}

// round is one call of DeliverAll.
type round struct {
	d     []frame.Delivery
	at    int // how far the step is
	ahead shm.Ahead
	bells [maxBells]*doorbell // to be rung, all of one server
	count int
}

type step uint8

const (
	stepLook step = iota
	stepTouch
	stepFill
	stepAnnounce
)

func (r *round) out(i int) *outlet { return &r.d[i].Lane.(*Lane).out }

// each does one step for every delivery, also where some client's memory is gone.
func (r *round) each(s step) {
	for r.at = 0; r.at < len(r.d); r.at++ {
		r.try(s)
	}
}

// try goes on with a step, to the end or to a client whose memory is gone: that
// one gets nothing.
func (r *round) try(s step) {
	defer func(before bool) {
		debug.SetPanicOnFault(before)
		if caught := recover(); caught != nil {
			o := r.out(r.at)
			if !faultIn(o.s.client.shake.regions, caught) {
				panic(caught)
			}
			r.d[r.at].Taken, r.d[r.at].Why = 0, o.lie(memoryWithdrawn)
		}
	}(debug.SetPanicOnFault(true))
	switch s {
	case stepLook:
		r.look()
	case stepTouch:
		r.touch()
	case stepFill:
		r.fill()
	case stepAnnounce:
		r.announce()
	}
}

// look says that nothing is taken yet, and reads the client's index where that is
// needed.
func (r *round) look() {
	for ; r.at < len(r.d); r.at++ {
		o := r.out(r.at)
		r.d[r.at].Taken, r.d[r.at].Why = 0, frame.Gone
		if len(r.d[r.at].Frames) == 0 {
			r.d[r.at].Why = frame.Accepted
		}
		if o.admitted() && o.next == o.head {
			_ = o.look() // put says why there is no room
		}
	}
}

// touch reads the descriptor of the buffer that the first frame will go to.
// Nothing of it is believed: put looks again.
func (r *round) touch() {
	for ; r.at < len(r.d); r.at++ {
		if o := r.out(r.at); o.admitted() && o.next != o.head {
			if room, ok := o.at(o.ring.Desc(o.next)); ok {
				r.ahead.Add(room)
			}
		}
	}
}

func (r *round) fill() {
	for ; r.at < len(r.d); r.at++ {
		if o := r.out(r.at); o.admitted() {
			r.d[r.at].Taken, r.d[r.at].Why = o.fill(r.d[r.at].Frames)
		}
	}
}

func (r *round) announce() {
	for ; r.at < len(r.d); r.at++ {
		if r.d[r.at].Taken > 0 {
			r.later(r.out(r.at).unannounced())
		}
	}
}

// later has b rung, if there is one, together with others.
func (r *round) later(b *doorbell) {
	if b == nil {
		return
	}
	if r.count == maxBells || r.count > 0 && r.bells[0].client.server != b.client.server {
		r.ring()
	}
	r.bells[r.count] = b
	r.count++
}

// ring rings what waits for it.
func (r *round) ring() {
	if r.count > 0 {
		r.bells[0].client.server.ring(r.bells[:r.count])
		r.count = 0
	}
}
