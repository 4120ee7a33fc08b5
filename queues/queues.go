// Package queues names what every kind of virtual queue has in common: a
// Queue is a container's place to put frames and to take them from, cut into
// lanes, one per worker. The kinds are the folders below: tap, memif, inproc. A
// new kind is a folder that passes queuetest.Run. A kind whose lanes are better
// delivered to many at once than one after the other also has DeliverAll, as
// all of them do so far: see demux.Courier.
package queues

import "github.com/xdpdemux/xdpdemux/demux/frame"

// Lane is one worker's half of a queue: one producer, one consumer, never a
// lock between them. It belongs to one worker, save that Deliver may run on
// another thread than Collect and Arm; each has one caller at a time. No
// method blocks or allocates.
type Lane interface {
	// Deliver copies the frames into the container's memory, in order, and
	// returns how many it took. It stops at the first refused frame and says
	// why; where all were taken, why is frame.Accepted. Data is the caller's
	// again when Deliver returns. With frame.OffloadGather a frame may be
	// followed by its pieces, which are taken with it or refused with it, and
	// counted like frames.
	Deliver(f []frame.Frame) (n int, why frame.Refusal)
	// Collect copies frames of the container out into the buffers in f,
	// reslicing each to the frame's length and setting its Meta, and returns
	// how many; it stops once it has yielded maxBytes or more. What it yields
	// is the caller's: the container cannot change it any more. A frame
	// larger than its buffer is consumed, counted in Stats.Oversize and not
	// yielded.
	Collect(f []frame.Frame, maxBytes int) int
	// Arm asks the container's side to ring the doorbell for its next frame,
	// or not to. A frame that came before Arm(true) need not ring: look once
	// more after arming.
	Arm(on bool)
	// MaxFrame is the largest frame in bytes, Ethernet header included, that
	// Deliver takes; with Offloads that contain a kind of super-frame, the
	// largest super-frame.
	MaxFrame() int
	// Offloads says what the container's side finishes by itself. It does not
	// change while the queue is open.
	Offloads() frame.Offload
	// Lost is this lane's part of Stats.Oversize and Stats.Malformed. Any
	// goroutine may ask, also after the queue was closed.
	Lost() (oversize, malformed uint64)
}

// Queue is a container's queue pair. Its methods may be called by any
// goroutine. Close and Remove must not be called before the workers have let
// go of the lanes.
type Queue interface {
	// Lanes is how many lanes there are.
	Lanes() int
	// Lane returns lane i, of 0 to Lanes()-1.
	Lane(i int) Lane
	// Stats sums the counters of all lanes.
	Stats() Stats
	// Close lets go of the queue and leaves what is persistent, so that a
	// later process can restore it. A second call does nothing.
	Close() error
	// Remove closes the queue and takes away what it made. It may be called
	// after Close.
	Remove() error
}

// Stats counts, since the queue was opened or restored, what a lane consumed
// and did not yield. What Deliver refuses is the worker's to count, what the
// container's kernel dropped is the kernel's.
type Stats struct {
	// Oversize: frames of the container that were larger than the buffer
	// offered to Collect.
	Oversize uint64
	// Malformed: frames of the container whose Meta contradicted their bytes.
	Malformed uint64
	// Errors: system calls of Deliver or Collect that failed for a reason
	// that is neither of the above nor a refusal.
	Errors uint64
}

// Add returns the sum of s and t.
func (s Stats) Add(t Stats) Stats {
	s.Oversize += t.Oversize
	s.Malformed += t.Malformed
	s.Errors += t.Errors
	return s
}
