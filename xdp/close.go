package xdp

import (
	"os"

	"golang.org/x/sys/unix"
)

// Close unmaps and closes everything. The queue is free for another socket a
// moment later. The worker must have stopped; a frame that is still lent dies.
// Empty the queue's slot first (Program.ClearSocket), or frames that are on
// their way are lost without being counted.
//
// Recv and Reserve of a closed socket return 0. Close may be called again; it
// then returns ErrClosed.
func (s *Socket) Close() error {
	s.ctl.Lock()
	defer s.ctl.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.closed = true
	s.down.Store(stateGone)
	if !s.seized {
		s.remember()
	}
	s.forgetMemory()
	err := s.memory.unmap() // before the close, or the socket would live on
	if e := closeAll(s.fd, s.memfd); err == nil {
		err = e
	}
	s.fd, s.memfd = -1, -1
	return err
}

// forgetMemory makes the socket one with empty rings of its own. The counters
// stay readable.
func (s *Socket) forgetMemory() {
	last := *s.state
	words := ringMemory{&s.dead[0], &s.dead[1], &s.dead[2]}
	s.rx, s.comp = newConsumer(words, 0), newConsumer(words, 0)
	s.fill, s.tx = newProducer(words, 0), newProducer(words, 0)
	s.rxDescs, s.txDescs, s.fillAddrs, s.compAddrs = nil, nil, nil, nil
	s.umem, s.owner, s.free = nil, nil, nil
	s.window, s.stride, s.returned, s.lent = 0, 0, 0, 0
	s.stalled, s.busy = false, false
	s.state = &last
}

// Seize takes the socket from the kernel while its worker is stuck, whatever
// that is doing. Any goroutine may call it. When it returns the queue is free, as
// after Close, but the memory that the worker knows is still there: the rings are
// replaced by empty ones, and the descriptor's number stays taken. A worker that
// goes on finds a device that is gone. Close is still due, once it has.
func (s *Socket) Seize() error {
	s.ctl.Lock()
	defer s.ctl.Unlock()
	if s.closed || s.seized {
		return nil
	}
	s.seized = true
	s.down.Store(stateGone)
	s.remember()
	var first error
	for _, b := range s.memory.mapped {
		if err := replaceMapping(b); err != nil && first == nil {
			first = err
		}
	}
	if err := replaceDescriptor(s.fd); err != nil && first == nil {
		first = err
	}
	return first
}

// replaceDescriptor makes fd one of /dev/null, so that its number is not given
// to something else while the worker still uses it.
func replaceDescriptor(fd int) error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open /dev/null", err)
	}
	defer unix.Close(null)
	return os.NewSyscallError("dup3", unix.Dup3(null, fd, unix.O_CLOEXEC))
}
