package inproc

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
)

// Lane is the worker's half; see queues.Lane for who may call what.
type Lane struct {
	number   int
	maxFrame int
	offloads frame.Offload
	receive  func(lane int, f []frame.Frame) int

	toProgram, toWorker *ring
	program, worker     bell // whom they wake
	space               bell // wakes a program that waits for room

	oversize atomic.Uint64 // written by Collect alone
	seen     uint64        // by DeliverAll: keeps the compiler from leaving out a look ahead
}

func newLane(cfg Config, number int) (*Lane, error) {
	l := &Lane{
		number:   number,
		maxFrame: cfg.MaxFrame,
		offloads: cfg.Offloads,
		receive:  cfg.Receive,
		toWorker: newRing(cfg.Slots, cfg.MaxFrame),
		program:  bell{wake: make(chan struct{}, 1), fd: -1},
		space:    bell{wake: make(chan struct{}, 1), fd: -1},
		worker:   bell{fd: -1},
	}
	if cfg.Receive == nil {
		l.toProgram = newRing(cfg.Slots, cfg.MaxFrame)
	} else {
		l.toProgram = newRing(1, 0)
	}
	if cfg.Notify != nil {
		l.worker.notify = func() { cfg.Notify(number) }
	}
	l.worker.armed.Store(true)
	if !cfg.EventFD {
		return l, nil
	}
	var err error
	l.worker.fd, err = newEventFD()
	return l, err
}

// Fd is the lane's eventfd, for an edge-triggered epoll on readability; nobody
// needs to read it. It is -1 without Config.EventFD.
func (l *Lane) Fd() int { return l.worker.fd }

// MaxFrame is described at queues.Lane.
func (l *Lane) MaxFrame() int { return l.maxFrame }

// Offloads is described at queues.Lane.
func (l *Lane) Offloads() frame.Offload { return l.offloads }

// Arm is described at queues.Lane. A lane is born armed.
func (l *Lane) Arm(on bool) { l.worker.arm(on) }

// Stats are the lane's counters.
func (l *Lane) Stats() queues.Stats { return queues.Stats{Oversize: l.oversize.Load()} }

// Lost is what Stats says of single frames; see queues.Lane.
func (l *Lane) Lost() (oversize, malformed uint64) { return l.oversize.Load(), 0 }

// Deliver is described at queues.Lane. Gone means that the program has closed
// its Endpoint.
func (l *Lane) Deliver(f []frame.Frame) (int, frame.Refusal) {
	fit, why := l.fitting(f)
	if fit == 0 {
		return 0, why
	}
	n, refused := l.hand(f[:fit])
	if n < fit {
		return n, refused
	}
	return n, why
}

// fitting is how many frames at the front the program can take at all, and
// why not the next.
func (l *Lane) fitting(f []frame.Frame) (int, frame.Refusal) {
	for i := range f {
		if len(f[i].Data) > l.maxFrame || !l.takesGSO(f[i].GSO) {
			return i, frame.TooBig
		}
	}
	return len(f), frame.Accepted
}

func (l *Lane) takesGSO(gso uint8) bool {
	switch gso {
	case frame.GSONone:
		return true
	case frame.GSOTCPv4:
		return l.offloads&frame.OffloadTCPv4 != 0
	case frame.GSOTCPv6:
		return l.offloads&frame.OffloadTCPv6 != 0
	case frame.GSOUDP:
		return l.offloads&frame.OffloadUDP != 0
	}
	return false
}

func (l *Lane) hand(f []frame.Frame) (int, frame.Refusal) {
	if l.receive == nil {
		n, why := l.toProgram.push(f, allMeta)
		if n > 0 {
			l.program.ring()
		}
		return n, why
	}
	if l.toProgram.gone.Load() {
		return 0, frame.Gone
	}
	n := max(0, min(l.receive(l.number, f), len(f)))
	if n < len(f) {
		return n, frame.Full
	}
	return n, frame.Accepted
}

func allMeta(m *frame.Meta) frame.Meta { return *m }

// Collect is described at queues.Lane.
func (l *Lane) Collect(f []frame.Frame, maxBytes int) int {
	have := l.toWorker.filled(len(f))
	n, used, bytes := 0, 0, 0
	for used < have && n < len(f) && bytes < maxBytes {
		lent := l.toWorker.peek(used)
		used++
		if len(lent.Data) > len(f[n].Data) {
			l.oversize.Add(1)
			continue
		}
		f[n].Data = f[n].Data[:copy(f[n].Data, lent.Data)]
		f[n].Meta = lent.Meta
		bytes += len(lent.Data)
		n++
	}
	if used > 0 {
		l.toWorker.discard(used)
		l.space.ring()
	}
	return n
}

// leave ends both directions and wakes whoever sleeps.
func (l *Lane) leave() {
	l.toProgram.gone.Store(true)
	l.toWorker.gone.Store(true)
	l.program.always()
	l.space.always()
}

func (l *Lane) close() error {
	l.leave()
	return l.worker.close(unix.Close)
}
