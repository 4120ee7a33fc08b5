// Package inproc is the queue kind whose container is a part of the same
// program: a Go value, with bounded rings between it and the workers, and no
// kernel object unless an eventfd is asked for.
package inproc

import (
	"fmt"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// The limits and defaults of a Config.
const (
	// DefaultSlots is in frames, for each direction of a lane.
	DefaultSlots = 256
	// DefaultMaxFrame is in bytes: an MTU of 1,500, header and one VLAN tag.
	DefaultMaxFrame = 1518
	// MaxSlots bounds a ring.
	MaxSlots = 1 << 20
	// MinFrame and MaxFrame bound Config.MaxFrame, in bytes.
	MinFrame, MaxFrame = 60, 65550
)

// Config says what a queue shall be. The zero value of a field means what its
// comment says.
type Config struct {
	// Lanes is the number of workers; 0 means 1.
	Lanes int
	// Slots is how many frames may wait in each direction of each lane, a
	// power of two; 0 means DefaultSlots. Memory is Slots x MaxFrame bytes and a little in
	// each direction.
	Slots int
	// MaxFrame is the largest frame in bytes, Ethernet header included, both
	// ways; 0 means DefaultMaxFrame.
	MaxFrame int
	// Offloads says what the program finishes by itself. Kinds of
	// super-frames need a MaxFrame to match.
	Offloads frame.Offload
	// Notify is the doorbell toward the worker: it is called by Endpoint.Write
	// on the program's own goroutine, at most once for each Arm(true). Nil
	// means none.
	Notify func(lane int)
	// EventFD makes an eventfd for each lane, which rings as Notify does; see
	// Lane.Fd.
	EventFD bool
	// Receive, if set, takes the delivered frames instead of Endpoint.Read. It
	// runs on the worker's thread inside Deliver and must neither block nor
	// keep or change the bytes, which are only lent. It returns how many
	// frames it took; the rest is refused as full.
	Receive func(lane int, f []frame.Frame) int
}

func (c Config) withDefaults() Config {
	if c.Lanes == 0 {
		c.Lanes = 1
	}
	if c.Slots == 0 {
		c.Slots = DefaultSlots
	}
	if c.MaxFrame == 0 {
		c.MaxFrame = DefaultMaxFrame
	}
	return c
}

// Validate says in one line what is wrong with c.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case c.Lanes < 1:
		return fmt.Errorf("%d lanes: a queue has at least 1", c.Lanes)
	case c.Slots < 1 || c.Slots > MaxSlots || c.Slots&(c.Slots-1) != 0:
		return fmt.Errorf("%d slots: a ring has a power of two of them, up to %d", c.Slots, MaxSlots)
	case c.MaxFrame < MinFrame || c.MaxFrame > MaxFrame:
		return fmt.Errorf("frames of %d bytes: the limit is %d to %d", c.MaxFrame, MinFrame, MaxFrame)
	}
	return nil
}
