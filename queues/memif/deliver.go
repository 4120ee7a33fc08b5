package memif

import (
	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// maxPieces bounds the descriptors of one frame, in both directions.
const maxPieces = 256

// fill copies what fits, in order, and publishes it.
func (o *outlet) fill(f []frame.Frame) (n int, why frame.Refusal) {
	before, ring := o.next, o.ring
	for n < len(f) {
		b := f[n].Data
		if o.next != o.head && len(b) <= int(o.limit) && f[n].GSO == frame.GSONone {
			d := ring.Desc(o.next)
			if end := uint64(d.Offset) + uint64(d.Length); d.Region == o.region && end <= uint64(len(o.window)) && len(b) <= int(d.Length) {
				copy(o.window[d.Offset:end], b)
				ring.SetDesc(o.next, shm.Desc{Region: d.Region, Length: uint32(len(b)), Offset: d.Offset})
				o.next++
				n++
				continue
			}
		}
		if why = o.put(&f[n]); why != frame.Accepted {
			break
		}
		n++
	}
	if o.next != before {
		o.ring.PublishTail(o.next)
	}
	return n, why
}

// unannounced is the doorbell for what was published before the last barrier, if
// the client wants to be told, and nil if it does not.
func (o *outlet) unannounced() *doorbell {
	if o.ring.Masked() {
		return nil
	}
	return &o.s.bell
}

// put copies one frame into the next buffers.
func (o *outlet) put(f *frame.Frame) frame.Refusal {
	size := len(f.Data)
	if size > int(o.limit) || f.GSO != frame.GSONone {
		return frame.TooBig
	}
	if o.next == o.head {
		if why := o.look(); why != frame.Accepted {
			return why
		}
	}
	d := o.ring.Desc(o.next)
	room, ok := o.at(d)
	if !ok {
		return o.lie(outsideOfRegion)
	}
	if size > len(room) {
		return o.chain(f.Data)
	}
	copy(room, f.Data)
	d.Flags, d.Length = 0, uint32(size)
	o.ring.SetDesc(o.next, d)
	o.next++
	return frame.Accepted
}

// look reads the client's index. A ring without a new buffer is full.
func (o *outlet) look() frame.Refusal {
	head := o.ring.Head()
	if _, ok := o.ring.Span(o.next, head); !ok {
		return o.lie(headBeyondRing)
	}
	if head == o.head {
		return frame.Full
	}
	o.head = head
	return frame.Accepted
}

// chain spreads one frame over several buffers. Nothing is written before all
// of them are found.
func (o *outlet) chain(b []byte) frame.Refusal {
	count, why := o.gather(len(b))
	if why != frame.Accepted {
		return why
	}
	for i := range count {
		d := o.s.pieces[i]
		room, _ := o.at(d)
		n := copy(room, b)
		b = b[n:]
		d.Flags, d.Length = shm.FlagNext, uint32(n)
		if i == count-1 {
			d.Flags = 0
		}
		o.ring.SetDesc(o.next+uint16(i), d)
	}
	o.next += uint16(count)
	return frame.Accepted
}

// gather finds buffers for size bytes and keeps their descriptors in pieces.
// What the whole ring cannot hold will never fit.
func (o *outlet) gather(size int) (count int, why frame.Refusal) {
	for found := uint64(0); found < uint64(size); count++ {
		if count == maxPieces || count == int(o.ring.Size()) {
			return 0, frame.TooBig
		}
		at := o.next + uint16(count)
		if at == o.head {
			if why := o.look(); why != frame.Accepted {
				return 0, why
			}
		}
		d := o.ring.Desc(at)
		room, ok := o.at(d)
		if !ok {
			return 0, o.lie(outsideOfRegion)
		}
		if len(room) == 0 {
			return 0, o.lie(emptyBuffer)
		}
		o.s.pieces[count] = d
		found += uint64(len(room))
	}
	return count, frame.Accepted
}
