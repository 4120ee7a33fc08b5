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
	if err := able(); err != nil {
		t.Skip(err)
	}
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

// TestFramesPassFromContainerToContainer waits for some that the next container
// has read.
func TestFramesPassFromContainerToContainer(t *testing.T) {
	nictest.RequireRoot(t)
	c := testCase{Direction: local, Size: "64B", Containers: 3}
	s := started(t, &c, "memif")
	awaitIntact(t, s.count)
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
