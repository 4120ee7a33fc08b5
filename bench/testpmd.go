package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// testpmd is a running dpdk-testpmd. It counts by itself; we ask it over its
// telemetry socket.
type testpmd struct {
	process *nictest.Process
	socket  string
}

// startTestpmd starts it inside a namespace with one device of DPDK's, its main
// thread beside the generator and its polling thread on one processor, and waits
// until it answers.
func startTestpmd(b *bed, ns *nictest.NS, cpu int, vdev string, args ...string) *testpmd {
	nictest.Require(b, "dpdk-testpmd")
	prefix := filepath.Base(b.TempDir())
	dir := runtimeDir(prefix)
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	line := append([]string{
		"--lcores", fmt.Sprintf("0@%d,1@%d", generatorCPU, cpu), "--no-huge", "--no-pci", "-m", "512",
		"--file-prefix", prefix, "--vdev", vdev, "--",
		"--total-num-mbufs=16384", "--no-mlockall", "--stats-period=3600",
	}, args...)
	t := &testpmd{process: ns.Start(b, "dpdk-testpmd", line...), socket: filepath.Join(dir, "dpdk_telemetry.v2")}
	b.Cleanup(func() { _ = t.process.Stop(syscall.SIGINT) })
	b.check(t.await())
	return t
}

// await waits until it answers and has come as far as its last flushed line;
// what it prints afterwards stays in its buffer. Before the device is started
// there are no counters.
func (t *testpmd) await() (err error) {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if strings.Contains(t.process.Output(), "Checking link statuses") {
			if _, err = t.stats(); err == nil {
				return nil
			}
		}
		select {
		case <-t.process.Done():
			return fmt.Errorf("dpdk-testpmd ended by itself: %s", t.process.Output())
		default:
		}
	}
	return fmt.Errorf("dpdk-testpmd does not answer (%w): %s", err, t.process.Output())
}

// runtimeDir is where DPDK puts a process's sockets.
func runtimeDir(prefix string) string { return filepath.Join("/var/run/dpdk", prefix) }

// portStats are what the first port of a testpmd counted.
type portStats struct {
	In  uint64 `json:"ipackets"`
	Out uint64 `json:"opackets"`
}

// stats asks for them.
func (t *testpmd) stats() (s portStats, err error) {
	conn, err := net.DialTimeout("unixpacket", t.socket, time.Second)
	if err != nil {
		return s, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return s, err
	}
	buf := make([]byte, 16<<10)
	if _, err := conn.Read(buf); err != nil { // it introduces itself
		return s, err
	}
	if _, err := conn.Write([]byte("/ethdev/stats,0")); err != nil {
		return s, err
	}
	n, err := conn.Read(buf)
	if err != nil {
		return s, err
	}
	return parseStats(buf[:n])
}

func parseStats(text []byte) (portStats, error) {
	var answer struct {
		Stats *portStats `json:"/ethdev/stats"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return portStats{}, fmt.Errorf("the telemetry of dpdk-testpmd: %w", err)
	}
	if answer.Stats == nil {
		return portStats{}, fmt.Errorf("the telemetry of dpdk-testpmd says %q", text)
	}
	return *answer.Stats, nil
}

// received is what arrived at its port, as a stage counts.
func (t *testpmd) received() (arrivals, error) {
	s, err := t.stats()
	return arrivals{frames: s.In}, err
}

func testpmdContenders() []contender {
	return []contender{
		{name: "testpmd", about: "dpdk-testpmd with net_af_xdp, rxonly: C, on one queue, delivers to nobody and reads nothing", open: openTestpmd},
	}
}

// openTestpmd has it take every frame of the NIC. It cannot be paused: where
// it shares a run with others it is stopped by a signal in between.
func openTestpmd(b *bed, c *testCase) *stage {
	s := newStage(b, c, false)
	t := startTestpmd(b, s.rig.Host, workerCPU,
		"net_af_xdp0,iface="+s.rig.NIC+",start_queue=0,queue_count=1", "--forward-mode=rxonly")
	s.count = t.received
	pausable(b, s, t.process)
	return s
}

// pausable stops a process by a signal whenever the stage is not started.
func pausable(b *bed, s *stage, p *nictest.Process) {
	start, stop := s.start, s.stop
	b.check(p.Signal(syscall.SIGSTOP))
	b.Cleanup(func() { _ = p.Signal(syscall.SIGCONT) }) // a stopped process heeds no other signal
	s.start = func() error {
		if err := p.Signal(syscall.SIGCONT); err != nil || start == nil {
			return err
		}
		return start()
	}
	s.stop = func() error {
		err := p.Signal(syscall.SIGSTOP)
		if stop != nil {
			err = errors.Join(err, stop())
		}
		return err
	}
}
