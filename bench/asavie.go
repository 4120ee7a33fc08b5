package main

import (
	"fmt"
	"sync/atomic"

	"github.com/asavie/xdp"
)

func asavieContenders() []contender {
	return []contender{
		{name: "asavie", about: "github.com/asavie/xdp doing what bare does, behind its own program, which redirects every frame unseen", open: openAsavie},
	}
}

// asavieRing is the size of its rings: as many as ours have.
const asavieRing = 2048

// openAsavie receives and gives back with the other Go package, whose program
// redirects every frame. It panics on errors, so each use recovers.
func openAsavie(b *bed, c *testCase) *stage {
	s := newStage(b, c, false)
	index := s.rig.Host.Index(b, s.rig.NIC)
	loop := &asavieLoop{meter: newMeter()}
	b.check(s.rig.Host.Do(func() error { return recovering(func() error { return loop.open(b, s, index) }) }))
	s.meter = loop.meter
	s.count = func() (arrivals, error) { return arrivals{frames: loop.arrived.Load()}, nil }
	runWhileStarted(b, s, workerCPU, func() error { return recovering(loop.run) }, loop.stop)
	return s
}

// recovering makes an error of a panic.
func recovering(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("asavie/xdp panicked: %v", p)
		}
	}()
	return fn()
}

type asavieLoop struct {
	socket  *xdp.Socket
	meter   *meter
	arrived atomic.Uint64
	stopped atomic.Bool
}

func (l *asavieLoop) open(b *bed, s *stage, index int) error {
	prog, err := xdp.NewProgram(1)
	if err != nil {
		return err
	}
	b.Cleanup(func() { _ = prog.Close() })
	if err := prog.Attach(index); err != nil {
		return err
	}
	b.Cleanup(func() { _ = s.rig.Host.Do(func() error { return prog.Detach(index) }) })
	l.socket, err = xdp.NewSocket(index, 0, &xdp.SocketOptions{NumFrames: 2 * asavieRing, FrameSize: 2048,
		FillRingNumDescs: asavieRing, CompletionRingNumDescs: asavieRing, RxRingNumDescs: asavieRing, TxRingNumDescs: asavieRing})
	if err != nil {
		return err
	}
	b.Cleanup(func() { _ = l.socket.Close() })
	return prog.Register(0, l.socket.FD())
}

func (l *asavieLoop) run() error {
	defer l.stopped.Store(false) // at the end: stop may be called before this thread runs
	l.meter.resume()
	wait := polite{l.meter}
	for !l.stopped.Load() {
		l.meter.breath()
		if free := l.socket.NumFreeFillSlots(); free > 0 {
			l.socket.Fill(l.socket.GetDescs(free))
		}
		n := min(l.socket.NumReceived(), burst)
		if n > 0 {
			n = len(l.socket.Receive(n))
		}
		l.meter.took(n)
		if n == 0 {
			wait.Wait(nil, -1)
			continue
		}
		l.arrived.Store(l.arrived.Load() + uint64(n))
	}
	return nil
}

func (l *asavieLoop) stop() { l.stopped.Store(true) }
