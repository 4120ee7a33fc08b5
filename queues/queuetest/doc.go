// Package queuetest is the conformance suite of the queue kinds: whatever
// passes Run behaves as package queues promises.
package queuetest

import (
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
)

// Config is what the suite asks of a queue.
type Config struct {
	// Lanes of the queue.
	Lanes int
	// MTU in bytes; frames without super-frame may have 14 more.
	MTU int
	// GSO asks for a queue that passes super-frames and partial checksums.
	GSO bool
}

// Kind is what the suite must know of a queue kind.
type Kind struct {
	// Open makes a queue and the container at its other end. Both are closed
	// by the suite.
	Open func(t testing.TB, cfg Config) (queues.Queue, Peer)
	// Capacity is how many frames the container's side takes in one lane
	// before Deliver says Full, if nobody reads; 0 means that it never does.
	Capacity int
	// Window is how many frames of the container may wait in one lane without
	// loss; at least 64.
	Window int
	// GSO says that the kind can pass super-frames; without it that part of
	// the suite is skipped.
	GSO bool
	// Returns says that a container that has left can come back.
	Returns bool
	// Patience bounds every wait; nothing takes that long unless it is
	// broken. 0 means 20 seconds.
	Patience time.Duration
}

func (k Kind) patience() time.Duration {
	if k.Patience == 0 {
		return 20 * time.Second
	}
	return k.Patience
}

// Peer is the container at the other end of a queue. Send and Recv may be
// called by two goroutines.
type Peer interface {
	// Send sends one frame and returns when a lane can collect it. Frames of
	// one IPv4 or IPv6 flow take the same lane, all others lane 0.
	Send(f frame.Frame) error
	// Recv copies the next frame that was delivered into f.Data, reslicing it,
	// and sets f.Meta. It waits for a frame for a while, then it is an error.
	Recv(f *frame.Frame) error
	// Leave makes the container's side go away, so that Deliver says Gone.
	Leave() error
	// Return undoes Leave; it is called only where Kind.Returns.
	Return() error
	// Close ends the container, after the queue's own Remove. A Recv that
	// waits returns an error.
	Close() error
}

// Belled is a lane that rings through a descriptor, which is what the suite
// can wait on.
type Belled interface {
	queues.Lane
	// Fd is watched by an edge-triggered epoll for readability.
	Fd() int
}
