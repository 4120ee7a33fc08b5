package xdp

import (
	"fmt"
	"math/bits"
	"time"
)

// ZeroCopy says whether a socket shares its memory with the NIC itself.
type ZeroCopy uint8

// The values of ZeroCopy.
const (
	// ZeroCopyOff: the kernel copies each frame. A worker that hangs harms
	// only its own containers.
	ZeroCopyOff ZeroCopy = iota
	// ZeroCopyAuto tries zero-copy and falls back; Socket.WhyCopy says why.
	ZeroCopyAuto
	// ZeroCopyOn fails where the driver cannot.
	ZeroCopyOn
)

// String is the word that a user writes.
func (z ZeroCopy) String() string {
	switch z {
	case ZeroCopyOff:
		return "off"
	case ZeroCopyAuto:
		return "auto"
	case ZeroCopyOn:
		return "on"
	}
	return fmt.Sprintf("ZeroCopy(%d)", uint8(z))
}

// BusyPoll makes the worker's own system calls run the NIC's receive work
// (SO_PREFER_BUSY_POLL), instead of interrupts. The zero value leaves it to
// interrupts. It pays only where napi_defer_hard_irqs and gro_flush_timeout of
// the device are set too.
type BusyPoll struct {
	// Micros is how long the kernel may poll for, in microseconds; 0 is off.
	Micros int
	// Budget is how many frames one poll may take; 0 means 64.
	Budget int
}

// SocketConfig says which queue a socket takes and how large its parts are.
// Sizes are counts of entries or chunks, and powers of two; 0 means the default.
type SocketConfig struct {
	// IfIndex is the device, in the network namespace of the calling thread.
	IfIndex int
	// Queue is the device's receive and transmit queue, from 0.
	Queue int
	// Frames is how many chunks the UMEM has, one half to receive and one half
	// to transmit. Default 4096. The UMEM plus what the containers' queues hold
	// should fit into the processor's last cache.
	Frames int
	// FrameSize is the size of a chunk in bytes, 2048 (the default) or 4096. In
	// copy mode a chunk receives 256 bytes less than this; larger frames come
	// as chains.
	FrameSize int
	// RxSize is the size of the receive ring. Default Frames/2, which can never
	// be full before the fill ring is empty. In zero-copy it is at most Frames/4,
	// so that it is full before: what a worker that stopped does not take can
	// then hold no more than half of the chunks that receive, and the others go on
	// carrying the host's frames. Frames is at least 256 there.
	RxSize int
	// TxSize is the size of the transmit ring. Default Frames/2.
	TxSize int
	// FillSize is the size of the fill ring, which must hold all chunks that
	// receive. Default Frames/2.
	FillSize int
	// CompletionSize is the size of the completion ring, which must hold all
	// chunks that transmit. Default Frames/2.
	CompletionSize int
	// ZeroCopy is off by default.
	ZeroCopy ZeroCopy
	// BusyPoll is off by default. A kernel that refuses it leaves the socket to
	// interrupts; see Socket.BusyPoll.
	BusyPoll BusyPoll
	// Patience is how long OpenSocket waits for a queue that is taken, whose
	// last owner may have died a moment ago; default 5 s, and at most 1 s where
	// another process is seen that may hold it.
	Patience time.Duration
}

// The limits of the sizes. The kernel's own are wider: a ring may have 2^31
// entries there.
const (
	minRing      = 64 // one batch
	maxRing      = 1 << 16
	minFrames    = 2 * minRing
	maxFrames    = 1 << 17
	minFrameSize = 2048 // the kernel's XDP_UMEM_MIN_CHUNK_SIZE
	maxFrameSize = 4096 // a page

	defaultFrames    = 4096
	defaultFrameSize = 2048
)

// Validate returns the configuration with its defaults filled in, or an error
// that wraps ErrConfig.
func (c SocketConfig) Validate() (SocketConfig, error) {
	c.setDefaults()
	for _, s := range c.sizes() {
		if err := s.check(); err != nil {
			return c, err
		}
	}
	return c, c.checkTogether()
}

func (c *SocketConfig) setDefaults() {
	setDefault(&c.Frames, defaultFrames)
	setDefault(&c.FrameSize, defaultFrameSize)
	for _, ring := range []*int{&c.RxSize, &c.TxSize, &c.FillSize, &c.CompletionSize} {
		setDefault(ring, c.Frames/2)
	}
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	if c.BusyPoll.Micros > 0 {
		setDefault(&c.BusyPoll.Budget, 64)
	}
}

// forZeroCopy is a valid configuration as zero-copy has it; see RxSize.
func (c SocketConfig) forZeroCopy() SocketConfig {
	c.Frames = max(c.Frames, 4*minRing)
	c.FillSize, c.CompletionSize = max(c.FillSize, c.Frames/2), max(c.CompletionSize, c.Frames/2)
	c.RxSize = min(c.RxSize, c.Frames/4)
	return c
}

func setDefault(v *int, to int) {
	if *v == 0 {
		*v = to
	}
}

// size is a number that must be a power of two within limits.
type size struct {
	name     string
	value    int
	min, max int
	why      string
}

func (c *SocketConfig) sizes() []size {
	const ring = "ring indices are cut by a mask, and a ring holds at least one batch"
	return []size{
		{"Frames", c.Frames, minFrames, maxFrames, "the UMEM is split into two equal halves"},
		{"FrameSize", c.FrameSize, minFrameSize, maxFrameSize, "a chunk lies within one page"},
		{"RxSize", c.RxSize, minRing, maxRing, ring},
		{"TxSize", c.TxSize, minRing, maxRing, ring},
		{"FillSize", c.FillSize, minRing, maxRing, ring},
		{"CompletionSize", c.CompletionSize, minRing, maxRing, ring},
	}
}

func (s size) check() error {
	if s.value >= s.min && s.value <= s.max && bits.OnesCount(uint(s.value)) == 1 {
		return nil
	}
	return fmt.Errorf("%w: %s is %d, but %s: choose a power of two from %d to %d",
		ErrConfig, s.name, s.value, s.why, s.min, s.max)
}

func (c *SocketConfig) checkTogether() error {
	half := c.Frames / 2
	switch {
	case c.IfIndex <= 0:
		return fmt.Errorf("%w: IfIndex is %d: give the index of a device, which is 1 or more", ErrConfig, c.IfIndex)
	case c.Queue < 0:
		return fmt.Errorf("%w: Queue is %d: queues are numbered from 0", ErrConfig, c.Queue)
	case c.FillSize < half:
		return fmt.Errorf("%w: FillSize is %d, but %d chunks receive and the fill ring holds all of them: choose FillSize %d or Frames %d",
			ErrConfig, c.FillSize, half, half, 2*c.FillSize)
	case c.CompletionSize < half:
		return fmt.Errorf("%w: CompletionSize is %d, but %d chunks transmit and the completion ring holds all of them: choose CompletionSize %d or Frames %d",
			ErrConfig, c.CompletionSize, half, half, 2*c.CompletionSize)
	case c.ZeroCopy > ZeroCopyOn:
		return fmt.Errorf("%w: %v: choose off, auto or on", ErrConfig, c.ZeroCopy)
	case c.BusyPoll.Micros < 0 || c.BusyPoll.Budget < 0 || c.BusyPoll.Budget > 1<<15:
		return fmt.Errorf("%w: BusyPoll of %d us and %d frames: choose times from 0 and budgets from 0 to %d",
			ErrConfig, c.BusyPoll.Micros, c.BusyPoll.Budget, 1<<15)
	case c.Patience < 0:
		return fmt.Errorf("%w: Patience is %v: choose 0 for the default, or a time", ErrConfig, c.Patience)
	}
	return nil
}

// geometry is what of a configuration decides where things stand in memory.
type geometry struct {
	Frames, FrameSize                        uint32
	RxSize, TxSize, FillSize, CompletionSize uint32
}

func (c *SocketConfig) geometry() geometry {
	return geometry{
		Frames: uint32(c.Frames), FrameSize: uint32(c.FrameSize),
		RxSize: uint32(c.RxSize), TxSize: uint32(c.TxSize),
		FillSize: uint32(c.FillSize), CompletionSize: uint32(c.CompletionSize),
	}
}

// config is the way back, to have numbers from a state page checked.
func (g geometry) config(ifindex, queue uint32) SocketConfig {
	return SocketConfig{
		IfIndex: int(ifindex), Queue: int(queue),
		Frames: int(g.Frames), FrameSize: int(g.FrameSize),
		RxSize: int(g.RxSize), TxSize: int(g.TxSize),
		FillSize: int(g.FillSize), CompletionSize: int(g.CompletionSize),
	}
}

// half is how many chunks receive, and how many transmit.
func (g geometry) half() uint32 { return g.Frames / 2 }

// rxBytes is where the receive half ends and the transmit half begins.
func (g geometry) rxBytes() uint64 { return uint64(g.half()) * uint64(g.FrameSize) }

// umemBytes is the size of the UMEM.
func (g geometry) umemBytes() uint64 { return uint64(g.Frames) * uint64(g.FrameSize) }
