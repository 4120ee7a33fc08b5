package xdp

import (
	"math"
	"runtime"
	"sync/atomic"
	"testing"
)

// ringAtIndex makes both sides of a ring of which index entries went through.
func ringAtIndex(size, index uint32) (producer, consumer, ringOf[uint64]) {
	r := fakeRing[uint64](size)
	*r.producer, *r.consumer = index, index
	return newProducer(r.ringMemory, size), newConsumer(r.ringMemory, size), r
}

func TestRingKeepsOrderOverTheWrap(t *testing.T) {
	for _, start := range []uint32{0, 1, 63, math.MaxUint32 - 100, math.MaxUint32} {
		p, c, r := ringAtIndex(64, start)
		sent, got := uint64(0), uint64(0)
		for round := range uint32(300) {
			n := p.room(round%70 + 1)
			for i := range n {
				r.entries[(p.next+i)&p.mask] = sent
				sent++
			}
			p.publish(n)
			for range c.look() - round%3%max(c.seen-c.taken, 1) {
				if v := r.entries[c.taken&c.mask]; v != got {
					t.Fatalf("start %d: got entry %d instead of %d", start, v, got)
				}
				got++
				c.taken++
			}
			c.give(c.taken - c.given)
		}
		if sent < 5000 || sent-got > 64 {
			t.Errorf("start %d: %d sent, %d got", start, sent, got)
		}
	}
}

func TestProducerNeverOverruns(t *testing.T) {
	p, c, _ := ringAtIndex(64, math.MaxUint32-10)
	if n := p.room(1000); n != 64 {
		t.Errorf("an empty ring of 64 has room for %d", n)
	}
	p.publish(64)
	if n := p.room(1); n != 0 {
		t.Errorf("a full ring has room for %d", n)
	}
	if p.unread() != 64 || c.waiting() != 64 {
		t.Errorf("unread %d, waiting %d, want 64", p.unread(), c.waiting())
	}
	c.look()
	c.taken += 5
	if p.room(64) != 0 {
		t.Error("entries that were only read count as free")
	}
	c.give(5)
	if n := p.room(64); n != 5 {
		t.Errorf("after 5 were given back there is room for %d", n)
	}
}

func TestConsumerReadsWhatWasCached(t *testing.T) {
	p, c, _ := ringAtIndex(64, 0)
	p.publish(10)
	if n := c.ready(64); n != 10 {
		t.Fatalf("ready %d, want 10", n)
	}
	p.publish(10)
	if n := c.ready(10); n != 10 {
		t.Errorf("ready looked again although 10 were enough: %d", n)
	}
	if n := c.ready(11); n != 20 {
		t.Errorf("ready %d, want 20", n)
	}
}

// An index that cannot be is an empty or a full ring, never memory beyond it.
func TestInsaneIndicesAreBounded(t *testing.T) {
	for _, bad := range []uint32{65, 66, 1 << 20, 1 << 31, math.MaxUint32, math.MaxUint32 - 63} {
		p, c, r := ringAtIndex(64, 0)
		*r.producer = bad // of the kernel, to a consumer
		if n := c.look(); n != 0 {
			t.Errorf("producer index %d: %d entries to read", bad, n)
		}
		*r.producer, *r.consumer = 0, bad // of the kernel, to a producer
		if n := p.room(64); n > 64 || (bad <= math.MaxUint32-64 && n != 0) {
			t.Errorf("consumer index %d: room for %d", bad, n)
		}
		if n := p.unread(); n > 64 {
			t.Errorf("consumer index %d: %d unread", bad, n)
		}
	}
}

func TestConsumerIgnoresAnIndexThatGoesBack(t *testing.T) {
	p, c, r := ringAtIndex(64, 100)
	p.publish(10)
	c.look()
	c.taken += 10
	*r.producer = 105
	if n := c.look(); n != 0 {
		t.Errorf("%d entries although the producer went back", n)
	}
	*r.producer = 111
	if n := c.look(); n != 1 {
		t.Errorf("%d entries after it recovered, want 1", n)
	}
}

func TestRingsWithAConcurrentPeer(t *testing.T) {
	const total = 200_000
	for _, start := range []uint32{0, math.MaxUint32 - 1000} {
		p, c, r := ringAtIndex(128, start)
		var done atomic.Bool
		go func() {
			defer done.Store(true)
			for sent := uint64(0); sent < total; {
				n := p.room(uint32(min(64, total-sent)))
				for i := range n {
					r.entries[(p.next+i)&p.mask] = sent
					sent++
				}
				if n == 0 {
					runtime.Gosched()
					continue
				}
				p.publish(n)
			}
		}()
		for got := uint64(0); got < total; {
			n := c.ready(64)
			if n == 0 {
				if done.Load() && c.look() == 0 {
					t.Fatalf("%d of %d entries came", got, total)
				}
				runtime.Gosched()
				continue
			}
			for range min(n, 64) {
				if v := r.entries[c.taken&c.mask]; v != got {
					t.Fatalf("got entry %d instead of %d", v, got)
				}
				got++
				c.taken++
			}
			c.give(c.taken - c.given)
		}
	}
}
