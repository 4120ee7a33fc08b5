package api

import (
	"math/bits"
	"net/netip"
	"strings"
	"time"
)

// KindMemif is the kind of a queue that is shared memory, which a program
// reaches through a Unix socket (memif 2.0).
const KindMemif = "memif"

// The defaults and the bounds of a MemifSpec.
const (
	DefaultRings      = 1
	DefaultRingSize   = 1024
	DefaultBufferSize = 2048

	// MaxRings is as many as there may be workers.
	MaxRings = 64
	// MinRingSize and MaxRingSize are what memif itself allows, in slots.
	MinRingSize = 2
	MaxRingSize = 16384
	// MinBufferSize and MaxBufferSize are in bytes.
	MinBufferSize = 64
	MaxBufferSize = 65536
	// MaxSecret is the longest secret, in bytes: the field has 24, and peers
	// want a zero byte at its end.
	MaxSecret = 23
	// MaxAbstract is the longest name of an abstract socket, in bytes; DPDK has
	// room for no more.
	MaxAbstract = 100
	// MaxID is the largest number of a user or a group.
	MaxID = 1<<32 - 2
	// MaxMemifMTU is the largest MTU of a port of kind memif: a frame of 9,216
	// bytes, less the Ethernet header.
	MaxMemifMTU = 9216 - 14
)

// MemifSpec is what only a port of kind memif has. All of it is there from the
// start: to change any, del the port and add it anew.
type MemifSpec struct {
	// Rings that the client must have in each direction, and no others: 1 if
	// left out, and at most one for each worker.
	Rings int `json:"rings,omitempty"`
	// RingSize is the most slots that a ring may have, a power of two from 2 to
	// 16384; 1024 if left out.
	RingSize int `json:"ring_size,omitempty"`
	// BufferSize bounds the memory that the client may bring: as many bytes for
	// each slot of each ring; 2048 if left out. Its buffers may be smaller.
	BufferSize int `json:"buffer_size,omitempty"`
	// Secret that the client must say, up to 23 bytes. No answer ever shows it.
	Secret string `json:"secret,omitempty"`
	// UID and GID are who may connect, and the owner of the socket's directory;
	// 0 or left out means the daemon's own, and with Abstract anybody.
	UID int `json:"uid,omitempty"`
	GID int `json:"gid,omitempty"`
	// Abstract is the name of an abstract socket, in place of one at a path. It
	// is to be found in one network namespace alone: NetNS, or the daemon's own
	// if that is left out.
	Abstract string `json:"abstract,omitempty"`
	// AllowUnsealed lets the client bring memory that it could cut short later,
	// as the zero-copy mode of DPDK does. One that does is disconnected.
	AllowUnsealed bool `json:"allow_unsealed,omitempty"`
}

// Endpoint is all that a program needs to use a port of kind memif and to
// configure itself. Its keys are spelled as programs expect them, which is not
// as everywhere else.
type Endpoint struct {
	// SocketPath to connect to; with Abstract its name, without a zero byte or
	// @ in front.
	SocketPath string `json:"socketPath"`
	// Abstract says that SocketPath is the name of an abstract socket.
	Abstract bool `json:"abstract"`
	// ID of the interface on that socket.
	ID uint32 `json:"id"`
	// SecretRequired says that the client must say the port's secret.
	SecretRequired bool `json:"secretRequired"`
	// MAC that the program must send from.
	MAC MAC `json:"mac"`
	// IPs that it may bear, each with the length of its on-link prefix.
	IPs []netip.Prefix `json:"ips"`
	// Prefixes that it owns whole, as a router.
	Prefixes []netip.Prefix `json:"prefixes,omitempty"`
	// LinkLocal is the fe80:: address that it must use, if it has IPv6.
	LinkLocal netip.Addr `json:"linkLocal,omitzero"`
	// Gateway is the next hop of IPv4, or, without IPv4, the only one.
	Gateway netip.Addr `json:"gateway,omitzero"`
	// Gateways are the default next hops, at most one of each family.
	Gateways []netip.Addr `json:"gateways,omitempty"`
	// MTU in bytes, without the Ethernet header.
	MTU int `json:"mtu"`
	// Rings that it must have in each direction.
	Rings int `json:"rings"`
	// RingSize is the most slots that a ring may have.
	RingSize int `json:"ringSize"`
	// BufferSize bounds the memory that it may bring, in bytes for each slot.
	BufferSize int `json:"bufferSize"`
}

// MemifClient is the program that is connected to a port of kind memif.
type MemifClient struct {
	// Name of the program and of its interface, as it says itself.
	Name      string `json:"name"`
	Interface string `json:"interface"`
	// PID, UID and GID of the process that connected, as the kernel says and as
	// the daemon's namespaces count.
	PID int `json:"pid"`
	UID int `json:"uid"`
	GID int `json:"gid"`
	// Rings in each direction, of RingSize slots.
	Rings    int `json:"rings"`
	RingSize int `json:"ring_size"`
	// Regions of shared memory, and their bytes.
	Regions     int    `json:"regions"`
	MemoryBytes uint64 `json:"memory_bytes"`
	// ConnectedSince is when the connection was complete.
	ConnectedSince time.Time `json:"connected_since"`
}

// withDefaults is m with what was left out filled in.
func (m MemifSpec) withDefaults() MemifSpec {
	fill := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	fill(&m.Rings, DefaultRings)
	fill(&m.RingSize, DefaultRingSize)
	fill(&m.BufferSize, DefaultBufferSize)
	return m
}

// given names the first field of m that says anything; "" if none does.
func (m *MemifSpec) given() string {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"rings", m.Rings != 0}, {"ring size", m.RingSize != 0}, {"buffer size", m.BufferSize != 0},
		{"secret", m.Secret != ""}, {"uid", m.UID != 0}, {"gid", m.GID != 0},
		{"abstract", m.Abstract != ""}, {"allow-unsealed", m.AllowUnsealed},
	} {
		if f.set {
			return f.name
		}
	}
	return ""
}

// checkMemif checks what only one of the two kinds may have.
func (p *PortSpec) checkMemif() error {
	if p.Kind != KindMemif {
		if name := p.given(); name != "" {
			return usage("leave it out, or say --kind memif", "%s: only a port of kind memif has it", name)
		}
		return nil
	}
	switch {
	case p.NetNS != "" && p.Abstract == "":
		return usage("leave it out, or say --kind tap", "netns: a port of kind memif has no interface in any, and its socket is at a path")
	case p.IfName != "":
		return usage("leave it out, or say --kind tap", "ifname: a port of kind memif has no interface")
	case p.Depth != 0:
		return usage("give --ring-size", "depth: a port of kind memif has rings")
	case p.MTU > MaxMemifMTU:
		return usage("give at most 9202", "MTU %d: memif takes frames of 9,216 bytes at most", p.MTU)
	}
	return p.MemifSpec.check()
}

func (m *MemifSpec) check() error {
	for _, check := range []func() error{m.checkRings, m.checkSecret, m.checkOwner, m.checkAbstract} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (m *MemifSpec) checkRings() error {
	switch {
	case m.Rings < 0 || m.Rings > MaxRings:
		return usage("give 1 to 64, and no more than the daemon has workers", "rings %d: it is out of range", m.Rings)
	case m.RingSize < 0 || bits.OnesCount(uint(m.RingSize)) > 1:
		return usage("give 2, 4, 8, … 16384", "ring size %d: it is no power of two", m.RingSize)
	case m.RingSize != 0 && (m.RingSize < MinRingSize || m.RingSize > MaxRingSize):
		return usage("give 2 to 16384", "ring size %d: it is out of range", m.RingSize)
	case m.BufferSize != 0 && (m.BufferSize < MinBufferSize || m.BufferSize > MaxBufferSize):
		return usage("give 64 to 65536 bytes", "buffer size %d: it is out of range", m.BufferSize)
	}
	return nil
}

func (m *MemifSpec) checkSecret() error {
	switch {
	case len(m.Secret) > MaxSecret:
		return usage("choose a shorter one", "secret: %d bytes are more than the %d that memif has room for", len(m.Secret), MaxSecret)
	case strings.ContainsRune(m.Secret, 0):
		return usage("choose one of printable characters", "secret: it holds a zero byte, which ends it")
	}
	return nil
}

func (m *MemifSpec) checkOwner() error {
	for _, id := range []struct {
		name  string
		value int
	}{{"uid", m.UID}, {"gid", m.GID}} {
		if id.value < 0 || id.value > MaxID {
			return usage("give the number of a user or a group", "%s %d: it is out of range", id.name, id.value)
		}
	}
	return nil
}

func (m *MemifSpec) checkAbstract() error {
	switch {
	case len(m.Abstract) > MaxAbstract:
		return usage("choose a shorter one", "abstract: %d bytes are more than the %d of an abstract socket", len(m.Abstract), MaxAbstract)
	case strings.ContainsFunc(m.Abstract, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }):
		return usage("use printable characters", "abstract %q: it holds what is no printable character", m.Abstract)
	case strings.HasPrefix(m.Abstract, "@"):
		return usage("leave the @ out", "abstract %q: the name stands without an @ in front", m.Abstract)
	}
	return nil
}
