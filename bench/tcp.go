package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// The directions of TCP by iperf3. The sender is on the generator's processor
// and the receiver on the worker's, but for what a container sends to the wire,
// where it is the other way round.
const (
	tcpIn      = "tcp-in"
	tcpOut     = "tcp-out"
	tcpLocal   = "tcp-local"
	tcpHostIn  = "tcp-host-in" // the host's own, beside a port
	tcpHostOut = "tcp-host-out"
)

// streams is how many of a case's name.
func (c *testCase) streams() int {
	n, _ := strconv.Atoi(strings.TrimRight(c.Size, "streams"))
	return n
}

// ofHost tells whether it is the host's own stack that is measured, on a wire
// with the offloads that the kernel gives it.
func (c *testCase) ofHost() bool { return c.Direction == tcpHostIn || c.Direction == tcpHostOut }

func (c *testCase) isTCP() bool { return strings.HasPrefix(c.Direction, "tcp-") }

// The names of TCP's figures.
const (
	figureGbits   = "Gbit/s"
	figureCPUByte = "CPU s/GB"
	figureAgain   = "retransmits"
)

func tcpContenders() []contender {
	return []contender{
		{name: "xdpdemux", about: "the daemon itself, with TAP ports", open: openDaemonTaps(), perPort: 40 * time.Millisecond},
		{name: "wire-gso", about: "the same with --wire-gso: super-frames leave for the wire whole", open: openDaemonTaps("--wire-gso"), perPort: 40 * time.Millisecond},
		{name: "veth", about: "two containers joined by a veth pair, with no NIC and no switch", open: openVethPair},
		{name: "before", about: "the host's own stack on the NIC, no daemon", open: openHostAlone},
		{name: "native", about: "the host's own stack, with the daemon attached in native mode", open: openHostBeside("native")},
		{name: "generic", about: "the host's own stack, with the daemon attached in generic mode", open: openHostBeside("generic")},
	}
}

// openDaemonTaps has the daemon, with these flags, serve a TAP for each container.
func openDaemonTaps(flags ...string) func(b *bed, c *testCase) *stage {
	return func(b *bed, c *testCase) *stage { return daemonTaps(b, c, flags) }
}

func daemonTaps(b *bed, c *testCase, flags []string) *stage {
	s := kernelStage(b, c, false)
	cpus := strconv.Itoa(workerCPU)
	if c.Direction == victim { // a slow lane is on another processor than the worker, where there is one
		cpus = fmt.Sprintf("%d,%d", generatorCPU, workerCPU)
	}
	d := startDaemon(b, s.rig, cpus, flags...)
	b.check(d.apply(tapPorts(s)))
	for _, ns := range s.rig.Containers {
		batch(b, ns, "ip", []string{fmt.Sprintf("neigh add %s lladdr %s dev %s nud permanent", sourceAddr(), s.wireMAC(), inner)})
	}
	consume(b, s, c)
	return s
}

func openVethPair(b *bed, c *testCase) *stage {
	s := kernelStage(b, c, true)
	ends := s.rig.Containers
	batch(b, ends[0], "ip", []string{fmt.Sprintf("link add %s address %s type veth peer name %s address %s netns %s",
		inner, text(s.t.mac(0)), inner, text(s.t.mac(1)), ends[1].Name)})
	addressContainers(b, s, s.wireMAC(), s.t.mac)
	consume(b, s, c)
	return s
}

// openHostAlone has one container that nobody uses, as the others have.
func openHostAlone(b *bed, c *testCase) *stage {
	s := kernelStage(b, c, false)
	consume(b, s, c)
	return s
}

func openHostBeside(mode string) func(b *bed, c *testCase) *stage {
	return func(b *bed, c *testCase) *stage {
		s := kernelStage(b, c, false)
		d := startDaemon(b, s.rig, strconv.Itoa(workerCPU), "--mode", mode)
		b.check(d.apply(tapPorts(s)))
		consume(b, s, c)
		return s
	}
}

// hostAddr is the host's own in the cases of its TCP.
const hostAddr = "10.200.0.2"

// tcpStage gives the wire's kernel an address and the ways to all others, takes
// the offloads off the wire, and has iperf3 measure.
func tcpStage(b *bed, s *stage, c *testCase) {
	wire := []string{
		fmt.Sprintf("addr add %s/8 dev %s", sourceAddr(), s.rig.WireNIC),
	}
	for i := range s.rig.Containers {
		wire = append(wire, fmt.Sprintf("neigh add %s lladdr %s dev %s nud permanent", s.t.address(i), text(s.t.mac(i)), s.rig.WireNIC))
	}
	batch(b, s.rig.Wire, "ip", wire)
	farEndApart(b, s.rig, c.FarThread)
	from, to, addr := s.rig.Wire, s.rig.Host, hostAddr
	switch c.Direction {
	case tcpHostIn, tcpHostOut:
		batch(b, s.rig.Host, "ip", []string{fmt.Sprintf("addr add %s/8 dev %s", hostAddr, s.rig.NIC)})
	case tcpLocal:
		from, to, addr = s.rig.Containers[0], s.rig.Containers[1], s.t.address(1).String()
	default:
		to, addr = s.rig.Containers[0], s.t.address(0).String()
	}
	fromCPU, toCPU := generatorCPU, workerCPU
	if c.Direction == tcpOut || c.Direction == tcpHostOut {
		from, to, addr = to, from, sourceAddr().String()
		fromCPU, toCPU = workerCPU, generatorCPU
	}
	s.measure = func(ctx context.Context, window time.Duration) (sample, error) {
		return s.iperf(b, iperfRun{from, to, addr, fromCPU, toCPU, c.streams(), window})
	}
}

// withoutOffloads switches off, at both ends of the wire, what a sender leaves to
// the NIC: all contenders do that work in software, each once.
func withoutOffloads(b *bed, rig *nictest.Rig) {
	rig.Host.Run(b, "ethtool", "-K", rig.NIC, "tx", "off", "tso", "off", "gso", "off")
	rig.Wire.Run(b, "ethtool", "-K", rig.WireNIC, "gso", "off", "gro", "on")
}

// farEndApart keeps IP and TCP of the wire's far end on the generator's processor,
// with receive packet steering. They would run on whichever sends the frame, and a
// worker that sends an acknowledgement would find itself sending the next data on
// behalf of the machine at the other end. The device's own receive work, which joins
// segments, stays with the sender: what is sent frame by frame is received frame by
// frame, and never joined. With thread it has a kernel thread, whose ring has room for
// 256 frames and loses what is beyond.
func farEndApart(b *bed, rig *nictest.Rig, thread bool) {
	if thread {
		threadedNAPI(b, rig.Wire, rig.WireNIC, generatorCPU)
		return
	}
	setDevice(b, rig.Wire, rig.WireNIC, "queues/rx-0/rps_cpus", fmt.Sprintf("%x", 1<<generatorCPU))
}

// iperfRun is one run of iperf3, in which the client sends.
type iperfRun struct {
	from, to       *nictest.NS
	addr           string
	fromCPU, toCPU int
	streams        int
	window         time.Duration
}

// wholeSeconds is the shortest run of iperf3 that is as long as a window.
func wholeSeconds(window time.Duration) int { return int(max(1, math.Ceil(window.Seconds()))) }

// iperf runs it for whole seconds, as it can no less.
func (s *stage) iperf(b *bed, r iperfRun) (out sample, err error) {
	server := r.to.Start(b, "taskset", "-c", strconv.Itoa(r.toCPU), "iperf3", "-s", "-1", "--forceflush", "-B", r.addr)
	defer func() { _ = server.Stop(syscall.SIGTERM) }()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(server.Output(), "listening"); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			return out, fmt.Errorf("iperf3 does not listen: %s", server.Output())
		}
	}
	seconds := wholeSeconds(r.window)
	var before, after []uint64
	if s.burner != nil {
		before = s.burner.spare()
	}
	began := time.Now()
	text, err := r.from.Command("taskset", "-c", strconv.Itoa(r.fromCPU), "iperf3", "-J", "-c", r.addr,
		"-t", strconv.Itoa(seconds), "-P", strconv.Itoa(r.streams), "--connect-timeout", "5000").Output()
	took := time.Since(began).Seconds()
	if s.burner != nil {
		after = s.burner.spare()
	}
	report, perr := parseIPerf(text)
	if perr != nil {
		return out, fmt.Errorf("iperf3 (%v): %w", err, perr)
	}
	out = report.sample()
	if s.burner != nil {
		out.More[figureCPUByte] = busyTime(before, after, took) / report.End.Received.Bytes
	}
	return out, nil
}

// iperfReport is what matters of iperf3's.
type iperfReport struct {
	Error string `json:"error"`
	End   struct {
		Sent struct {
			Retransmits float64 `json:"retransmits"`
		} `json:"sum_sent"`
		Received struct {
			Bytes         float64 `json:"bytes"`
			Seconds       float64 `json:"seconds"`
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
	} `json:"end"`
}

func parseIPerf(text []byte) (r iperfReport, err error) {
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("its report: %w", err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("it says: %s", r.Error)
	}
	if r.End.Received.Bytes <= 0 {
		return r, fmt.Errorf("nothing was received")
	}
	return r, nil
}

// sample has no frames: what was received intact TCP's own checksums say.
func (r iperfReport) sample() sample {
	return sample{Seconds: r.End.Received.Seconds, More: map[string]float64{
		figureGbits: r.End.Received.BitsPerSecond / 1e9, figureAgain: r.End.Sent.Retransmits}}
}
