package main

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestMain lets the tests' program be its own consumer, as the program is.
func TestMain(m *testing.M) {
	if helper, ok := asHelper(os.Args); ok {
		os.Exit(helper())
	}
	os.Exit(m.Run())
}

// smokeRounds bursts are sent one after the other, each when all of the one
// before has arrived: then no queue is ever full, and every frame must arrive.
const smokeRounds = 20

// TestEveryFrameArrivesIntact runs contenders of each sort with as little
// traffic as no machine is too slow for. Nothing is timed.
func TestEveryFrameArrivesIntact(t *testing.T) {
	nictest.RequireRoot(t)
	needProcessors(t)
	for _, c := range []testCase{
		{Direction: wireIn, Size: "64B", Containers: 1},
		{Direction: wireIn, Size: "IMIX", Containers: 12, Random: true, Zipf: true},
		{Direction: wireIn, Size: "64B", Containers: 3, Blocking: true},
	} {
		for _, name := range []string{nameDrop, nameBare, "inproc", "memif", "tap", "bridge", "macvlan", "routed"} {
			t.Run(c.name()+"/"+name, func(t *testing.T) { smoke(t, &c, name) })
		}
	}
}

func smoke(t *testing.T, c *testCase, name string) {
	s := started(t, c, name)
	for range smokeRounds {
		sendAndAwait(t, s)
	}
	if a, err := s.count(); err != nil || a.bad != 0 {
		t.Errorf("%d frames were not what or where they should be (%v)", a.bad, err)
	}
}

// started opens and starts a contender for as long as the test runs.
func started(t *testing.T, c *testCase, name string) *stage {
	t.Helper()
	k, err := findContender(name)
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(context.Background(), name)
	t.Cleanup(b.close)
	var s *stage
	if err := b.do(func() { s = k.open(b, c) }); err != nil {
		t.Fatal(err)
	}
	if s.start != nil {
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
	}
	if s.stop != nil {
		t.Cleanup(func() {
			if err := s.stop(); err != nil {
				t.Error(err)
			}
		})
	}
	return s
}

// TestFramesReachTheWireIntact waits for some frames of the containers at the
// wire's end, which looks at every byte behind their heads.
func TestFramesReachTheWireIntact(t *testing.T) {
	nictest.RequireRoot(t)
	c := testCase{Direction: wireOut, Size: "64B", Containers: 3}
	for _, name := range []string{nameBare, "memif", "tap", "bridge", "macvlan", "routed"} {
		t.Run(name, func(t *testing.T) {
			s := started(t, &c, name)
			awaitIntact(t, s.arrived)
		})
	}
}

// TestFramesGoThereAndBack: with both directions at once what comes back to the
// wire's end is whole.
func TestFramesGoThereAndBack(t *testing.T) {
	nictest.RequireRoot(t)
	c := testCase{Direction: both, Size: "64B", Containers: 3}
	for _, name := range []string{nameBare, "inproc", "memif", "tap", "bridge"} {
		t.Run(name, func(t *testing.T) {
			s := started(t, &c, name)
			flood(t, s)
			awaitIntact(t, s.arrivals)
		})
	}
}

// flood has the stage's source send a small load until the test ends.
func flood(t *testing.T, s *stage) {
	t.Helper()
	const mpps = 0.01
	ctx, cancel := context.WithCancel(context.Background())
	done := onCPU(generatorCPU, func() error { return s.gen.flood(ctx, mpps) })
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestProbesComeBackFromAmongALoad: each is told apart and timed, and nothing else
// comes back.
func TestProbesComeBackFromAmongALoad(t *testing.T) {
	nictest.RequireRoot(t)
	c := testCase{Direction: latency, Size: "64B", Containers: 3, Blocking: true, HalfOf: "bridge"}
	for _, name := range []string{"memif", "bridge"} {
		t.Run(name, func(t *testing.T) {
			s := started(t, &c, name)
			flood(t, s)
			awaitProbes(t, s)
		})
	}
}

func awaitProbes(t *testing.T, s *stage) {
	t.Helper()
	var r probeReading
	for end := time.Now().Add(30 * time.Second); r.back < 20 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		var err error
		if r, err = s.probes.read(); err != nil {
			t.Fatal(err)
		}
	}
	times := r.since(probeReading{})
	if len(times) < 20 || times[0] <= 0 || r.strays > 0 {
		t.Errorf("%d probes came back, the fastest in %v; and %d other frames", len(times), times[:min(1, len(times))], r.strays)
	}
}

// TestTheDaemonIsMeasured: its ports are added and removed, one more answers a
// ping, and probes come back from a TAP beside another with a long firewall.
func TestTheDaemonIsMeasured(t *testing.T) {
	nictest.RequireRoot(t)
	if _, err := findDaemon(); err != nil {
		nictest.Missing(t, "xdpdemux: "+err.Error())
	}
	t.Run("density", func(t *testing.T) {
		c := testCase{Direction: density, Containers: 3, Size: "ports"}
		for _, name := range []string{"memif-clients", "tap-ports", "bridge-ports", "macvlan-ports"} {
			s := started(t, &c, name)
			out, err := s.measure(t.Context(), time.Millisecond)
			if err != nil || out.More[figureAdd] <= 0 || out.More[figureFirst] <= 0 || out.More[figureDelete] <= 0 {
				t.Errorf("%s: %v %v", name, out, err)
			}
		}
	})
	t.Run("victim", func(t *testing.T) {
		nictest.Require(t, "nft")
		s := started(t, &testCase{Direction: victim, Containers: 2, Size: "64B", Blocking: true, Mpps: 0.01}, "beside-rules")
		flood(t, s)
		awaitProbes(t, s)
	})
}

// TestOurSenderReachesEachQueue: two workers serve two queues, and all containers
// get what is theirs.
func TestOurSenderReachesEachQueue(t *testing.T) {
	nictest.RequireRoot(t)
	c := testCase{Direction: manyQueues, Size: "64B", Containers: 4}
	s := started(t, &c, queueName(2, 2))
	flood(t, s)
	awaitIntact(t, s.arrivals)
}

// TestTheSwitchInMemory: what Zipf's law sends where arrives there.
func TestTheSwitchInMemory(t *testing.T) {
	c := testCase{Direction: memory, Size: "64B", Containers: 50, Zipf: true}
	s := started(t, &c, nameLanes)
	awaitIntact(t, s.arrivals)
}

// TestFramesPassFromContainerToContainer waits for some that the next container
// has read.
func TestFramesPassFromContainerToContainer(t *testing.T) {
	nictest.RequireRoot(t)
	c := testCase{Direction: local, Size: "64B", Containers: 3}
	for _, name := range []string{"memif", "inproc", "tap", "bridge", "macvlan", "routed"} {
		t.Run(name, func(t *testing.T) {
			s := started(t, &c, name)
			awaitIntact(t, s.arrivals)
		})
	}
}

// awaitIntact waits until a thousand frames have arrived.
func awaitIntact(t *testing.T, count func() (arrivals, error)) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		a, err := count()
		if err != nil || a.bad > 0 {
			t.Fatalf("%d frames were not as they were sent (%v)", a.bad, err)
		}
		if a.frames >= 1000 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d frames arrived within 30 s, want 1,000", a.frames)
		}
	}
}

// TestFramesComeBack: each container sends back what it gets. One that takes too
// long counts as lost on a busy machine, and the next may not.
func TestFramesComeBack(t *testing.T) {
	nictest.RequireRoot(t)
	c := testCase{Direction: latency, Size: "64B", Containers: 3, Blocking: true}
	for _, name := range []string{"memif", "tap", "bridge", "macvlan", "routed"} {
		t.Run(name, func(t *testing.T) {
			s := started(t, &c, name)
			for i := range c.Containers {
				came := false
				for range 100 {
					if _, came = s.ping.once(i); came {
						break
					}
				}
				if !came {
					t.Errorf("of 100 frames to container %d none came back", i)
				}
			}
		})
	}
}

func sendAndAwait(t *testing.T, s *stage) {
	t.Helper()
	if err := s.rig.Wire.Do(func() error { return s.gen.(*generator).send(burst) }); err != nil {
		t.Fatal(err)
	}
	sent, err := s.gen.sent()
	if err != nil {
		t.Fatal(err)
	}
	var a arrivals
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if a, err = s.count(); err != nil {
			t.Fatal(err)
		}
		if a.frames+a.bad == sent {
			return
		}
	}
	t.Fatalf("of %d frames %d arrived intact and %d otherwise within 30 s", sent, a.frames, a.bad)
}
