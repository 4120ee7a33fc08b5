package demuxtest

import (
	"slices"
	"sync"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// Poison is what the bytes of a frame become when it is released, so that
// whoever kept them sees it.
const Poison = 0xDB

// Link is a NIC queue pair in memory. The worker's methods (Recv, Release,
// Reserve, Commit) report through its Reporter when they are called out of
// turn, when a frame is committed that was not reserved, and twice. The
// others may be called from any goroutine.
type Link struct {
	rep  Reporter
	wake func() // called when frames arrive

	mu       sync.Mutex
	arrived  []frame.Frame
	lent     [][]byte
	reserved map[*byte]int // the last byte of each reserved buffer
	bufs     [][]byte
	size     int
	room     int // how many Reserve may lend; negative: no limit
	sent     [][]byte
	onSend   func([]byte)
}

// NewLink makes a link. wake, if not nil, is called after frames arrived: a
// Waiter's Wake.
func NewLink(rep Reporter, wake func()) *Link {
	return &Link{rep: rep, wake: wake, room: -1, reserved: make(map[*byte]int)}
}

// Arrive has frames come from the wire, as they are; the bytes are copied.
func (l *Link) Arrive(frames ...[]byte) {
	l.mu.Lock()
	for _, f := range frames {
		l.arrived = append(l.arrived, frame.Frame{Data: slices.Clone(f)})
	}
	l.mu.Unlock()
	l.ring()
}

// ArriveFrame is Arrive for one frame with something beside its bytes.
func (l *Link) ArriveFrame(f frame.Frame) {
	f.Data = slices.Clone(f.Data)
	l.mu.Lock()
	l.arrived = append(l.arrived, f)
	l.mu.Unlock()
	l.ring()
}

func (l *Link) ring() {
	if l.wake != nil {
		l.wake()
	}
}

// SetRoom limits how many buffers Reserve lends: 0 is a NIC that is down,
// negative no limit.
func (l *Link) SetRoom(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room = n
}

// OnSend has f called with each frame that is sent, instead of keeping it.
// The bytes are valid during the call.
func (l *Link) OnSend(f func([]byte)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onSend = f
}

// Sent returns what was sent since the last call.
func (l *Link) Sent() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sent
	l.sent = nil
	return s
}

// Waiting is how many frames arrived and were not received yet.
func (l *Link) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.arrived)
}

// Idle reports what is still lent: for the end of a test.
func (l *Link) Idle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lent) != 0 {
		l.rep.Errorf("link: %d frames were never released", len(l.lent))
	}
	if len(l.reserved) != 0 {
		l.rep.Errorf("link: %d buffers were never given back", len(l.reserved))
	}
}

// Recv lends frames; see demux.Link.
func (l *Link) Recv(f []frame.Frame) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lent) != 0 {
		l.rep.Errorf("link: Recv before Release of %d frames", len(l.lent))
	}
	n := copy(f, l.arrived)
	l.arrived = l.arrived[n:]
	for i := range n {
		l.lent = append(l.lent, f[i].Data)
	}
	return n
}

// Release poisons what was lent; see demux.Link.
func (l *Link) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.lent {
		poison(b)
	}
	l.lent = l.lent[:0]
}

// Reserve lends buffers; see demux.Link.
func (l *Link) Reserve(f []frame.Frame, size int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop()
	n := len(f)
	if l.room >= 0 {
		n = min(n, l.room)
	}
	if size != l.size {
		l.bufs, l.size = nil, size
	}
	for len(l.bufs) < n {
		l.bufs = append(l.bufs, make([]byte, size))
	}
	for i, b := range l.bufs[:n] {
		l.reserved[last(b)] = i
		f[i] = frame.Frame{Data: b}
	}
	return n
}

// drop ends the open reservation: its buffers are somebody else's now.
func (l *Link) drop() {
	for _, i := range l.reserved {
		poison(l.bufs[i])
	}
	clear(l.reserved)
}

// Commit sends; see demux.Link.
func (l *Link) Commit(f []frame.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range f {
		l.commit(f[i].Data)
	}
	l.drop()
}

func (l *Link) commit(data []byte) {
	if len(data) == 0 {
		l.rep.Errorf("link: an empty frame was committed")
		return
	}
	i, ok := l.reserved[last(data)]
	if !ok {
		l.rep.Errorf("link: a frame was committed that is not reserved, or twice: % x", data[:min(len(data), 32)])
		return
	}
	delete(l.reserved, last(data))
	if l.room > 0 {
		l.room--
	}
	if l.onSend != nil {
		l.onSend(data)
	} else {
		l.sent = append(l.sent, slices.Clone(data))
	}
	poison(l.bufs[i])
}

// last is the last byte of the buffer that b is a part of, which names it.
func last(b []byte) *byte { return &b[:cap(b)][cap(b)-1] }

func poison(b []byte) {
	for i := range b {
		b[i] = Poison
	}
}
