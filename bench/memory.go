package main

import (
	"context"
	"encoding/binary"
	"net/netip"
	"strconv"
	"sync/atomic"

	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// memory is the direction of the cases in which a worker switches between lanes
// of plain memory, with neither NIC nor containers nor system calls: what the
// switch alone can do on one processor.
const memory = "memory"

const nameLanes = "lanes"

func memoryContenders() []contender {
	return []contender{{name: nameLanes, about: "the switch between lanes of plain memory: every port always has frames, " +
		"which it sends to others by Zipf's law; both copies, the source check and both look-ups are made", open: openLanes}}
}

// memorySlots frames stand in each direction of a lane: with 10,000 of them far
// more than a processor's caches hold.
const (
	memorySlots = 64
	memorySlot  = 64 // bytes
)

// openLanes runs the worker on its processor; nobody else does anything.
func openLanes(b *bed, c *testCase) *stage {
	s := &stage{t: traffic{Sizes: c.sizes(), Containers: c.Containers, Zipf: c.Zipf, Src: [6]byte{2, 1}, NIC: [6]byte{2, 2}}}
	sw, err := demux.New(demux.Config{Workers: 1, MaxPorts: c.Containers})
	b.check(err)
	b.check(sw.SetHost(demux.HostConfig{NICMAC: s.t.NIC}))
	var tally tally
	ports := make([]demux.PortConfig, c.Containers)
	for i, l := range memoryLanes(s.t, &tally) {
		ports[i] = demux.PortConfig{Name: strconv.Itoa(i), Addrs: []netip.Prefix{netip.PrefixFrom(s.t.address(i), 32)}, Lanes: []demux.Lane{l}}
	}
	_, err = sw.Attach(ports...)
	b.check(err)
	var ctx context.Context
	var cancel context.CancelFunc
	runWhileStarted(b, s, workerCPU, func() error { return sw.Run(ctx, 0, nil, polite{newMeter()}) }, func() { cancel() })
	start := s.start
	s.start = func() error {
		ctx, cancel = context.WithCancel(context.Background())
		return start()
	}
	s.count = func() (arrivals, error) { return arrivals{tally.frames.Load(), tally.bad.Load()}, nil }
	return s
}

// tally counts for all lanes; the worker is its one writer.
type tally struct{ frames, bad atomic.Uint64 }

// add counts frames, of which some are bad. It is a barrier, and not for each lane.
func (t *tally) add(all, bad int) {
	t.frames.Store(t.frames.Load() + uint64(all-bad))
	if bad > 0 {
		t.bad.Store(t.bad.Load() + uint64(bad))
	}
}

// memoryLane is a lane whose container always has frames to send, and takes all
// that it gets. It is one piece of memory, so that finding the rings costs nothing
// beside the lane itself. It belongs to the worker.
type memoryLane struct {
	index    uint16
	sent     int
	received int
	size     int
	tally    *tally
	seen     int // keeps the compiler from leaving out a look ahead
	_        [2]uint64
	out, in  [memorySlots * memorySlot]byte
}

// memoryLanes are one for each container, with what it sends.
func memoryLanes(t traffic, sum *tally) []*memoryLane {
	size := t.Sizes[0]
	lanes := make([]*memoryLane, t.Containers)
	order, at := t.order(), 0
	for i := range lanes {
		l := &memoryLane{index: uint16(i), size: size, tally: sum}
		for n := 0; n < memorySlots; at++ {
			to := int(order[at%len(order)])
			if to != i { // nobody sends to itself
				copy(l.out[n*memorySlot:], t.passing(i, to, size))
				n++
			}
		}
		lanes[i] = l
	}
	return lanes
}

// Deliver is described at demux.Lane.
func (l *memoryLane) Deliver(f []frame.Frame) (int, frame.Refusal) {
	l.tally.add(len(f), l.take(f))
	return len(f), 0
}

// take takes all, and returns how many are not for this lane.
func (l *memoryLane) take(f []frame.Frame) (bad int) {
	for i := range f {
		slot := l.in[l.received%memorySlots*memorySlot:][:l.size]
		if n := copy(slot, f[i].Data); n != l.size || binary.BigEndian.Uint16(slot[indexAt:]) != l.index {
			bad++
		}
		l.received++
	}
	return bad
}

// DeliverAll is described at demux.Courier: it looks at all lanes, and then at all
// slots, before it copies, as a lane of shared memory does.
func (l *memoryLane) DeliverAll(d []frame.Delivery) {
	for i := range d {
		l.seen += d[i].Lane.(*memoryLane).received
	}
	for i := range d {
		to := d[i].Lane.(*memoryLane)
		l.seen += int(to.in[to.received%memorySlots*memorySlot])
	}
	all, bad := 0, 0
	for i := range d {
		bad += d[i].Lane.(*memoryLane).take(d[i].Frames)
		d[i].Taken, d[i].Why = len(d[i].Frames), frame.Accepted
		all += len(d[i].Frames)
	}
	l.tally.add(all, bad)
}

// Collect is described at demux.Lane.
func (l *memoryLane) Collect(f []frame.Frame, maxBytes int) int {
	n := min(len(f), max(1, maxBytes/l.size))
	for i := range n {
		f[i].Data = f[i].Data[:copy(f[i].Data, l.out[l.sent%memorySlots*memorySlot:][:l.size])]
		f[i].Meta = frame.Meta{}
		l.sent++
	}
	return n
}

// Arm does nothing: there is always something.
func (l *memoryLane) Arm(bool) {}

// MaxFrame is described at demux.Lane.
func (l *memoryLane) MaxFrame() int { return l.size }

// Offloads is described at demux.Lane: none.
func (l *memoryLane) Offloads() frame.Offload { return 0 }
