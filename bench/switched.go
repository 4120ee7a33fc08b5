package main

import (
	"context"
	"net/netip"
	"strconv"
	"time"

	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/queues/netns"
	"github.com/xdpdemux/xdpdemux/queues/tap"
)

func switchContenders() []contender {
	return []contender{
		{name: "inproc", about: "xdpdemux with in-process queues, read by a thread of the same program", open: openInproc},
		{name: "memif", about: "xdpdemux with memif queues, whose clients are all in the consumer process", refuses: memifRefuses,
			perPort: 2 * time.Millisecond, open: openMemifs},
		{name: "tap", about: "xdpdemux with TAPs: unmodified programs in network namespaces", refuses: namespacesRefuse,
			perPort: 40 * time.Millisecond, open: openTap},
	}
}

// laneSlots is how many frames may wait for each container. With many
// containers the memory of all is meant to stay near the processor's last cache.
func laneSlots(containers int) int {
	switch {
	case containers <= 16:
		return 1024
	case containers <= 256:
		return 256
	}
	return 16
}

// switched is a worker of the switch between a socket and lanes.
type switched struct {
	sw     *demux.Switch
	ids    []demux.PortID
	socket demux.Link
	waiter
	cancel context.CancelFunc
	ctx    context.Context
}

// openSwitch gives the stage a switch with a port for each lane. Foreign ones run
// the container's own code on the worker's thread, and are judged by its time.
func openSwitch(b *bed, s *stage, lanes []demux.Lane, foreign bool) *switched {
	sw, err := demux.New(demux.Config{Workers: 1, MaxPorts: max(len(lanes), 1),
		ThreadTime: func() int64 { return int64(threadTime()) }})
	b.check(err)
	b.check(sw.SetHost(demux.HostConfig{NICMAC: s.t.NIC}))
	ports := make([]demux.PortConfig, len(lanes))
	for i, l := range lanes {
		ports[i] = demux.PortConfig{Name: strconv.Itoa(i), Addrs: []netip.Prefix{netip.PrefixFrom(s.t.address(i), 32)}, Lanes: []demux.Lane{l}, Foreign: foreign}
	}
	ids, err := sw.Attach(ports...)
	b.check(err)
	socket := attachSocket(b, s)
	s.meter = newMeter()
	return &switched{sw: sw, ids: ids, socket: socket, waiter: waiter{poll: pollerOf(b, socket), meter: s.meter}}
}

func (w *switched) run() error {
	w.meter.resume()
	return w.sw.Run(w.ctx, 0, []demux.Link{metered{w.socket, w.meter}}, &w.waiter)
}

// drive has the switch run from the stage's start to its stop.
func (w *switched) drive(b *bed, s *stage) {
	runWhileStarted(b, s, workerCPU, w.run, func() { w.cancel() })
	start := s.start
	s.start = func() error {
		w.ctx, w.cancel = context.WithCancel(context.Background())
		return start()
	}
}

// openTap delivers into TAPs; behind them are the containers' own kernels, which
// run on the worker's thread.
func openTap(b *bed, c *testCase) *stage {
	s := kernelStage(b, c, false)
	lanes, fds := make([]demux.Lane, c.Containers), make([]int, c.Containers)
	var rings []*tap.Ring
	if ring, err := tap.OpenRing(); err == nil { // without, as the daemon does without
		b.Cleanup(func() { ring.Close() })
		rings = []*tap.Ring{ring}
	}
	for i, ns := range s.rig.Containers {
		place, err := netns.Open(ns.Path)
		b.check(err)
		b.Cleanup(func() { place.Close() })
		q, err := tap.Open(tap.Config{NetNS: place, Name: inner, Owner: "xdpdemux-bench:" + strconv.Itoa(i),
			MAC: s.t.NIC, Addrs: []netip.Prefix{netip.PrefixFrom(s.t.address(i), 32)}, Rings: rings})
		b.check(err)
		b.Cleanup(func() { q.Close() })
		lanes[i] = q.Lane(0)
		batch(b, ns, "ip", append(wayBack(s.wireMAC()), s.wayOn(i, s.t.mac)...))
		fds[i] = q.Fd(0)
	}
	w := openSwitch(b, s, lanes, true)
	w.block = c.Blocking
	w.drive(b, s)
	for i, fd := range fds {
		b.check(w.poll.add(fd, w.ids[i].Token(), edge))
	}
	consume(b, s, c)
	return s
}

// beside has another thread run while the stage is started; it ends after the
// worker.
func beside(s *stage, cpu int, run func() error, quit func()) {
	start, stop := s.start, s.stop
	var done <-chan error
	s.start = func() error {
		done = onCPU(cpu, run)
		return start()
	}
	s.stop = func() error {
		err := stop()
		if done == nil {
			return err
		}
		quit()
		if rerr := <-done; err == nil {
			err = rerr
		}
		done = nil
		return err
	}
}
