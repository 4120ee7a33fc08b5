package main

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// The layout of every generated frame: untagged Ethernet, IPv4 without options,
// UDP without checksum (RFC 768), the container's number, and a fixed pattern.
const (
	ethLen     = 14
	ipLenAt    = ethLen + 2
	ipSumAt    = ethLen + 10
	ipDstAt    = ethLen + 16
	udpAt      = ethLen + 20
	udpLenAt   = udpAt + 4
	payloadAt  = udpAt + 8
	indexAt    = payloadAt
	headLen    = indexAt + 2
	maxFrame   = 1514
	fcsLen     = 4
	drainPort  = 2000
	sourcePort = 1000
)

// macPrefix is what the addresses of the rig's NIC and of all containers have
// in common, so that the generator writes the other four bytes only.
const macPrefix = 0x026e

// traffic says what frames a case sends.
type traffic struct {
	Sizes      []int // in bytes without frame check sequence, in turn
	Containers int
	Zipf       bool // s=1.0 instead of uniform
	Random     bool // addresses scattered over 10/8 instead of contiguous
	ByMAC      bool // containers have MAC addresses of their own
	// Every Probes-th frame is a probe, which the container sends back; 0 is none.
	Probes int
	// Victim is who gets the probes alone, container 0; the other gets all else.
	Victim   bool
	Src, NIC [6]byte
}

// A probe is a frame of a size that no other has. Its last four bytes are its
// number, in the order of the machine, in place of the pattern.
const (
	probeLen   = 68
	probeAt    = probeLen - 4
	probeEvery = 64
)

// zipfSeed makes every run send the same sequence.
const zipfSeed = 20260101

// address is container i's. The scattered ones are all different, since an odd
// factor permutes the numbers of 24 bits.
func (t traffic) address(i int) netip.Addr {
	n := uint32(9<<16 + i + 1)
	if t.Random {
		n = (uint32(i+1)*0x9e3779b1 + 0x5bd1e9) & 0xffffff
	}
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

// mac is the address to which frames for container i are sent.
func (t traffic) mac(i int) [6]byte {
	if !t.ByMAC {
		return t.NIC
	}
	return [6]byte{macPrefix >> 8, macPrefix & 0xff, 0xc0, 0, byte(i >> 8), byte(i)}
}

// sourceAddr is whom all frames from the wire come from.
func sourceAddr() netip.Addr { return netip.AddrFrom4([4]byte{10, 200, 0, 1}) }

// frame is a frame of size bytes for container i.
func (t traffic) frame(i, size int) []byte {
	f := make([]byte, size)
	mac, dst, src := t.mac(i), t.address(i).As4(), sourceAddr().As4()
	copy(f, mac[:])
	copy(f[6:], t.Src[:])
	be := binary.BigEndian
	be.PutUint16(f[12:], 0x0800)
	f[ethLen], f[ethLen+8], f[ethLen+9] = 0x45, 64, 17
	copy(f[ethLen+12:], src[:])
	copy(f[ipDstAt:], dst[:])
	be.PutUint16(f[ipLenAt:], uint16(size-ethLen))
	be.PutUint16(f[udpAt:], sourcePort)
	be.PutUint16(f[udpAt+2:], drainPort)
	be.PutUint16(f[udpLenAt:], uint16(size-udpAt))
	be.PutUint16(f[ipSumAt:], checksum(f[ethLen:udpAt]))
	be.PutUint16(f[indexAt:], uint16(i))
	for at := headLen; at < size; at++ {
		f[at] = pattern(at)
	}
	return f
}

// outward is the frame that container i sends to the wire.
func (t traffic) outward(i, size int) []byte {
	f := t.frame(i, size)
	mac := t.mac(i)
	copy(f, t.Src[:])
	copy(f[6:], mac[:])
	swap(f, ethLen+12, ipDstAt, 4)
	swap(f, udpAt, udpAt+2, 2)
	return f
}

// between is the frame that container i sends to the next one, and its number.
func (t traffic) between(i, size int) (frame []byte, to int) {
	to = (i + 1) % t.Containers
	return t.passing(i, to, size), to
}

// passing is a frame that container i sends to another.
func (t traffic) passing(i, to, size int) []byte {
	t.Src = t.mac(i)
	f := t.frame(to, size)
	src := t.address(i).As4()
	copy(f[ethLen+12:], src[:])
	clear(f[ipSumAt : ipSumAt+2])
	binary.BigEndian.PutUint16(f[ipSumAt:], checksum(f[ethLen:udpAt]))
	return f
}

// reflect turns a frame round: what went there comes back. No checksum changes
// with the order of what it sums up.
func reflect(f []byte) {
	swap(f, 0, 6, 6)
	swap(f, ethLen+12, ipDstAt, 4)
	swap(f, udpAt, udpAt+2, 2)
}

// swap exchanges n bytes at a with those at b.
func swap(f []byte, a, b, n int) {
	for i := range n {
		f[a+i], f[b+i] = f[b+i], f[a+i]
	}
}

// pattern is the byte at that place in every frame behind its head.
func pattern(at int) byte { return byte(at*7 + at>>8) }

// checksum is that of an IPv4 header whose own field is 0 (RFC 1071).
func checksum(head []byte) uint16 {
	var sum uint32
	for i := 0; i < len(head); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(head[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// order is the sequence of containers that is sent again and again, a power of
// two long: each of them equally often to within one, shuffled, or by Zipf's law.
func (t traffic) order() []uint16 {
	n := 1 << 10
	for n < 4*t.Containers {
		n *= 2
	}
	if t.Victim {
		return t.beside(n)
	}
	r := rand.New(rand.NewPCG(zipfSeed, 1))
	if t.Zipf {
		return zipfOrder(r, max(n, 1<<16), t.Containers)
	}
	order := make([]uint16, n)
	for i := range order {
		order[i] = uint16(i % t.Containers)
	}
	r.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

// beside is the order of n frames of which only the probes are container 0's.
func (t traffic) beside(n int) []uint16 {
	order := make([]uint16, n)
	for i := range order {
		if i%t.Probes != 0 {
			order[i] = 1
		}
	}
	return order
}

// zipfOrder draws n containers with a probability of 1/rank, by inversion: the
// standard library's generator takes no exponent of 1.
func zipfOrder(r *rand.Rand, n, containers int) []uint16 {
	sums := make([]float64, containers)
	total := 0.0
	for i := range sums {
		total += 1 / float64(i+1)
		sums[i] = total
	}
	rank := make([]uint16, containers) // which container has which rank
	for i, p := range r.Perm(containers) {
		rank[i] = uint16(p)
	}
	order := make([]uint16, n)
	for i := range order {
		at, _ := slices.BinarySearch(sums, r.Float64()*total)
		order[i] = rank[min(at, containers-1)]
	}
	return order
}

// imix is the simple Internet mix: seven of the smallest, four of 594 bytes and
// one of the largest, as Ethernet counts them.
func imix() []int {
	return []int{60, 590, 60, 60, 590, 60, 590, 60, 60, 590, 60, maxFrame}
}

// meanSize is in bytes.
func meanSize(sizes []int) float64 {
	sum := 0
	for _, s := range sizes {
		sum += s
	}
	return float64(sum) / math.Max(1, float64(len(sizes)))
}

// checker tells whether a frame is the one that was sent, by reading every byte
// of it. Any goroutine may use it.
type checker struct {
	t       traffic
	head    [headLen]byte // of a frame for container 0 of 0 bytes
	sum     uint32        // of its IPv4 header, with neither length nor destination
	pattern []byte
}

func newChecker(t traffic) *checker {
	f := t.frame(0, maxFrame)
	c := &checker{t: t, head: [headLen]byte(f), pattern: f[headLen:]}
	clear(c.head[ipSumAt : ipSumAt+2])
	clear(c.head[ipLenAt : ipLenAt+2])
	clear(c.head[ipDstAt : ipDstAt+4])
	c.sum = uint32(^checksum(c.head[ethLen:udpAt]))
	return c
}

// frame tells whether data is a whole frame for container i.
func (c *checker) frame(i int, data []byte) bool {
	if len(data) < 60 || len(data) > maxFrame {
		return false
	}
	head, be := c.head, binary.BigEndian
	mac, dst := c.t.mac(i), c.t.address(i).As4()
	copy(head[:], mac[:])
	copy(head[ipDstAt:], dst[:])
	size := uint32(len(data))
	be.PutUint16(head[ipLenAt:], uint16(size-ethLen))
	be.PutUint16(head[udpLenAt:], uint16(size-udpAt))
	be.PutUint16(head[indexAt:], uint16(i))
	sum := c.sum + size - ethLen + uint32(be.Uint16(dst[:])) + uint32(be.Uint16(dst[2:]))
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	be.PutUint16(head[ipSumAt:], ^uint16(sum))
	end := c.patterned(len(data))
	return [headLen]byte(data) == head && bytes.Equal(data[headLen:end], c.pattern[:end-headLen])
}

// patterned is where the pattern ends in a frame of size bytes.
func (c *checker) patterned(size int) int {
	if c.t.Probes > 0 && size == probeLen {
		return probeAt
	}
	return size
}

// payload tells whether data is the whole payload of a frame for container i:
// what is left when a kernel has looked at the headers.
func (c *checker) payload(i int, data []byte) bool {
	const number = headLen - payloadAt
	end := c.patterned(len(data)+payloadAt) - payloadAt
	return len(data) >= 60-payloadAt && len(data) <= maxFrame-payloadAt &&
		binary.BigEndian.Uint16(data) == uint16(i) && bytes.Equal(data[number:end], c.pattern[:end-number])
}
