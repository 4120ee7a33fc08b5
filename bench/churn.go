package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// churn is the direction of the cases in which ports are added under load.
const churn = "churn"

// churnPorts are added beside those that have the load.
const churnPorts = 1000

// The names of churn's figures.
const (
	figureLost   = "lost %"
	figureBefore = "lost before %"
)

func churnContenders() []contender {
	return []contender{
		{name: "memif-adding", about: "the daemon with memif clients, while 1,000 memif ports are added", open: openChurn, perPort: time.Millisecond},
		{name: "bridge-adding", about: "bridge and veth pairs, while 1,000 pairs are added", open: openBridgeChurn, perPort: 40 * time.Millisecond},
		{name: "macvlan-adding", about: "macvlan, while 1,000 are added", open: openMacvlanChurn, perPort: 40 * time.Millisecond},
	}
}

// openChurn adds ports of the daemon's.
func openChurn(b *bed, c *testCase) *stage {
	s := newStage(b, c, false)
	d := startDaemon(b, s.rig, strconv.Itoa(workerCPU))
	few := memifPorts(s.t, 0, c.Containers)
	b.check(d.apply(few))
	o := s.orders(c)
	o.Kind = kindMemif
	for _, p := range few {
		o.Places = append(o.Places, d.place(p.Name))
	}
	startConsumer(b, o).attend(s)
	all := append(few, memifPorts(s.t, c.Containers, churnPorts)...)
	s.adding(c, func() error { return d.apply(all) }, func() error { return d.apply(few) })
	return s
}

// openBridgeChurn and openMacvlanChurn add interfaces whose inner ends are in one
// namespace more.
func openBridgeChurn(b *bed, c *testCase) *stage {
	return kernelChurn(b, c, openBridge, func(s *stage, i int, home string) []string {
		name := fmt.Sprint("w", i)
		return []string{
			fmt.Sprintf("link add %s group %s type veth peer name e%d netns %s", name, crowdGroup, i, home),
			"link set " + name + " master br0", "link set " + name + " up"}
	}, false)
}

func openMacvlanChurn(b *bed, c *testCase) *stage {
	return kernelChurn(b, c, openMacvlan, func(s *stage, i int, home string) []string {
		return []string{fmt.Sprintf("link add link %s name e%d group %s netns %s type macvlan mode bridge", s.rig.NIC, i, crowdGroup, home)}
	}, true)
}

func kernelChurn(b *bed, c *testCase, open func(b *bed, c *testCase) *stage, lines func(s *stage, i int, home string) []string, inside bool) *stage {
	s := open(b, c)
	s.rig.AddContainers(b, 1)
	home, groupAt := s.rig.Containers[c.Containers], s.rig.Host
	if inside {
		groupAt = home
	}
	quiet(b, home)
	var outer, up []string
	for i := range churnPorts {
		outer = append(outer, lines(s, i, home.Name)...)
		up = append(up, fmt.Sprintf("link set e%d up", i))
	}
	s.adding(c, func() error {
		return b.do(func() {
			batch(b, s.rig.Host, "ip", outer)
			batch(b, home, "ip", up)
		})
	}, func() error {
		return b.do(func() { batch(b, groupAt, "ip", []string{"link del group " + crowdGroup}) })
	})
	return s
}

// adding has the stage measured while ports are added beside its own, which are
// taken away afterwards.
func (s *stage) adding(c *testCase, add, clear func() error) {
	s.measure = func(ctx context.Context, window time.Duration) (out sample, err error) {
		if err := s.start(); err != nil {
			return out, err
		}
		defer func() { err = errors.Join(err, s.stop(), clear()) }()
		ctx, cancel := context.WithCancel(ctx)
		generating := onCPU(generatorCPU, func() error { return s.gen.flood(ctx, c.Mpps) })
		defer func() {
			cancel()
			err = errors.Join(err, <-generating)
		}()
		sleep(ctx, window)
		quiet, err := s.during(func() error { sleep(ctx, window); return nil })
		if err != nil {
			return out, err
		}
		out, err = s.during(add)
		out.More = map[string]float64{figureBefore: quiet.lost(), figureLost: out.lost(), figureAdd: out.Seconds}
		return out, err
	}
}

// during is a sample of the time that fn takes.
func (s *stage) during(fn func() error) (out sample, err error) {
	before, err := s.mark()
	if err != nil {
		return out, err
	}
	if err := fn(); err != nil {
		return out, err
	}
	after, err := s.mark()
	return after.since(before), err
}

// lost is in percent of what was sent. Some frames are under way at both ends of
// a window.
func (s sample) lost() float64 {
	return max(0, 100*(1-float64(s.Delivered)/max(1, float64(s.Sent))))
}
