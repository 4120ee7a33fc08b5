package main

import (
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
	k, err := findContender(name)
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t.Context(), name)
	defer b.close()
	var s *stage
	if err := b.do(func() { s = k.open(b, c) }); err != nil {
		t.Fatal(err)
	}
	if s.start != nil {
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
	}
	for range smokeRounds {
		sendAndAwait(t, s)
	}
	if a, err := s.count(); err != nil || a.bad != 0 {
		t.Errorf("%d frames were not what or where they should be (%v)", a.bad, err)
	}
	if s.stop != nil {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}
}

func sendAndAwait(t *testing.T, s *stage) {
	t.Helper()
	if err := s.rig.Wire.Do(func() error { return s.gen.send(burst) }); err != nil {
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
