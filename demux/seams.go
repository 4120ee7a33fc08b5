package demux

import (
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// Link is one NIC queue pair as a worker sees it. It belongs to one worker:
// no method is safe for concurrent use, and none blocks. *xdp.Socket fits.
type Link interface {
	// Recv lends up to len(f) received frames and returns how many. They, and
	// the bytes in them, may be read and written until Release.
	Recv(f []frame.Frame) int
	// Release gives every lent frame back to the NIC.
	Release()
	// Reserve lends up to len(f) transmit buffers of at least size bytes each
	// and returns how many; it reclaims completed ones first. A reservation
	// that is open when Reserve is called again is dropped.
	Reserve(f []frame.Frame, size int) int
	// Commit sends f, each of whose Data lies within a reserved buffer. The
	// other reserved buffers return. It cannot fail.
	Commit(f []frame.Frame)
}

// WholeLink is a Link with a second way out, by which frames leave as they are:
// whoever is behind it cuts super-frames and completes checksums. Its methods are the
// worker's too.
type WholeLink interface {
	Link
	// SendWhole sends one frame, and returns false where it found no room. Frames
	// leave by it in order, but in none with those of Commit. It never blocks and
	// never retains Data.
	SendWhole(f *frame.Frame) bool
	// Offloads says what may be left to do on a frame. It does not change.
	Offloads() frame.Offload
}

// Lane is one worker's half of a container's queue. It belongs to one worker,
// save that Deliver may run on another thread than Collect and Arm, which is
// what a slow lane needs; Deliver itself has one caller at a time.
type Lane interface {
	// Deliver copies the frames into the container's memory, in order, and
	// returns how many it took. It stops at the first refused frame and says
	// why. It never blocks and never retains Data. With frame.OffloadGather a
	// frame may be followed by its pieces, which are taken with it or refused
	// with it, and counted like frames.
	Deliver(f []frame.Frame) (n int, why frame.Refusal)
	// Collect copies frames of the container out into the buffers in f,
	// reslicing each to the frame's length, and returns how many; it stops
	// after maxBytes. What it yields is ours: the container cannot change it
	// any more. A frame larger than its buffer is consumed, counted by the
	// lane and not yielded; see Lossy.
	Collect(f []frame.Frame, maxBytes int) int
	// Arm asks the peer to ring the doorbell for its next frame, or not to.
	Arm(on bool)
	// MaxFrame is the largest frame in bytes, header included, that Deliver
	// takes; with Offloads, the largest super-frame.
	MaxFrame() int
	// Offloads says what the container's side finishes by itself.
	Offloads() frame.Offload
}

// Courier is a Lane that delivers to many lanes of its own type at once better
// than to one after the other: it can wait for the memory of all of them side by
// side.
type Courier interface {
	Lane
	// DeliverAll does what Deliver of each Lane in d, at most 64 and none twice,
	// would do, and fills in what that would return. It is called where Deliver
	// might be. It may go on behind a refused frame, if it moves those of its lane
	// that it took before those that it refused: Taken counts the former, and Why is
	// about the first of the latter.
	DeliverAll(d []frame.Delivery)
}

// Lossy is a Lane that tells, since it was made, how many frames of the container
// it has consumed and not yielded: those larger than the buffer that they were to
// be copied into, and those that contradicted themselves. They count as received
// from the port, and as lost for TooBig and Malformed. Any goroutine may ask, also
// when the lane is not in use any more.
type Lossy interface {
	Lost() (tooBig, malformed uint64)
}

// Waiter is a worker's one place to sleep: epoll in the daemon, a channel in
// tests.
type Waiter interface {
	// Wait fills ready with the tokens (PortID.Token) of lanes whose doorbell
	// rang since the last call and returns how many. It sleeps for at most
	// timeout: 0 looks only, negative sleeps until something happens. A frame
	// on one of the worker's links also ends it, with no token or token 0.
	Wait(ready []uint32, timeout time.Duration) int
	// Wake makes the current or the next Wait return. Any goroutine may call it.
	Wake()
}
