package xdp

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeKernel is the other side of a socket's rings, as slow and obvious as it
// can be. It keeps to the rules of AF_XDP and complains about whoever does not.
type fakeKernel struct {
	t    testing.TB
	g    geometry
	umem []byte
	fill ringOf[uint64]
	comp ringOf[uint64]
	rx   ringOf[descriptor]
	tx   ringOf[descriptor]

	headroom uint64
	budget   int        // frames a kick
	answer   unix.Errno // of a kick that does nothing else
	hold     bool       // sent chunks are not completed yet
	held     []uint64
	sent     [][]byte
	partial  []byte
	rxKicks  int
	dropped  int // frames for want of chunks or of receive entries
}

// newFake makes a socket over memory of its own, primed, and its kernel.
func newFake(t testing.TB, c SocketConfig) (*Socket, *fakeKernel) {
	t.Helper()
	m, k := newFakeMemory(t, c, true)
	s := newSocket(m, k)
	s.prime()
	return s, k
}

func newFakeMemory(t testing.TB, c SocketConfig, chains bool) (memory, *fakeKernel) {
	t.Helper()
	c.IfIndex = 1
	c, err := c.Validate()
	if err != nil {
		t.Fatal(err)
	}
	g := c.geometry()
	m := memory{
		data: make([]byte, g.memoryBytes()),
		fill: fakeRing[uint64](g.FillSize), comp: fakeRing[uint64](g.CompletionSize),
		rx: fakeRing[descriptor](g.RxSize), tx: fakeRing[descriptor](g.TxSize),
	}
	flags := uint32(0)
	if chains {
		flags = multiBuffer
	}
	stateAt(m.data).format(c, flags)
	return m, kernelOf(t, m)
}

func kernelOf(t testing.TB, m memory) *fakeKernel {
	g := stateAt(m.data).geometry
	return &fakeKernel{t: t, g: g, umem: m.data[g.stateBytes():], fill: m.fill, comp: m.comp, rx: m.rx, tx: m.tx,
		headroom: 256, budget: 32}
}

func fakeRing[T any](size uint32) ringOf[T] {
	return ringOf[T]{ringMemory{new(uint32), new(uint32), new(uint32)}, make([]T, size)}
}

// pop takes an entry that we published.
func pop[T any](r ringOf[T]) (v T, ok bool) {
	next := atomic.LoadUint32(r.consumer)
	if next == atomic.LoadUint32(r.producer) {
		return v, false
	}
	v = r.entries[next%uint32(len(r.entries))]
	atomic.StoreUint32(r.consumer, next+1)
	return v, true
}

func fill(r ringMemory) int {
	return int(atomic.LoadUint32(r.producer) - atomic.LoadUint32(r.consumer))
}

// push publishes an entry to us.
func push[T any](r ringOf[T], v T) {
	next := atomic.LoadUint32(r.producer)
	r.entries[next%uint32(len(r.entries))] = v
	atomic.StoreUint32(r.producer, next+1)
}

// receiveFrame puts a frame, as a chain if need be, into the receive ring.
func (k *fakeKernel) receiveFrame(data []byte) bool {
	room := int(uint64(k.g.FrameSize) - k.headroom)
	pieces := max(1, (len(data)+room-1)/room)
	if fill(k.fill.ringMemory) < pieces || len(k.rx.entries)-fill(k.rx.ringMemory) < pieces {
		k.dropped++
		return false
	}
	for i := range pieces {
		addr, _ := pop(k.fill)
		if addr >= k.g.rxBytes() || addr%uint64(k.g.FrameSize) != 0 {
			k.t.Errorf("the fill ring gave %#x, which is no chunk that receives", addr)
			return false
		}
		n := copy(k.umem[addr+k.headroom:addr+uint64(k.g.FrameSize)], data)
		data = data[n:]
		d := descriptor{Addr: addr + k.headroom, Len: uint32(n)}
		if i < pieces-1 {
			d.Options = unix.XDP_PKT_CONTD
		}
		push(k.rx, d)
	}
	return true
}

func (k *fakeKernel) receive() unix.Errno {
	k.rxKicks++
	return k.answer
}

func (k *fakeKernel) transmit() unix.Errno {
	if k.answer != 0 {
		return k.answer
	}
	for range k.budget {
		d, ok := pop(k.tx)
		if !ok {
			return 0
		}
		k.sendPiece(d)
	}
	return unix.EAGAIN
}

func (k *fakeKernel) sendPiece(d descriptor) {
	chunk := d.Addr &^ uint64(k.g.FrameSize-1)
	if d.Addr < k.g.rxBytes() || d.Addr+uint64(d.Len) > chunk+uint64(k.g.FrameSize) || d.Len == 0 {
		k.t.Errorf("sent %+v, which is no piece of a chunk that transmits", d)
		return
	}
	k.partial = append(k.partial, k.umem[d.Addr:d.Addr+uint64(d.Len)]...)
	if d.Options&unix.XDP_PKT_CONTD == 0 {
		k.sent = append(k.sent, k.partial)
		k.partial = nil
	}
	k.held = append(k.held, d.Addr)
	if !k.hold {
		k.complete()
	}
}

func (k *fakeKernel) complete() {
	for _, addr := range k.held {
		push(k.comp, addr)
	}
	k.held = nil
}

// numbered is a frame of that size that says its number, twice.
func numbered(n uint32, size int) []byte {
	data := bytes.Repeat([]byte{byte(n)}, size)
	binary.BigEndian.PutUint32(data[0:], n)
	binary.BigEndian.PutUint32(data[size-4:], n)
	return data
}

func number(data []byte) uint32 { return binary.BigEndian.Uint32(data) }
