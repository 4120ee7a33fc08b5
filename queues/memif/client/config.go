package client

import (
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strings"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// What stands where a Config has zero.
const (
	DefaultRings      = 1
	DefaultRingSize   = 1024
	DefaultBufferSize = 2048
)

// Config says where to connect and what to bring. Only Socket is needed.
type Config struct {
	// Socket is the server's: a path, or "@name" for an abstract one, which
	// has to be in the same network namespace.
	Socket string
	// ID is the interface id, by which a server tells the interfaces of one
	// socket apart.
	ID uint32
	// Secret is what the server wants to hear, at most 23 bytes.
	Secret string
	// Name is what this program calls itself to the server, at most 31
	// bytes; default: the program's name.
	Name string
	// Interface is what it calls its end, at most 31 bytes; default: memif
	// and the id.
	Interface string
	// Rings is how many rings there are in each direction, 1 to 256. A server
	// that takes fewer is an error. DPDK's wants exactly as many as it has
	// queues.
	Rings int
	// RingSize is how many slots a ring has, a power of two from 2 to 16384.
	// A server may want fewer, which then counts: see Conn.RingSize.
	RingSize int
	// BufferSize is how many bytes a slot holds, 1 to 65535. Larger frames
	// take several slots.
	BufferSize int
	// Polling makes ReadContext look again and again in place of sleeping. It
	// takes a whole processor and has the smallest latency.
	Polling bool
}

// MemoryBytes is the most shared memory, in bytes, that a connection with this
// configuration takes.
func (c Config) MemoryBytes() uint64 { return c.withDefaults().layout().Spread(63).Size() }

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = filepath.Base(os.Args[0])
		c.Name = c.Name[:min(len(c.Name), wire.MaxName)]
	}
	if c.Interface == "" {
		c.Interface = fmt.Sprintf("memif%d", c.ID)
	}
	c.Rings = or(c.Rings, DefaultRings)
	c.RingSize = or(c.RingSize, DefaultRingSize)
	c.BufferSize = or(c.BufferSize, DefaultBufferSize)
	return c
}

func or[T comparable](v, standard T) T {
	if v == *new(T) {
		return standard
	}
	return v
}

// maxSocket is how long a Unix socket's path may be: sun_path has 108 bytes.
const maxSocket = 107

// check says, in one line, what is wrong with a configuration that has its
// defaults.
func (c Config) check() error {
	switch {
	case c.Socket == "" || c.Socket == "@":
		return fmt.Errorf("no socket: give the path of the server's socket, or @name of an abstract one")
	case len(c.Socket) > maxSocket:
		return fmt.Errorf("socket %.20q… has %d bytes: a Unix socket's name has at most %d, use a shorter directory",
			c.Socket, len(c.Socket), maxSocket)
	case strings.Contains(c.Socket, "\x00"):
		return fmt.Errorf("socket %q contains a NUL: write an abstract name with @ in front", c.Socket)
	case len(c.Secret) > wire.MaxSecret:
		return fmt.Errorf("the secret has %d bytes: memif has room for %d", len(c.Secret), wire.MaxSecret)
	case strings.Contains(c.Secret, "\x00"):
		return fmt.Errorf("the secret contains a NUL: memif ends it there")
	case len(c.Name) > wire.MaxName:
		return fmt.Errorf("name %q has %d bytes: memif has room for %d", c.Name, len(c.Name), wire.MaxName)
	case len(c.Interface) > wire.MaxName:
		return fmt.Errorf("interface name %q has %d bytes: memif has room for %d", c.Interface, len(c.Interface), wire.MaxName)
	case c.RingSize < 2 || c.RingSize > 1<<shm.MaxLog2 || c.RingSize&(c.RingSize-1) != 0:
		return fmt.Errorf("ring size %d: a power of two from 2 to %d is needed", c.RingSize, 1<<shm.MaxLog2)
	}
	return c.layout().Spread(63).Check()
}

func (c Config) layout() shm.Layout {
	log2 := uint8(0)
	if c.RingSize > 0 {
		log2 = uint8(bits.Len(uint(c.RingSize)) - 1)
	}
	return shm.Layout{Rings: c.Rings, Log2: log2, BufferSize: c.BufferSize}
}

// Buffers makes n buffers of size bytes each, for Read.
func Buffers(n, size int) [][]byte {
	all := make([]byte, n*size)
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = all[i*size : (i+1)*size : (i+1)*size]
	}
	return bufs
}
