// Package memif is the queue kind whose container is a memif 2.0 client:
// DPDK, VPP, libmemif, or a Go program with package client. The container
// brings shared memory, over which frames pass without a system call, and
// needs no privilege and no kernel device for it. This package is the server,
// which the protocol's older texts call the master.
//
// Nothing that a client says or writes is trusted. Each value is read once,
// checked, and used as it was read; whatever is wrong ends that client, with a
// reason that it is told, and nobody else.
package memif

import (
	"fmt"
	"math/bits"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
	"github.com/xdpdemux/xdpdemux/queues/netns"
)

// The limits and defaults of a Config.
const (
	// DefaultRingSize is in slots.
	DefaultRingSize = 1024
	// DefaultBufferSize is in bytes; it is what DPDK, VPP and libmemif take.
	DefaultBufferSize = 2048
	// DefaultMaxFrame is in bytes: an MTU of 1,500, header and one VLAN tag.
	DefaultMaxFrame = 1518
	// MaxRings bounds Config.Rings.
	MaxRings = 255
	// MaxRingSize bounds Config.RingSize.
	MaxRingSize = 1 << 14
	// MinFrame and MaxFrame bound Config.MaxFrame, in bytes.
	MinFrame, MaxFrame = 60, 65535
	// SocketName is the socket's name in Config.Directory.
	SocketName = "memif.sock"

	maxRegions = 256
	// zeroCopyMemory is what a zero-copy client may bring in bytes: it shows
	// us the whole pool that its packets come from.
	zeroCopyMemory = 16 << 30
)

// Config says what a queue shall be. The zero value of a field means what its
// comment says.
type Config struct {
	// Directory holds the socket. It is made if it is missing, and belongs to
	// UID and GID from then on; the one above it is the caller's, and trusted.
	// A client may do with the directory what it likes: DPDK's clients need to
	// be able to write there.
	Directory string
	// Abstract is the name of an abstract socket, in place of a Directory.
	Abstract string
	// NetNS is where the abstract socket listens; nil means the caller's own
	// network namespace. It is used by Open alone.
	NetNS *netns.NetNS
	// UID and GID are who may connect: they own the directory and the socket.
	// Of an abstract socket's clients the kernel tells both. -1 leaves that
	// one out; an abstract socket with neither takes everybody who reaches it.
	UID, GID int
	// ID is the interface's number, which a client gives.
	ID uint32
	// Secret is what a client must know, 23 bytes at most; empty means that
	// none is asked for.
	Secret string
	// Rings is the number of lanes; 0 means 1. A client must bring exactly as
	// many rings in each direction.
	Rings int
	// RingSize is how many slots a client's ring may have, a power of two; 0
	// means DefaultRingSize.
	RingSize int
	// BufferSize, in bytes, only bounds the memory that a client may bring: a
	// buffer of this size for each slot of each ring, and a quarter more. 0
	// means DefaultBufferSize, or what MaxFrame needs where that is more.
	BufferSize int
	// MaxFrame is the largest frame in bytes, Ethernet header included, both
	// ways; 0 means DefaultMaxFrame.
	MaxFrame int
	// AllowUnsealed takes memory that the client can shrink later, which is
	// what clients of the zero-copy sort bring, and up to 16 GiB of it.
	AllowUnsealed bool
	// Name is what the client is told that we are called, 31 bytes at most.
	Name string
}

func (c Config) withDefaults() Config {
	if c.Rings == 0 {
		c.Rings = 1
	}
	if c.RingSize == 0 {
		c.RingSize = DefaultRingSize
	}
	if c.MaxFrame == 0 {
		c.MaxFrame = DefaultMaxFrame
	}
	if c.BufferSize == 0 {
		c.BufferSize = max(DefaultBufferSize, c.MaxFrame)
	}
	return c
}

// Validate says in one line what is wrong with c.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case (c.Directory == "") == (c.Abstract == ""):
		return fmt.Errorf("a memif queue listens either in a directory or on an abstract socket: name one of them")
	case len(c.Abstract) > 100:
		return fmt.Errorf("the abstract socket's name has %d bytes: at most 100 are possible", len(c.Abstract))
	case c.NetNS != nil && c.Abstract == "":
		return fmt.Errorf("a network namespace matters to an abstract socket alone: name one, or none of both")
	case c.UID < -1 || c.GID < -1:
		return fmt.Errorf("user %d, group %d: -1 means nobody in particular, less means nothing", c.UID, c.GID)
	case len(c.Secret) > wire.MaxSecret:
		return fmt.Errorf("a secret of %d bytes: memif takes %d at most", len(c.Secret), wire.MaxSecret)
	case hasNUL(c.Secret) || hasNUL(c.Abstract) || hasNUL(c.Directory):
		return fmt.Errorf("a secret, a directory or a socket's name cannot contain a NUL byte")
	case len(c.Name) > wire.MaxName:
		return fmt.Errorf("the name %q has %d bytes: memif takes %d at most", c.Name, len(c.Name), wire.MaxName)
	}
	return c.validateRings()
}

func (c Config) validateRings() error {
	switch {
	case c.Rings < 1 || c.Rings > MaxRings:
		return fmt.Errorf("%d rings: a memif queue has 1 to %d in each direction", c.Rings, MaxRings)
	case c.RingSize < 2 || c.RingSize > MaxRingSize || c.RingSize&(c.RingSize-1) != 0:
		return fmt.Errorf("%d slots: a memif ring has a power of two of them, 2 to %d", c.RingSize, MaxRingSize)
	case c.BufferSize < 1 || c.BufferSize > 1<<20:
		return fmt.Errorf("buffers of %d bytes: the limit is 1 to %d", c.BufferSize, 1<<20)
	case c.MaxFrame < MinFrame || c.MaxFrame > MaxFrame:
		return fmt.Errorf("frames of %d bytes: the limit is %d to %d", c.MaxFrame, MinFrame, MaxFrame)
	}
	return nil
}

func hasNUL(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return true
		}
	}
	return false
}

// maxLog2 is the binary logarithm of RingSize.
func (c *Config) maxLog2() uint8 { return uint8(bits.TrailingZeros32(uint32(c.RingSize))) }

// maxMemory is what a client may bring, in bytes.
func (c *Config) maxMemory() uint64 {
	if c.AllowUnsealed {
		return zeroCopyMemory
	}
	need := 2 * uint64(c.Rings) * (128 + uint64(c.RingSize)*(16+uint64(c.BufferSize)))
	return need + need/4 + 64<<10
}
