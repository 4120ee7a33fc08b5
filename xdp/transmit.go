package xdp

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// Reserve lends up to len(f) transmit buffers of size bytes each, and returns
// how many; it takes the completed ones back first. TxHeadroom bytes before each
// and what its capacity shows behind it belong to it too. They are the worker's
// until Commit or the next Reserve, which drops a reservation that is open.
//
// It returns 0 while the device is down, and for a size that no chain of
// descriptors can hold.
func (s *Socket) Reserve(f []frame.Frame, size int) int {
	s.window, s.stride = 0, 0
	s.reclaim()
	if s.down.Load() != stateUp && !s.revived() {
		return 0
	}
	if size < 0 || size > MaxFrame {
		return 0
	}
	if uint64(size)+TxHeadroom > s.inChunk+1 {
		return s.reserveLong(f, size)
	}
	n := s.available(len(f), 1)
	top := len(s.free) - 1
	for i := range f[:n] {
		chunk := uint64(s.free[top-i])
		start := chunk + TxHeadroom
		f[i] = frame.Frame{Data: s.umem[start : start+uint64(size) : chunk+s.inChunk+1]}
	}
	s.window = n
	return n
}

// available is for how many frames of that many chunks there are chunks and
// entries in the transmit ring, up to want. It wakes the kernel where that
// could make more of them.
func (s *Socket) available(want, chunks int) int {
	n := s.spare(want, chunks)
	if n < want && s.tx.unread() > 0 {
		s.push(1)
		s.reclaim()
		n = s.spare(want, chunks)
	}
	return n
}

func (s *Socket) spare(want, chunks int) int {
	n := min(want*chunks, len(s.free))
	return int(s.tx.room(uint32(n))) / chunks
}

// reserveLong lends buffers that are larger than a chunk. They stand in the
// outbox, and Commit copies them into chains of chunks.
func (s *Socket) reserveLong(f []frame.Frame, size int) int {
	stride := (size + TxHeadroom + 63) &^ 63
	chunks := (stride + int(s.inChunk)) / int(s.inChunk+1)
	if !s.chains || chunks > maxChain {
		return 0
	}
	n := s.available(min(len(f), len(s.outbox)/stride), chunks)
	for i := range f[:n] {
		slot := s.outbox[i*stride:][:stride:stride]
		f[i] = frame.Frame{Data: slot[TxHeadroom:][:size]}
	}
	s.window, s.stride = n, stride
	return n
}

// Commit sends f, in order. Each one's Data lies within a buffer of the open
// reservation, headroom included; one that does not, or that is shorter than an
// Ethernet header, is counted in Rejected and not sent. The other reserved
// buffers return.
func (s *Socket) Commit(f []frame.Frame) {
	var entries, sent uint32
	if s.stride == 0 {
		entries = s.fillRing(f)
		sent = entries
	} else {
		entries, sent = s.fillRingLong(f)
	}
	if rejected := len(f) - int(sent); rejected > 0 {
		add(&s.state.Rejected, uint64(rejected))
	}
	if entries > 0 {
		s.submit(entries)
		add(&s.state.Sent, uint64(sent))
		s.push(kickTries)
	}
	s.window, s.stride = 0, 0
}

// submit gives the kernel the descriptors of the chunks that were claimed, which
// stand in the ring from tx.next on.
func (s *Socket) submit(entries uint32) {
	rest := len(s.free) - s.claimed
	atomic.StoreUint32(&s.state.Sending, s.tx.next+entries)
	for _, chunk := range s.free[rest:] {
		s.owner[s.chunkNumber(uint64(chunk))] = kernels
	}
	s.free = s.free[:rest]
	s.claimed = 0
	s.tx.publish(entries)
}

// chunkNumber is the index of a transmitting chunk's owner byte.
func (s *Socket) chunkNumber(addr uint64) uint64 { return (addr - s.rxEnd) / (s.inChunk + 1) }

// fillRing writes one descriptor for each frame, and returns how many.
func (s *Socket) fillRing(f []frame.Frame) uint32 {
	n := uint32(0)
	for i := range f {
		size := uint64(len(f[i].Data))
		addr := offsetIn(s.umem, f[i].Data)
		chunk := addr &^ s.inChunk
		if size < minFrame || addr >= uint64(len(s.umem)) || addr+size > chunk+s.inChunk+1 || !s.claim(uint32(chunk)) {
			continue
		}
		s.txDescs[(s.tx.next+n)&s.tx.mask] = descriptor{Addr: addr, Len: uint32(size)}
		n++
	}
	return n
}

// claim takes a chunk out of the reservation: it swaps it to the top of the
// stack, behind those that were claimed before. In order, that is one compare.
func (s *Socket) claim(chunk uint32) bool {
	top := len(s.free) - 1 - s.claimed
	for i := top; i >= len(s.free)-s.window; i-- {
		if s.free[i] == chunk {
			s.free[i], s.free[top] = s.free[top], chunk
			s.claimed++
			return true
		}
	}
	return false
}

// fillRingLong copies each frame from the outbox into chunks and writes their
// descriptors. It returns how many entries and how many frames that made.
func (s *Socket) fillRingLong(f []frame.Frame) (entries, sent uint32) {
	for i := range f {
		if int(sent) == s.window {
			break
		}
		if !s.inOutbox(f[i].Data) {
			continue
		}
		entries += s.cut(f[i].Data, s.tx.next+entries)
		sent++
	}
	return entries, sent
}

// inOutbox says whether data lies within one of the lent slots.
func (s *Socket) inOutbox(data []byte) bool {
	if len(data) < minFrame {
		return false
	}
	at, stride := offsetIn(s.outbox, data), uint64(s.stride)
	return at < uint64(s.window)*stride && at%stride+uint64(len(data)) <= stride
}

// cut copies data into as many chunks as it needs and writes their chain of
// descriptors from the ring's entry next on.
func (s *Socket) cut(data []byte, next uint32) (entries uint32) {
	for len(data) > 0 {
		addr := uint64(s.free[len(s.free)-1-s.claimed])
		s.claimed++
		n := copy(s.umem[addr:addr+s.inChunk+1], data)
		data = data[n:]
		d := descriptor{Addr: addr, Len: uint32(n)}
		if len(data) > 0 {
			d.Options = unix.XDP_PKT_CONTD
		}
		s.txDescs[(next+entries)&s.tx.mask] = d
		entries++
	}
	return entries
}

// reclaim takes back the chunks that the kernel has sent.
func (s *Socket) reclaim() {
	n := s.comp.look()
	if n == 0 {
		return
	}
	bad := uint64(0)
	for i := range n {
		addr := s.compAddrs[(s.comp.taken+i)&s.comp.mask] &^ s.inChunk
		if addr < s.rxEnd || addr >= uint64(len(s.umem)) || s.owner[s.chunkNumber(addr)] == ours {
			bad++
			continue
		}
		s.owner[s.chunkNumber(addr)] = ours
		s.free = append(s.free, uint32(addr))
	}
	s.comp.taken += n
	s.comp.give(n)
	if bad > 0 {
		add(&s.state.BadCompletions, bad)
	}
}
