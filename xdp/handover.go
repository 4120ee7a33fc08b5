package xdp

import (
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Handover is what another process needs to go on with a socket: two
// descriptors. Everything else stands in the memory behind them.
type Handover struct {
	Socket int // the AF_XDP socket
	Memory int // the memfd with the UMEM and the state page
}

// Handover names the socket's descriptors, which stay the socket's: duplicate
// them, or send them to the other process, before Close. They are worth handing
// over from the moment of opening on, for a successor to have them after a crash.
//
// Only one process may use a socket at a time: the worker has stopped, or died,
// before the successor restores. Close here then lets go of this process's share,
// and the socket lives on in the other.
func (s *Socket) Handover() (Handover, error) {
	s.ctl.Lock()
	defer s.ctl.Unlock()
	if s.closed || s.seized {
		return Handover{}, ErrClosed
	}
	return Handover{Socket: s.fd, Memory: s.memfd}, nil
}

// Restore goes on with a socket that another Socket value, here or in another
// process, was stopped with at any point. The descriptors become the new
// socket's; on an error they stay the caller's.
//
// Frames that were received but not yet lent are kept. Those that a worker held
// when it died are counted as Abandoned. Those that it had committed are sent;
// those that it had only reserved are not.
func Restore(h Handover) (s *Socket, err error) {
	if err := checkFamily(h.Socket); err != nil {
		return nil, err
	}
	m := memory{}
	defer func() {
		if err != nil {
			m.unmap()
		}
	}()
	if err = m.remap(h); err != nil {
		return nil, fmt.Errorf("restore a socket: %w", err)
	}
	s = newSocket(m, descriptorWaker(h.Socket))
	s.fd, s.memfd = h.Socket, h.Memory
	if err = s.learnMode(); err != nil {
		return nil, err
	}
	s.busy = prefersBusyPoll(s.fd)
	s.resume()
	s.wakeReceive()
	s.push(kickTries)
	return s, nil
}

func checkFamily(fd int) error {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return fmt.Errorf("restore from descriptor %d: %w", fd, err)
	}
	if family != unix.AF_XDP {
		return fmt.Errorf("restore from descriptor %d: %w: it is a socket of family %d", fd, errState, family)
	}
	return nil
}

func prefersBusyPoll(fd int) bool {
	on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL)
	return err == nil && on != 0
}

// remap maps the memory and the rings of a handover.
func (m *memory) remap(h Handover) error {
	var file unix.Stat_t
	if err := unix.Fstat(h.Memory, &file); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if file.Size < pageSize {
		return fmt.Errorf("%w: it has %d bytes", errState, file.Size)
	}
	var err error
	if m.data, err = mapShared(h.Memory, 0, uint64(file.Size)); err != nil {
		return err
	}
	st := stateAt(m.data)
	if err := st.check(uint64(len(m.data))); err != nil {
		return err
	}
	return m.mapRings(h.Socket, st.geometry)
}

// resume finishes what was begun and makes the private state out of the shared.
func (s *Socket) resume() {
	s.finishExchange()
	s.abandonLent()
	s.finishSending()
	s.reclaimOwners()
	s.takeFree()
}

// finishExchange publishes what Release had written down to publish.
func (s *Socket) finishExchange() {
	fill, given := untwin(atomic.LoadUint64(&s.state.Exchange))
	if n := fill - s.fill.next; n <= s.fill.size {
		s.fill.publishUnasked(n)
	}
	if n := given - s.rx.given; n <= s.rx.size {
		s.rx.give(n)
		s.rx.taken = s.rx.given
	}
}

// abandonLent releases what the worker held.
func (s *Socket) abandonLent() {
	taken, received := untwin(atomic.LoadUint64(&s.state.Lent))
	if taken-s.rx.given <= s.rx.size {
		s.rx.taken = taken
	}
	add(&s.state.Received, uint64(received-uint32(s.state.Received)))
	add(&s.state.Abandoned, uint64(received-atomic.LoadUint32(&s.state.Returned)))
	atomic.StoreUint32(&s.state.Returned, received)
	s.rx.seen, s.returned = s.rx.taken, s.rx.taken
	s.exchange()
}

// finishSending publishes what Commit had written down to send.
func (s *Socket) finishSending() {
	n := atomic.LoadUint32(&s.state.Sending) - s.tx.next
	if n == 0 || n > s.tx.size {
		return
	}
	for i := range n {
		addr := s.txDescs[(s.tx.next+i)&s.tx.mask].Addr
		if addr >= s.rxEnd && addr < uint64(len(s.umem)) {
			s.owner[s.chunkNumber(addr)] = kernels
		}
	}
	s.tx.publishUnasked(n)
}

// reclaimOwners reads the completions that wait. The owner byte of one may have
// been cleared already, by a process that died before it gave the entry back.
func (s *Socket) reclaimOwners() {
	n := s.comp.look()
	for i := range n {
		addr := s.compAddrs[(s.comp.taken+i)&s.comp.mask]
		if addr >= s.rxEnd && addr < uint64(len(s.umem)) {
			s.owner[s.chunkNumber(addr)] = ours
		}
	}
	s.comp.taken += n
	s.comp.give(n)
}
