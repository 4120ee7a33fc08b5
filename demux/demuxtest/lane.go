package demuxtest

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// LaneConfig says how a Lane behaves.
type LaneConfig struct {
	Depth    int           // frames that fit toward the container; 0 = no limit
	MaxFrame int           // bytes; 0 = 65550
	Offloads frame.Offload // see demux.Lane
	Delay    time.Duration // how long each Deliver takes, per frame
	// Take, if set, gets each delivered frame instead of the queue; the bytes
	// are valid during the call. One that came in pieces is one.
	Take func(f *frame.Frame)
	// Refuse, if set, may refuse a frame.
	Refuse func(f *frame.Frame) frame.Refusal
}

// Lane is one worker's half of a container's queue in memory. Deliver,
// Collect and Arm are the worker's; they report a call after Close, and a
// Deliver that runs twice at a time. The rest is the container's and may be
// called from any goroutine.
type Lane struct {
	cfg  LaneConfig
	rep  Reporter
	ring func() // the doorbell

	closed     atomic.Bool
	delivering atomic.Bool
	collecting atomic.Bool
	gone       atomic.Bool
	took       atomic.Uint64
	delay      atomic.Int64

	mu       sync.Mutex
	in       []frame.Frame // toward the container
	out      []frame.Frame // from it
	armed    bool
	arms     int
	oversize int
}

// NewLane makes a lane. ring, if not nil, is called when the container sends
// and the doorbell is armed.
func NewLane(rep Reporter, ring func(), cfg LaneConfig) *Lane {
	if cfg.MaxFrame == 0 {
		cfg.MaxFrame = 65550
	}
	l := &Lane{cfg: cfg, rep: rep, ring: ring}
	l.delay.Store(int64(cfg.Delay))
	return l
}

// Close says that nobody may touch the lane any more.
func (l *Lane) Close() { l.closed.Store(true) }

// SetGone has the container's end held by nobody.
func (l *Lane) SetGone(gone bool) { l.gone.Store(gone) }

// SetDelay changes LaneConfig.Delay.
func (l *Lane) SetDelay(d time.Duration) { l.delay.Store(int64(d)) }

// Send has the container send frames; the bytes are copied.
func (l *Lane) Send(frames ...[]byte) {
	for _, f := range frames {
		l.push(frame.Frame{Data: slices.Clone(f)})
	}
	l.knock()
}

// SendFrame is Send for one frame with something beside its bytes.
func (l *Lane) SendFrame(f frame.Frame) {
	f.Data = slices.Clone(f.Data)
	l.push(f)
	l.knock()
}

func (l *Lane) push(f frame.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = append(l.out, f)
}

func (l *Lane) knock() {
	l.mu.Lock()
	ring := l.armed && l.ring != nil
	l.mu.Unlock()
	if ring {
		l.ring()
	}
}

// Got returns what was delivered since the last call.
func (l *Lane) Got() []frame.Frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.in
	l.in = nil
	return f
}

// Took is how many frames were delivered since the lane was made, each piece of one
// counted.
func (l *Lane) Took() uint64 { return l.took.Load() }

// Queued is how many frames the container sent that nobody collected yet.
func (l *Lane) Queued() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.out)
}

// Armed tells whether the doorbell is armed, and how often it was.
func (l *Lane) Armed() (now bool, times int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.armed, l.arms
}

// Oversize is how many frames of the container were larger than the buffer
// that they were collected into.
func (l *Lane) Oversize() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.oversize
}

// Lost is described at demux.Lossy.
func (l *Lane) Lost() (tooBig, malformed uint64) { return uint64(l.Oversize()), 0 }

func (l *Lane) enter(what string, busy *atomic.Bool) func() {
	if l.closed.Load() {
		l.rep.Errorf("lane: %s after the lane was given back", what)
	}
	if busy != nil && !busy.CompareAndSwap(false, true) {
		l.rep.Errorf("lane: %s by two at a time", what)
	}
	return func() {
		if busy != nil {
			busy.Store(false)
		}
		if l.closed.Load() {
			l.rep.Errorf("lane: given back during %s", what)
		}
	}
}

// Deliver takes frames; see demux.Lane.
func (l *Lane) Deliver(f []frame.Frame) (n int, why frame.Refusal) {
	defer l.enter("Deliver", &l.delivering)()
	for n < len(f) {
		whole, pieces := l.gather(f[n:])
		if why := l.take(&whole); why != frame.Accepted {
			return n, why
		}
		n += 1 + pieces
		l.took.Add(uint64(1 + pieces))
	}
	return n, frame.Accepted
}

// gather puts the first frame and its pieces together.
func (l *Lane) gather(f []frame.Frame) (whole frame.Frame, pieces int) {
	whole = f[0]
	if whole.GSO == frame.GSOPiece {
		l.rep.Errorf("lane: a piece without a beginning")
	}
	for pieces+1 < len(f) && f[pieces+1].GSO == frame.GSOPiece {
		pieces++
		whole.Data = append(slices.Clip(whole.Data), f[pieces].Data...)
	}
	if pieces > 0 && l.cfg.Offloads&frame.OffloadGather == 0 {
		l.rep.Errorf("lane: a frame in pieces that it cannot gather")
	}
	return whole, pieces
}

func (l *Lane) take(f *frame.Frame) frame.Refusal {
	if d := l.delay.Load(); d > 0 {
		spin(time.Duration(d))
	}
	switch {
	case l.gone.Load():
		return frame.Gone
	case len(f.Data) > l.cfg.MaxFrame:
		return frame.TooBig
	}
	if l.cfg.Refuse != nil {
		if why := l.cfg.Refuse(f); why != frame.Accepted {
			return why
		}
	}
	if l.cfg.Take != nil {
		l.cfg.Take(f)
		return frame.Accepted
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cfg.Depth > 0 && len(l.in) >= l.cfg.Depth {
		return frame.Full
	}
	l.in = append(l.in, frame.Frame{Data: slices.Clone(f.Data), Meta: f.Meta})
	return frame.Accepted
}

// spin takes time the way foreign code does: by using the processor.
func spin(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
	}
}

// Collect yields what the container sent; see demux.Lane.
func (l *Lane) Collect(f []frame.Frame, maxBytes int) (n int) {
	defer l.enter("Collect", &l.collecting)()
	l.mu.Lock()
	defer l.mu.Unlock()
	for n < len(f) && len(l.out) > 0 && maxBytes > 0 {
		o := l.out[0]
		l.out = l.out[1:]
		if len(o.Data) > len(f[n].Data) {
			l.oversize++
			continue
		}
		maxBytes -= len(o.Data)
		f[n].Data = f[n].Data[:copy(f[n].Data, o.Data)]
		f[n].Meta = o.Meta
		n++
	}
	return n
}

// Arm arms the doorbell; see demux.Lane.
func (l *Lane) Arm(on bool) {
	defer l.enter("Arm", nil)()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = on
	if on {
		l.arms++
	}
}

// MaxFrame is LaneConfig.MaxFrame.
func (l *Lane) MaxFrame() int { return l.cfg.MaxFrame }

// Offloads is LaneConfig.Offloads.
func (l *Lane) Offloads() frame.Offload { return l.cfg.Offloads }
