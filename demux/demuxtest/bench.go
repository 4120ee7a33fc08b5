package demuxtest

import "github.com/xdpdemux/xdpdemux/demux/frame"

// Source is a link for benchmarks: it lends the same frames again and again,
// Burst at a time, and forgets what is sent. It keeps no account.
type Source struct {
	Frames [][]byte
	Burst  int // frames per Recv; 0 = as many as are asked for
	Left   int // frames still to be lent; a test sets it
	Sent   int

	next int
	bufs [][]byte
}

// Recv lends up to Burst frames, in turn; see demux.Link.
func (s *Source) Recv(f []frame.Frame) int {
	n := min(len(f), s.Left)
	if s.Burst > 0 {
		n = min(n, s.Burst)
	}
	for i := range n {
		f[i] = frame.Frame{Data: s.Frames[s.next]}
		if s.next++; s.next == len(s.Frames) {
			s.next = 0
		}
	}
	s.Left -= n
	return n
}

// Release does nothing; see demux.Link.
func (s *Source) Release() {}

// Reserve lends always the same buffers; see demux.Link.
func (s *Source) Reserve(f []frame.Frame, size int) int {
	for len(s.bufs) < len(f) {
		s.bufs = append(s.bufs, make([]byte, max(size, 2048)))
	}
	for i := range f {
		f[i] = frame.Frame{Data: s.bufs[i]}
	}
	return len(f)
}

// Commit counts; see demux.Link.
func (s *Source) Commit(f []frame.Frame) { s.Sent += len(f) }

// Sink is a lane for benchmarks: a ring of slots that the container never
// reads and a single frame that it sends again and again.
type Sink struct {
	Frame []byte // what Collect yields
	Burst int    // how many per Collect

	ring []byte
	slot int
	at   int
}

// NewSink makes a lane with slots of size bytes, and touches its memory, so
// that no page fault is measured.
func NewSink(slots, size int) *Sink {
	s := &Sink{ring: make([]byte, slots*size), slot: size}
	poison(s.ring)
	return s
}

// Deliver copies each frame into the next slot; see demux.Lane.
func (s *Sink) Deliver(f []frame.Frame) (int, frame.Refusal) {
	for i := range f {
		copy(s.ring[s.at:s.at+s.slot], f[i].Data)
		if s.at += s.slot; s.at == len(s.ring) {
			s.at = 0
		}
	}
	return len(f), frame.Accepted
}

// Collect yields Burst copies of Frame; see demux.Lane.
func (s *Sink) Collect(f []frame.Frame, maxBytes int) int {
	n := min(s.Burst, len(f))
	for i := range n {
		f[i].Data = f[i].Data[:copy(f[i].Data, s.Frame)]
	}
	return n
}

// Arm does nothing; see demux.Lane.
func (s *Sink) Arm(bool) {}

// MaxFrame is 1518; see demux.Lane.
func (s *Sink) MaxFrame() int { return 1518 }

// Offloads is none; see demux.Lane.
func (s *Sink) Offloads() frame.Offload { return 0 }
