package memif

import (
	"sync/atomic"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// maxPieces bounds the descriptors of one frame, in both directions.
const maxPieces = 256

// sender is the worker's half of a ring toward a client, for one connection.
// Slots from next up to head hold buffers that the client lends.
type sender struct {
	client   *session
	ring     shm.Ring
	regions  shm.Regions
	maxFrame int

	next, head uint16 // next is ours alone, head our last look at the client's
	pieces     [maxPieces]shm.Desc

	fd      int         // of the doorbell: only the ringer writes there
	pending atomic.Bool // the doorbell is to be rung
}

// deliver copies what fits and publishes it at once.
func (s *sender) deliver(f []frame.Frame) (n int, why frame.Refusal) {
	if s.client.broken() {
		return 0, frame.Gone
	}
	before := s.next
	for n < len(f) {
		if why = s.put(&f[n]); why != frame.Accepted {
			break
		}
		n++
	}
	if s.next != before {
		s.ring.SetTail(s.next)
		if !s.ring.Masked() {
			s.pending.Store(true)
			s.client.ring()
		}
	}
	return n, why
}

// put copies one frame into the next buffers.
func (s *sender) put(f *frame.Frame) frame.Refusal {
	size := len(f.Data)
	if size > s.maxFrame || f.GSO != frame.GSONone {
		return frame.TooBig
	}
	if s.next == s.head {
		if why := s.look(); why != frame.Accepted {
			return why
		}
	}
	d := s.ring.Desc(s.next)
	room, ok := s.regions.At(d)
	if !ok {
		return s.lie(outsideOfRegion)
	}
	if size > len(room) {
		return s.chain(f.Data)
	}
	copy(room, f.Data)
	d.Flags, d.Length = 0, uint32(size)
	s.ring.SetDesc(s.next, d)
	s.next++
	return frame.Accepted
}

// look reads the client's index. A ring without a new buffer is full.
func (s *sender) look() frame.Refusal {
	head := s.ring.Head()
	if _, ok := s.ring.Span(s.next, head); !ok {
		return s.lie(headBeyondRing)
	}
	if head == s.head {
		return frame.Full
	}
	s.head = head
	return frame.Accepted
}

// chain spreads one frame over several buffers. Nothing is written before all
// of them are found.
func (s *sender) chain(b []byte) frame.Refusal {
	count, why := s.gather(len(b))
	if why != frame.Accepted {
		return why
	}
	for i := range count {
		d := s.pieces[i]
		room, _ := s.regions.At(d)
		n := copy(room, b)
		b = b[n:]
		d.Flags, d.Length = shm.FlagNext, uint32(n)
		if i == count-1 {
			d.Flags = 0
		}
		s.ring.SetDesc(s.next+uint16(i), d)
	}
	s.next += uint16(count)
	return frame.Accepted
}

// gather finds buffers for size bytes and keeps their descriptors in pieces.
// What the whole ring cannot hold will never fit.
func (s *sender) gather(size int) (count int, why frame.Refusal) {
	for found := uint64(0); found < uint64(size); count++ {
		if count == maxPieces || count == int(s.ring.Size()) {
			return 0, frame.TooBig
		}
		at := s.next + uint16(count)
		if at == s.head {
			if why := s.look(); why != frame.Accepted {
				return 0, why
			}
		}
		d := s.ring.Desc(at)
		room, ok := s.regions.At(d)
		if !ok {
			return 0, s.lie(outsideOfRegion)
		}
		if len(room) == 0 {
			return 0, s.lie(emptyBuffer)
		}
		s.pieces[count] = d
		found += uint64(len(room))
	}
	return count, frame.Accepted
}

func (s *sender) lie(v violation) frame.Refusal {
	s.client.violate(v)
	return frame.Gone
}
