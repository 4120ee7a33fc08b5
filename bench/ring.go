package main

import (
	"bytes"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
	"github.com/xdpdemux/xdpdemux/queues"
	"github.com/xdpdemux/xdpdemux/queues/memif"
)

// Memif ring to ring, without any NIC: whoever is named first sends, on the
// generator's processor, the other receives, on the worker's.
const nameRing = "testpmd>testpmd"

func ringContenders() []contender {
	return []contender{
		{name: nameRing, about: "memif: dpdk-testpmd, txonly, to another, rxonly", open: openTestpmdPair},
		{name: "lane>testpmd", about: "memif: the switch's side of a queue to dpdk-testpmd, rxonly", open: openLaneToTestpmd},
		{name: "testpmd>lane", about: "memif: dpdk-testpmd, txonly, to the switch's side of a queue, which copies every byte", open: openTestpmdToLane},
		{name: "lane>client", about: "memif: the switch's side of a queue to our client, which checks every byte", open: openLaneToClient},
		{name: "client>lane", about: "memif: our client to the switch's side of a queue, which checks every byte", open: openClientToLane},
	}
}

// ringSlots is the size of every ring: what DPDK's device has by default.
const ringSlots = 1024

// ringStage has no traffic but its frames' size.
func ringStage(b *bed, c *testCase) *stage {
	return &stage{rig: nictest.New(b, nictest.Config{}), t: traffic{Sizes: c.sizes(), Containers: 1}}
}

// memifDevice is the argument for a memif of dpdk-testpmd.
func memifDevice(role, socket string) string {
	return "net_memif0,role=" + role + ",id=0,socket=" + socket + ",socket-abstract=no"
}

func sending(size int) []string {
	return []string{"--forward-mode=txonly", "--txpkts=" + strconv.Itoa(size)}
}

func openTestpmdPair(b *bed, c *testCase) *stage {
	s := ringStage(b, c)
	socket := filepath.Join(b.TempDir(), "memif.sock")
	from := startTestpmd(b, s.rig.Host, generatorCPU, memifDevice("server", socket), sending(s.t.Sizes[0])...)
	to := startTestpmd(b, s.rig.Wire, workerCPU, memifDevice("client", socket), "--forward-mode=rxonly")
	s.count = to.received
	pausable(b, s, to.process)
	pausable(b, s, from.process)
	return s
}

// connected opens a queue and waits, once other has been started, for its client.
func connected(b *bed, other func(socket string)) *memif.Queue {
	list, places := memifQueues(b, 1)
	other(places[0])
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, ok := list[0].Client(); ok {
			return list[0]
		}
		if time.Now().After(end) {
			b.Fatalf("no client came to the memif: %s", list[0].LastDisconnect())
		}
	}
}

func openLaneToTestpmd(b *bed, c *testCase) *stage {
	s := ringStage(b, c)
	var to *testpmd
	q := connected(b, func(socket string) {
		to = startTestpmd(b, s.rig.Wire, workerCPU, memifDevice("client", socket), "--forward-mode=rxonly")
	})
	sendFromLane(b, s, q.Lane(0))
	s.count = to.received
	pausable(b, s, to.process)
	return s
}

func openTestpmdToLane(b *bed, c *testCase) *stage {
	s := ringStage(b, c)
	var from *testpmd
	q := connected(b, func(socket string) {
		from = startTestpmd(b, s.rig.Wire, generatorCPU, memifDevice("client", socket), sending(s.t.Sizes[0])...)
	})
	receiveInLane(b, s, q.Lane(0), func(data []byte) bool { return len(data) == s.t.Sizes[0] })
	pausable(b, s, from.process)
	return s
}

func openLaneToClient(b *bed, c *testCase) *stage {
	s := ringStage(b, c)
	var to *consumer
	q := connected(b, func(socket string) {
		to = startConsumer(b, orders{Kind: kindMemif, Traffic: s.t, Places: []string{socket}, Slots: ringSlots, CPU: workerCPU})
	})
	sendFromLane(b, s, q.Lane(0))
	to.attend(s)
	return s
}

func openClientToLane(b *bed, c *testCase) *stage {
	s := ringStage(b, c)
	var from *consumer
	q := connected(b, func(socket string) {
		from = startConsumer(b, orders{Kind: kindMemif, Traffic: s.t, Places: []string{socket}, Slots: ringSlots, CPU: generatorCPU, Mode: modeSend})
	})
	want := s.t.outward(0, s.t.Sizes[0])
	receiveInLane(b, s, q.Lane(0), func(data []byte) bool { return bytes.Equal(data, want) })
	count := s.count
	from.attend(s)
	s.count = count
	return s
}

// sendFromLane delivers the same frames again and again while the stage is
// started.
func sendFromLane(b *bed, s *stage, lane queues.Lane) {
	f := make([]frame.Frame, burst)
	for i := range f {
		f[i].Data = s.t.frame(0, s.t.Sizes[i%len(s.t.Sizes)])
	}
	spin(b, s, generatorCPU, func() { lane.Deliver(f) })
}

// receiveInLane collects and judges frames while the stage is started.
func receiveInLane(b *bed, s *stage, lane queues.Lane, good func([]byte) bool) {
	f := make([]frame.Frame, burst)
	room := make([]byte, burst*memifBuffer)
	var frames, bad atomic.Uint64
	lane.Arm(false)
	spin(b, s, workerCPU, func() {
		for i := range f {
			f[i].Data = room[i*memifBuffer:][:memifBuffer]
		}
		whole, n := uint64(0), lane.Collect(f, len(room))
		for i := range n {
			if good(f[i].Data) {
				whole++
			}
		}
		if n > 0 {
			frames.Add(whole)
			bad.Add(uint64(n) - whole)
		}
	})
	s.count = func() (arrivals, error) { return arrivals{frames.Load(), bad.Load()}, nil }
}

// spin calls step again and again, on a processor of its own, while the stage
// is started.
func spin(b *bed, s *stage, cpu int, step func()) {
	var stopped atomic.Bool
	runWhileStarted(b, s, cpu, func() error {
		for !stopped.Load() {
			step()
		}
		stopped.Store(false)
		return nil
	}, func() { stopped.Store(true) })
}
