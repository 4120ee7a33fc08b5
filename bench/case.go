package main

import "fmt"

// The directions of a case.
const (
	wireIn  = "wire-in"
	wireOut = "wire-out"
	both    = "both"    // wire to container and back, as much as goes
	local   = "local"   // container to container
	ring    = "ring"    // memif, no NIC at all
	latency = "latency" // wire to container to wire
)

// testCase is one row of the matrix: what is measured, and of whom.
type testCase struct {
	Direction  string
	Size       string // 64B, 512B, 1500B or IMIX, as Ethernet counts
	Containers int
	Zipf       bool
	Random     bool
	// Mpps is the offered load in millions of frames a second; 0 is as many as
	// the generator makes.
	Mpps float64
	// Blocking has workers and consumers sleep when there is nothing to do, and
	// measures what all processors spend.
	Blocking bool
	// Awake keeps the processors from halting: where they are a hypervisor's, what
	// ending a halt takes is otherwise most of an idle round trip, and anybody's guess.
	Awake bool
	// FarThread has a kernel thread receive at the wire's far end, as another machine
	// has processors of its own, in place of whoever sends.
	FarThread bool
	// HalfOf names a contender: the load is half of what it delivers of as much
	// as the generator makes, found when the case begins. 0 Mpps then.
	HalfOf string
	// OneCore puts the kernel's receive work onto the worker's processor, and the
	// consumer onto the generator's: threaded or busypoll says how.
	OneCore string
	// Rounds bounds the repeats of what takes long, and leaves the one that does
	// not count out; 0 is no bound.
	Rounds int
	// Often is how many repeats there are for each of the run's, where single ones
	// differ much; 0 is one.
	Often int
	// Contenders are their names; Limit is the one that the others are compared to.
	Contenders []string
	Limit      string
	alone      bool // in a victim's case, whose neighbour gets nothing
}

// name is what -run selects by.
func (c *testCase) name() string {
	n := fmt.Sprintf("%s/%s/%d", c.Direction, c.Size, c.Containers)
	if c.Random {
		n += "/random"
	}
	if c.Zipf {
		n += "/zipf"
	}
	if c.Blocking {
		n += "/blocking"
	}
	if c.Awake {
		n += "/awake"
	}
	if c.Mpps > 0 {
		n += fmt.Sprintf("/%gMpps", c.Mpps)
	}
	if c.OneCore != "" {
		n += "/onecore-" + c.OneCore
	}
	if c.FarThread {
		n += "/far-thread"
	}
	if c.HalfOf != "" {
		n += "/half-" + c.HalfOf
	}
	return n
}

// probed tells whether round trips are those of single frames among a load.
func (c *testCase) probed() bool {
	return c.Direction == victim || c.Direction == latency && (c.HalfOf != "" || c.Mpps > 0)
}

// sizes are the frames' in bytes without frame check sequence, in turn.
func (c *testCase) sizes() []int {
	switch c.Size {
	case "512B":
		return []int{512 - fcsLen}
	case "1500B":
		return []int{1500 - fcsLen}
	case "IMIX":
		return imix()
	}
	return []int{64 - fcsLen}
}
