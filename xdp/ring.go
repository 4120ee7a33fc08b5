package xdp

import "sync/atomic"

// The two halves of a ring that the kernel holds the other half of. Indices run
// over all of uint32 and wrap; an entry stands at index & mask. Whoever writes
// an index publishes the entries before it with a release store, and whoever
// reads one sees them after an acquire load; Go's atomics are both and more
// (https://docs.kernel.org/networking/af_xdp.html, "Rings").
//
// The kernel is trusted no further than memory safety needs: an index of its
// that cannot be is read as an empty or a full ring, and every entry of its is
// bounded by whoever uses it.

// needWakeup is the bit of a ring's flags word that says that the kernel sleeps
// (XDP_RING_NEED_WAKEUP).
const needWakeup = 1

// producer is our half of a ring that we fill: fill and transmit.
type producer struct {
	next  uint32 // private copy of *own: the index of the next entry to write
	limit uint32 // where next must stop, as of the last look at *peer
	size  uint32
	mask  uint32

	own   *uint32 // the producer index; written only by us
	peer  *uint32 // the consumer index; written only by the kernel
	flags *uint32 // written only by the kernel
}

// newProducer takes a ring up where its index in memory stands.
func newProducer(m ringMemory, size uint32) producer {
	p := producer{size: size, mask: size - 1, own: m.producer, peer: m.consumer, flags: m.flags}
	p.next = atomic.LoadUint32(p.own)
	p.limit = p.next
	return p
}

// room says how many entries may be written now, up to want. It looks at the
// kernel's index only if what was seen last does not suffice.
func (p *producer) room(want uint32) uint32 {
	if p.limit-p.next >= want {
		return want
	}
	return p.look(want)
}

func (p *producer) look(want uint32) uint32 {
	seen := atomic.LoadUint32(p.peer)
	used := p.next - seen
	if used > p.size { // no consumer passes its producer
		p.limit = p.next
		return 0
	}
	p.limit = seen + p.size
	return min(want, p.size-used)
}

// unread is how many published entries the kernel has not consumed yet.
func (p *producer) unread() uint32 {
	used := p.next - atomic.LoadUint32(p.peer)
	if used > p.size {
		return 0
	}
	return used
}

// publish gives the kernel the n entries that were written from next on.
func (p *producer) publish(n uint32) {
	p.next += n
	atomic.StoreUint32(p.own, p.next)
}

// publishUnasked is publish for entries that room was not asked for, at the
// start and after a crash.
func (p *producer) publishUnasked(n uint32) {
	p.publish(n)
	p.limit = p.next
}

// asleep says whether the kernel asks to be woken for this ring.
func (p *producer) asleep() bool { return atomic.LoadUint32(p.flags)&needWakeup != 0 }

// consumer is our half of a ring that the kernel fills: receive and completion.
//
// It has two cursors of its own, for an entry of the receive ring is read when
// its frame is lent and given back when the frame is.
type consumer struct {
	taken uint32 // the index of the next entry to read
	given uint32 // private copy of *own: entries before it are the kernel's again
	seen  uint32 // *peer, as of the last look
	size  uint32
	mask  uint32

	own  *uint32 // the consumer index; written only by us
	peer *uint32 // the producer index; written only by the kernel
}

// newConsumer takes a ring up where its index in memory stands.
func newConsumer(m ringMemory, size uint32) consumer {
	c := consumer{size: size, mask: size - 1, own: m.consumer, peer: m.producer}
	c.given = atomic.LoadUint32(c.own)
	c.taken, c.seen = c.given, c.given
	return c
}

// ready says how many entries wait to be read. It looks at the kernel's index
// only if fewer than want were there when it last did.
func (c *consumer) ready(want uint32) uint32 {
	if n := c.seen - c.taken; n >= want {
		return n
	}
	return c.look()
}

func (c *consumer) look() uint32 {
	seen := atomic.LoadUint32(c.peer)
	if seen-c.given > c.size || seen-c.given < c.taken-c.given {
		seen = c.taken // more than the ring holds, or less than it did: no such index
	}
	c.seen = seen
	return seen - c.taken
}

// unread says whether the entry at i was filled when the kernel's index was
// last looked at.
func (c *consumer) unread(i uint32) bool { return c.seen-i-1 < c.size }

// waiting is how many entries the kernel has filled and does not have back yet.
// Any goroutine may ask.
func (c *consumer) waiting() uint32 {
	return atomic.LoadUint32(c.peer) - atomic.LoadUint32(c.own)
}

// give returns n entries to the kernel.
func (c *consumer) give(n uint32) {
	c.given += n
	atomic.StoreUint32(c.own, c.given)
}

// ringMemory is where a ring's shared words stand.
type ringMemory struct {
	producer, consumer, flags *uint32
}
