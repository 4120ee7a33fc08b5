package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// contender is somebody who can do what a case asks.
type contender struct {
	name  string
	about string // in a line, for -list and RESULTS.md
	// refuses says why the contender cannot do a case at all; "" if it can.
	// Nil: it can do every case that names it.
	refuses func(c *testCase) string
	// perPort is about how long building and removing takes for each container.
	perPort time.Duration
	// open builds all that the contender needs for the case and leaves it idle.
	open func(b *bed, c *testCase) *stage
}

// stage is a contender that is ready for a case. Each part that is nil has
// nothing to do.
type stage struct {
	rig *nictest.Rig
	t   traffic
	gen source
	// start has it take frames, stop ends that.
	start func() error
	stop  func() error
	// count is what arrived where a container would read it, since ever.
	count func() (arrivals, error)
	meter *meter
	// burner measures what all processors spend; the runner gives it.
	burner *burner
	// arrived counts at the wire's end, in place of count.
	arrived func() (arrivals, error)
	ping    *pinger
	probes  *probes
	// measure is how a window is done where frames are not counted one by one.
	measure func(ctx context.Context, window time.Duration) (sample, error)
	// tell, if set, is called at the beginning and at the end of a window, there
	// with the sample, to which it may add.
	tell func(out *sample, begin bool)
	// mpps is the load where the case finds it by itself.
	mpps float64
	// busyPoll has the worker's own system calls do the NIC's receive work.
	busyPoll xdp.BusyPoll
}

// source is who sends the frames of a stage.
type source interface {
	// flood sends until ctx ends, on a thread of the generator's processor: as
	// much as goes, or mpps million frames a second.
	flood(ctx context.Context, mpps float64) error
	// sent is how many frames were made so far.
	sent() (uint64, error)
}

// arrivals counts frames at their destination.
type arrivals struct {
	frames uint64 // whole, and at the right container
	bad    uint64 // any other
}

// contenders is everybody, in the order of the tables.
func contenders() []contender {
	return slices.Concat(bareContenders(), asavieContenders(), testpmdContenders(), switchContenders(), kernelContenders(), ovsContenders(), ringContenders(), tcpContenders(), densityContenders(), memoryContenders(), queueContenders(), victimContenders(), churnContenders(), garbageContenders())
}

func findContender(name string) (contender, error) {
	all := contenders()
	i := slices.IndexFunc(all, func(c contender) bool { return c.name == name })
	if i < 0 {
		return contender{}, fmt.Errorf("no contender is named %q", name)
	}
	return all[i], nil
}

// newStage builds the rig that all contenders of a case have alike.
func newStage(b *bed, c *testCase, byMAC bool) *stage {
	rig := nictest.New(b, nictest.Config{NICGRO: true, WireOffloads: c.ofHost()})
	quiet(b, rig.Wire)
	quiet(b, rig.Host)
	if c.isTCP() && !c.ofHost() {
		withoutOffloads(b, rig)
	}
	s := &stage{rig: rig, t: traffic{
		Sizes: c.sizes(), Containers: c.Containers, Zipf: c.Zipf, Random: c.Random, ByMAC: byMAC,
		Src: rig.Wire.MAC(b, rig.WireNIC), NIC: rig.Host.MAC(b, rig.NIC),
	}}
	s.gather(b, c)
	switch {
	case c.Direction == wireIn || c.Direction == churn:
		s.gen = newGenerator(b, rig, s.t, nil)
	case c.Direction == both:
		s.gen = newGenerator(b, rig, s.t, nil)
		s.watchWire(b)
	case c.Direction == wireOut:
		s.watchWire(b)
	case c.probed():
		s.t.Probes, s.t.Victim = probeEvery, c.Direction == victim
		if s.t.Victim {
			s.t.Probes = victimProbes
		}
		if c.alone {
			s.t.Probes = 1
		}
		s.probes = newProbes(b, s)
		s.gen = newGenerator(b, rig, s.t, s.probes.stamps)
	case c.Direction == latency:
		s.ping = newPinger(b, s)
	}
	return s
}

// watchWire counts at the wire's end.
func (s *stage) watchWire(b *bed) {
	size := 0
	if len(s.t.Sizes) == 1 {
		size = s.t.Sizes[0]
	}
	s.arrived = countAndDrop(b, s.rig.Wire.Do, s.rig.Wire.Index(b, s.rig.WireNIC), size)
}

// orders are those of the consumer of the case, but for its queues.
func (s *stage) orders(c *testCase) orders {
	o := orders{Traffic: s.t, Blocking: c.Blocking, Slots: laneSlots(c.Containers), Mode: modeRead, CPU: workerCPU}
	switch c.Direction {
	case wireOut: // no generator runs
		o.Mode, o.CPU = modeSend, generatorCPU
	case local: // the same: the worker has a processor of its own
		o.Mode, o.CPU = modePass, generatorCPU
	case latency, both:
		o.Mode = modeEcho
	}
	if c.probed() {
		o.Mode = modeProbe
	}
	if c.OneCore != "" {
		o.CPU = generatorCPU
	}
	return o
}

// quiet keeps a namespace's kernel from sending anything on its own account: a
// contender that takes every frame would count that too.
func quiet(b *bed, ns *nictest.NS) {
	for _, conf := range []string{"all", "default"} {
		ns.SetSysctl(b, "net/ipv6/conf/"+conf+"/disable_ipv6", "1")
	}
}
