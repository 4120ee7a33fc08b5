package xdp

import (
	"golang.org/x/sys/unix"
)

// waker wakes the kernel for a socket. No call blocks.
type waker interface {
	receive() unix.Errno
	transmit() unix.Errno
}

// descriptorWaker is the waker of a real socket.
//
// Its calls are raw: the Go scheduler does not hear of them, the processor stays
// with the worker, and a garbage collection that wants to stop the world waits
// for them. They never sleep (MSG_DONTWAIT). In copy mode transmit sends at most
// one budget of frames, some tens of microseconds on a NIC; an ordinary call
// of that length would have the scheduler hand the processor to somebody else
// and the worker queue up for it behind every other goroutine.
type descriptorWaker int

func (fd descriptorWaker) transmit() unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

func (fd descriptorWaker) receive() unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// The states of a device as a socket finds it.
const (
	stateUp   = iota
	stateDown // may come back
	stateGone // never comes back to this socket
)

// kickTries is how many kicks in a row may move nothing before Commit leaves the
// rest to a later call.
const kickTries = 8

// push has the kernel send what stands in the transmit ring.
//
// In zero-copy the NIC sends by itself once it is awake. In copy mode the
// kernel sends within the call, a budget of frames at a time, so push calls
// again while that moves anything; tries bounds how often it may not. What is
// left is tried again by the next Recv, Reserve or Commit.
func (s *Socket) push(tries int) {
	if s.direct {
		if s.tx.asleep() {
			s.wakeTransmit()
		}
		return
	}
	left := s.tx.unread()
	for left > 0 && tries > 0 && s.wakeTransmit() {
		now := s.tx.unread()
		if now >= left {
			tries--
		}
		left = now
	}
	s.stalled = left > 0 && s.down.Load() == stateUp
}

// wakeTransmit returns false if the device is down or gone.
func (s *Socket) wakeTransmit() bool { return s.woke(s.kernel.transmit()) }

func (s *Socket) wakeReceive() { s.woke(s.kernel.receive()) }

// woke takes the kernel's answer in. Every answer but those about the device is
// about the moment, and the loops are bounded anyhow.
func (s *Socket) woke(errno unix.Errno) bool {
	add(&s.state.Kicks, 1)
	switch errno {
	case unix.ENETDOWN:
		s.found(stateDown)
		return false
	case unix.ENXIO, unix.ENODEV, unix.EBADF, unix.ENOTSOCK:
		s.found(stateGone)
		return false
	case unix.EBUSY: // the device dropped the frame; it is completed
		add(&s.state.Refused, 1)
	case 0:
	default: // EAGAIN, ENOBUFS, EINTR …
		add(&s.state.Again, 1)
	}
	s.found(stateUp)
	return true
}

// found notes how the device is.
func (s *Socket) found(now uint32) {
	was := s.down.Load()
	if was == now || was == stateGone {
		return
	}
	if was == stateUp {
		add(&s.state.Downs, 1)
	}
	s.down.Store(now)
}

// revived says whether a device that was down is up again. It asks each time:
// the answer of a device that is down comes at once, and of traffic that is
// sparse not one frame must be lost to a device that is up. Entries that stood in
// the ring meanwhile leave with the question.
func (s *Socket) revived() bool {
	if s.down.Load() == stateGone || !s.wakeTransmit() {
		return false
	}
	s.stalled = !s.direct && s.tx.unread() > 0
	return true
}
