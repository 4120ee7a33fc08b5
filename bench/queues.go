package main

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"sync/atomic"

	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
	"github.com/xdpdemux/xdpdemux/queues/inproc"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// manyQueues is the direction of the cases with several queues and workers. The
// in-kernel generator reaches one queue for each processor that it runs on, so
// frames come from our own sender, which has an AF_XDP socket on each queue of the
// wire's end. It takes a copy and the kernel's whole transmit path for each frame.
const manyQueues = "queues"

func queueContenders() (list []contender) {
	for _, n := range [][2]int{{1, 1}, {2, 1}, {4, 1}, {2, 2}, {4, 2}} {
		queues, workers := n[0], n[1]
		list = append(list, contender{name: queueName(queues, workers),
			about: fmt.Sprintf("xdpdemux with in-process queues, %d NIC queues, %d workers: the second is on the sender's processor", queues, workers),
			open:  func(b *bed, c *testCase) *stage { return openQueues(b, c, queues, workers) }})
	}
	return list
}

func queueName(queues, workers int) string { return fmt.Sprintf("%dq%dw", queues, workers) }

// openQueues gives each worker its share of the queues.
func openQueues(b *bed, c *testCase, queues, workers int) *stage {
	rig := nictest.New(b, nictest.Config{NICGRO: true, Queues: queues})
	quiet(b, rig.Wire)
	quiet(b, rig.Host)
	s := &stage{rig: rig, t: traffic{Sizes: c.sizes(), Containers: c.Containers,
		Src: rig.Wire.MAC(b, rig.WireNIC), NIC: rig.Host.MAC(b, rig.NIC)}}
	sw, r := queueSwitch(b, s, workers)
	links := attachSockets(b, s, queues)
	for w := range workers {
		team := &oneOfMany{sw: sw, n: w}
		for q := w; q < queues; q += workers {
			team.links = append(team.links, links[q])
		}
		team.join(b, s, (workerCPU+w)%leastCPUs)
	}
	beside(s, workerCPU, r.run, r.stop)
	s.count = r.count
	s.gen = newSender(b, s, queues)
	return s
}

// queueSwitch is a switch whose ports have a lane for each worker, and who reads
// them.
func queueSwitch(b *bed, s *stage, workers int) (*demux.Switch, *inprocEnds) {
	sw, err := demux.New(demux.Config{Workers: workers, MaxPorts: s.t.Containers})
	b.check(err)
	b.check(sw.SetHost(demux.HostConfig{NICMAC: s.t.NIC}))
	r := &inprocEnds{check: newChecker(s.t), mode: modeRead}
	ports := make([]demux.PortConfig, s.t.Containers)
	for i := range ports {
		q, err := inproc.Open(inproc.Config{Slots: laneSlots(s.t.Containers), Lanes: workers})
		b.check(err)
		b.Cleanup(func() { q.Close() })
		p := demux.PortConfig{Name: strconv.Itoa(i), Addrs: []netip.Prefix{netip.PrefixFrom(s.t.address(i), 32)}}
		for w := range workers {
			p.Lanes = append(p.Lanes, q.Lane(w))
			r.ends, r.owners = append(r.ends, q.Endpoint(w)), append(r.owners, i)
		}
		ports[i] = p
	}
	_, err = sw.Attach(ports...)
	b.check(err)
	return sw, r
}

// oneOfMany is one of several workers of a switch.
type oneOfMany struct {
	sw     *demux.Switch
	n      int
	links  []demux.Link
	ctx    context.Context
	cancel context.CancelFunc
}

// join has it run, too, while the stage is started.
func (o *oneOfMany) join(b *bed, s *stage, cpu int) {
	start, stop := s.start, s.stop
	runWhileStarted(b, s, cpu, func() error { return o.sw.Run(o.ctx, o.n, o.links, polite{newMeter()}) }, func() { o.cancel() })
	mine, end := s.start, s.stop
	s.start = func() error {
		o.ctx, o.cancel = context.WithCancel(context.Background())
		if err := mine(); err != nil || start == nil {
			return err
		}
		return start()
	}
	s.stop = func() error {
		err := end()
		if stop != nil {
			if other := stop(); err == nil {
				err = other
			}
		}
		return err
	}
}

// sender is a source of frames on AF_XDP sockets, one on each queue of the wire's
// end. A container's frames are always sent on the same.
type sender struct {
	sockets []*xdp.Socket
	frames  [][][]byte // by queue
	gone    atomic.Uint64
}

func newSender(b *bed, s *stage, queues int) *sender {
	d := &sender{frames: make([][][]byte, queues)}
	index := s.rig.Wire.Index(b, s.rig.WireNIC)
	for q := range queues {
		var socket *xdp.Socket
		b.check(s.rig.Wire.Do(func() (err error) {
			socket, err = xdp.OpenSocket(xdp.SocketConfig{IfIndex: index, Queue: q})
			return err
		}))
		b.Cleanup(func() { socket.Close() })
		d.sockets = append(d.sockets, socket)
	}
	for _, i := range s.t.order() {
		q := int(i) % queues
		d.frames[q] = append(d.frames[q], s.t.frame(int(i), s.t.Sizes[0]))
	}
	return d
}

// sent is described at source.
func (d *sender) sent() (uint64, error) { return d.gone.Load(), nil }

// flood is described at source; a fixed load is not.
func (d *sender) flood(ctx context.Context, _ float64) error {
	f := make([]frame.Frame, burst)
	next := make([]int, len(d.sockets))
	for ctx.Err() == nil {
		for q, socket := range d.sockets {
			list := d.frames[q]
			n := socket.Reserve(f, maxFrame)
			for i := range n {
				f[i].Data = f[i].Data[:copy(f[i].Data, list[next[q]%len(list)])]
				next[q]++
			}
			socket.Commit(f[:n])
			d.gone.Add(uint64(n))
		}
	}
	return nil
}
