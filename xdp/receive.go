package xdp

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// Recv lends up to len(f) received frames and returns how many. Their bytes may
// be read and written until Release. It never blocks; where nothing came it
// wakes the kernel if that asks to be woken.
func (s *Socket) Recv(f []frame.Frame) int {
	if s.stalled || s.returned != s.rx.given {
		s.catchUp()
	}
	if s.rx.ready(uint32(len(f))) == 0 {
		s.idle()
		return 0
	}
	next, got := s.rx.taken, 0
	for got < len(f) && s.rx.unread(next) {
		d := s.rxDescs[next&s.rx.mask]
		data, used := s.chunk(d), uint32(1)
		if d.Options&unix.XDP_PKT_CONTD != 0 {
			data, used = s.gather(next)
		}
		if used == 0 {
			break
		}
		next += used
		if data == nil {
			add(&s.state.BadFrames, 1)
			continue
		}
		f[got] = frame.Frame{Data: data}
		got++
	}
	s.lend(next, uint32(got))
	return got
}

// lend notes that the worker holds got more frames, up to the entry next.
func (s *Socket) lend(next, got uint32) {
	s.rx.taken = next
	s.lent += got
	if s.lent == 0 {
		s.returned = next // nothing but bad ones
	}
	received := s.state.Received + uint64(got)
	atomic.StoreUint64(&s.state.Lent, twin(next, uint32(received)))
	atomic.StoreUint64(&s.state.Received, received)
}

// chunk is the memory of a received descriptor, which may be written up to the
// chunk's end; nil if the descriptor is none of a chunk that receives.
func (s *Socket) chunk(d descriptor) []byte {
	end := (d.Addr | s.inChunk) + 1
	if d.Addr >= s.rxEnd || d.Len == 0 || d.Addr+uint64(d.Len) > end {
		return nil
	}
	return s.umem[d.Addr : d.Addr+uint64(d.Len) : end]
}

// gather copies the chain of descriptors that starts at first into one piece.
// It returns how many entries that takes: 0 if the chain must wait, for its end
// or for room. A chain that can never be lent yields nil and its length.
func (s *Socket) gather(first uint32) (data []byte, entries uint32) {
	size, entries := s.measure(first)
	switch {
	case entries == 0:
		return nil, 0
	case size == 0 || size > MaxFrame:
		return nil, entries
	case size > uint64(len(s.inbox)-s.inboxUsed):
		return nil, 0
	}
	data = s.inbox[s.inboxUsed:s.inboxUsed:len(s.inbox)]
	for i := range entries {
		data = append(data, s.chunk(s.rxDescs[(first+i)&s.rx.mask])...)
	}
	s.inboxUsed += len(data)
	return data[:len(data):len(data)], entries
}

// measure walks a chain: its size in bytes, 0 if it has a bad descriptor, and
// its entries, 0 if its end has not come yet.
func (s *Socket) measure(first uint32) (size uint64, entries uint32) {
	bad := false
	for i := first; ; i++ {
		if i == s.rx.seen && !s.more(i) {
			return 0, s.hopeless(i - first)
		}
		d := s.rxDescs[i&s.rx.mask]
		bad = bad || s.chunk(d) == nil
		size += uint64(d.Len)
		if d.Options&unix.XDP_PKT_CONTD == 0 {
			entries = i + 1 - first
			break
		}
	}
	if bad {
		return 0, entries
	}
	return size, entries
}

// more looks whether the kernel filled the entry at i meanwhile.
func (s *Socket) more(i uint32) bool {
	s.rx.look()
	return s.rx.seen != i && s.rx.seen-s.rx.given > i-s.rx.given
}

// hopeless says of a chain without end that the whole ring is taken by it, so
// that the end can never come; else 0, that it must wait.
func (s *Socket) hopeless(entries uint32) uint32 {
	if entries >= s.rx.size {
		return entries
	}
	return 0
}

// Release gives every lent frame back to the NIC.
func (s *Socket) Release() {
	s.returned = s.rx.taken
	s.lent, s.inboxUsed = 0, 0
	if s.returned == s.rx.given {
		return
	}
	s.exchange()
	atomic.StoreUint32(&s.state.Returned, uint32(s.state.Received))
}

// exchange moves the chunks of released receive entries to the fill ring, as
// many as fit. All would always fit but for the kernel, which publishes received
// frames before it publishes that it took their chunks from the fill ring.
func (s *Socket) exchange() {
	n := s.fill.room(s.returned - s.rx.given)
	if n == 0 {
		return
	}
	for i := range n {
		addr := s.rxDescs[(s.rx.given+i)&s.rx.mask].Addr &^ s.inChunk
		if addr >= s.rxEnd {
			addr = noAddress
		}
		s.fillAddrs[(s.fill.next+i)&s.fill.mask] = addr
	}
	atomic.StoreUint64(&s.state.Exchange, twin(s.fill.next+n, s.rx.given+n))
	s.fill.publish(n)
	s.rx.give(n)
	if s.fill.asleep() {
		s.wakeReceive()
	}
}

// noAddress is an address that the kernel refuses: a chunk that is not one that
// receives never becomes one.
const noAddress = ^uint64(0)

// catchUp does what an earlier call had to leave.
func (s *Socket) catchUp() {
	if s.stalled {
		s.push(1)
	}
	if s.returned != s.rx.given {
		s.exchange()
	}
}

// idle is for a Recv that found nothing.
func (s *Socket) idle() {
	if s.busy || s.fill.asleep() {
		s.wakeReceive()
	}
}
