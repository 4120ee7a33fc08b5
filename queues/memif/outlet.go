package memif

import (
	"sync/atomic"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// outlet is a lane's way to its client's memory: the gate through which whoever
// delivers gets there, and all that an ordinary frame needs. It fills one cache
// line, since with thousands of lanes each line more is one more to wait for.
//
// Slots from next up to head hold buffers that the client lends.
type outlet struct {
	inside uint32 // the worker's: whether it is in here; behind that, which client lied
	opened uint32 // the control goroutine's: which client it lends; 0: none
	next   uint16 // the worker's own index
	head   uint16 // its last look at the client's
	region uint16 // of window
	limit  uint16 // bytes of the largest frame

	ring   shm.Ring
	window []byte // the region used last
	s      *sender
}

// within, of outlet.inside: somebody delivers. The other bits are the number of the
// client that was found to lie last.
const within = 1

// sender is what else a lane needs of one connection to send to its client.
type sender struct {
	client   *session
	ring     shm.Ring
	regions  shm.Regions
	maxFrame int
	pieces   [maxPieces]shm.Desc

	bell doorbell // which the client sleeps on
}

func newSender(x *session, l *Lane, ring shm.Ring, fd int, regions shm.Regions) *sender {
	s := &sender{client: x, ring: ring, regions: regions, maxFrame: l.maxFrame}
	s.bell.open(x, fd)
	return s
}

// knock says that somebody will use what is lent, if it is; a barrier and then
// admitted tell him. Either way he leaves.
func (o *outlet) knock() { shm.Publish(&o.inside, o.inside|within) }

// admitted tells whether the memory is there, and stays until leave: with the
// barrier between, either shut sees that somebody is inside, or this sees that
// nothing is lent any more. A client that lied is not there any more.
func (o *outlet) admitted() bool {
	client := atomic.LoadUint32(&o.opened)
	return client != 0 && client != o.inside>>1
}

func (o *outlet) leave() { shm.Publish(&o.inside, o.inside&^within) }

// open lends a connection, the number-th of this lane. The outlet is shut.
func (o *outlet) open(s *sender, number uint32) {
	o.s, o.ring, o.limit = s, s.ring, uint16(s.maxFrame)
	o.next, o.head, o.region, o.window = 0, 0, 0, nil
	if len(s.regions) > 0 {
		o.window = s.regions[0]
	}
	atomic.StoreUint32(&o.opened, number%(1<<31-1)+1)
}

// shut takes back what is lent and returns when nobody is inside. Nobody stays
// there for longer than one batch takes. What the worker writes it leaves alone:
// the next one may be on its way in.
func (o *outlet) shut() {
	atomic.StoreUint32(&o.opened, 0)
	for atomic.LoadUint32(&o.inside)&within != 0 {
		time.Sleep(20 * time.Microsecond)
	}
}

// at is the memory of a descriptor, and whether there is such memory.
func (o *outlet) at(d shm.Desc) ([]byte, bool) {
	if d.Region != o.region {
		if int(d.Region) >= len(o.s.regions) {
			return nil, false
		}
		o.region, o.window = d.Region, o.s.regions[d.Region]
	}
	end := uint64(d.Offset) + uint64(d.Length)
	if end > uint64(len(o.window)) {
		return nil, false
	}
	return o.window[d.Offset:end:end], true
}

// lie ends the client for what it did to the memory.
func (o *outlet) lie(v violation) frame.Refusal {
	shm.Publish(&o.inside, atomic.LoadUint32(&o.opened)<<1|within)
	o.s.client.violate(v)
	return frame.Gone
}
