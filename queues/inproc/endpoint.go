package inproc

import (
	"context"
	"errors"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// ErrClosed: the queue or the endpoint was closed, and nothing is left to read.
var ErrClosed = errors.New("the in-process queue is closed")

// Endpoint is the program's half of a lane. Reading has one caller at a time,
// writing has one caller at a time, and they may be two goroutines.
type Endpoint struct{ lane *Lane }

func newEndpoint(l *Lane) *Endpoint { return &Endpoint{lane: l} }

// Write copies frames, in order, for the worker to collect, and returns how
// many it took; it stops at the first refused one and says why (full, too big,
// gone). It never blocks. Hint, Gen and VLAN of a Meta are the switch's own and
// are not passed on.
func (e *Endpoint) Write(f []frame.Frame) (int, frame.Refusal) {
	n, why := e.lane.toWorker.push(f, ownMeta)
	if n > 0 {
		e.lane.worker.ring()
	}
	return n, why
}

func ownMeta(m *frame.Meta) frame.Meta {
	own := *m
	own.Hint, own.Gen, own.VLAN = 0, 0, 0
	return own
}

// Read copies delivered frames, in order, into the buffers in f, reslicing
// each, and returns how many. It never blocks. A frame larger than its buffer
// is cut to it: offer MaxFrame bytes.
func (e *Endpoint) Read(f []frame.Frame) int {
	r := e.lane.toProgram
	n := min(r.filled(len(f)), len(f))
	for i := range n {
		lent := r.peek(i)
		f[i].Data = f[i].Data[:copy(f[i].Data, lent.Data)]
		f[i].Meta = lent.Meta
	}
	if n > 0 {
		r.discard(n)
	}
	return n
}

// ReadContext is Read that waits for at least one frame. The error is
// ErrClosed or that of ctx.
func (e *Endpoint) ReadContext(ctx context.Context, f []frame.Frame) (n int, err error) {
	l := e.lane
	err = l.program.await(ctx, &l.toProgram.gone, func() bool {
		n = e.Read(f)
		return n > 0
	})
	return n, err
}

// WriteContext writes all of f and waits for room where it must. It returns
// how many it wrote; a frame that is too big ends it with frame.TooBig. The
// error is ErrClosed or that of ctx.
func (e *Endpoint) WriteContext(ctx context.Context, f []frame.Frame) (n int, why frame.Refusal, err error) {
	l := e.lane
	err = l.space.await(ctx, &l.toWorker.gone, func() bool {
		var took int
		took, why = e.Write(f[n:])
		n += took
		return n == len(f) || why == frame.TooBig
	})
	return n, why, err
}

// Close says that the program is gone: what is delivered from then on is
// refused, what it wrote can still be collected.
func (e *Endpoint) Close() { e.lane.leave() }
