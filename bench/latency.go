package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// pinger is a machine on the wire that sends one frame, waits for it to come
// back, and sends the next: on its own AF_XDP socket, looking without a pause, so
// that what it measures is the other side. Only one thread may use it at a time.
type pinger struct {
	socket *xdp.Socket
	t      traffic
	lost   int
}

// lostAfter is how long a frame may take before it counts as lost.
const lostAfter = 200 * time.Millisecond

// mostLost frames in a row, and none before, are the end of a window that is shorter.
const mostLost = 3

func newPinger(b *bed, s *stage) *pinger {
	index := s.rig.Wire.Index(b, s.rig.WireNIC)
	prog, err := xdp.LoadProgram(xdp.ProgramConfig{})
	b.check(err)
	b.Cleanup(func() { prog.Close() })
	p := &pinger{t: s.t}
	b.check(s.rig.Wire.Do(func() (err error) {
		if _, err = prog.Attach(index, xdp.ModeNative); err != nil {
			return err
		}
		p.socket, err = xdp.OpenSocket(xdp.SocketConfig{IfIndex: index, Frames: 256})
		return err
	}))
	b.Cleanup(func() { p.socket.Close() })
	b.check(prog.SetNIC(s.t.Src))
	b.check(prog.Insert(xdp.Rule{Kind: xdp.RuleIPIdentity, Prefix: netip.PrefixFrom(sourceAddr(), 32)}))
	b.check(prog.SetSocket(0, p.socket))
	return p
}

// once sends a frame to container i and returns how long its way back took;
// false is a frame that was lost.
func (p *pinger) once(i int) (time.Duration, bool) {
	var f [1]frame.Frame
	data := p.t.frame(i, p.t.Sizes[0])
	for p.socket.Reserve(f[:], maxFrame) == 0 {
	}
	f[0].Data = f[0].Data[:copy(f[0].Data, data)]
	began := time.Now()
	p.socket.Commit(f[:])
	for {
		n := p.socket.Recv(f[:])
		took := time.Since(began)
		mine := n == 1 && len(f[0].Data) == len(data) && bytes.Equal(f[0].Data[payloadAt:], data[payloadAt:])
		if n > 0 {
			p.socket.Release()
		}
		if mine {
			return took, true
		}
		if took > lostAfter {
			p.lost++
			return 0, false
		}
	}
}

// echoing measures one window of round trips, to all containers in turn.
func echoing(ctx context.Context, s *stage, c *testCase, window time.Duration) (out sample, err error) {
	if err := s.start(); err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	var times []time.Duration
	lost := 0
	err = <-onCPU(generatorCPU, func() error {
		for end := time.Now().Add(time.Duration(float64(window) * warmUp)); time.Now().Before(end) && ctx.Err() == nil; {
			s.ping.once(0)
		}
		lost = s.ping.lost
		goesOn := func() bool { return len(times) == 0 && s.ping.lost-lost < mostLost }
		for end, i := time.Now().Add(window), 0; (time.Now().Before(end) || goesOn()) && ctx.Err() == nil; i++ {
			if took, ok := s.ping.once(i % c.Containers); ok {
				times = append(times, took)
			}
		}
		return nil
	})
	if err == nil && len(times) == 0 {
		err = fmt.Errorf("of %d frames none came back", s.ping.lost-lost)
	}
	return summary(times, uint64(s.ping.lost-lost)), err
}

// summary is a sample of round trips: it has no rate.
func summary(times []time.Duration, lost uint64) sample {
	slices.Sort(times)
	micros := func(part float64) float64 { return float64(percentile(times, part)) / 1e3 }
	return sample{Sent: uint64(len(times)) + lost, Delivered: uint64(len(times)),
		P50Us: micros(0.5), P99Us: micros(0.99), P999Us: micros(0.999)}
}
