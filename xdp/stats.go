package xdp

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// SocketStats are counters of one socket since it was opened; they go on over
// Restore. The first group is ours, the second is the kernel's (XDP_STATISTICS).
type SocketStats struct {
	// Received counts frames that Recv lent.
	Received uint64
	// Abandoned counts those of them that a worker held when it was killed;
	// they may or may not have been delivered.
	Abandoned uint64
	// BadFrames counts received frames that were never lent: a descriptor
	// outside of the UMEM, a chain without end or beyond MaxFrame.
	BadFrames uint64
	// Unread counts frames that stood in the receive ring when the socket was
	// closed or seized, and were never lent.
	Unread uint64
	// Sent counts frames that Commit gave to the kernel.
	Sent uint64
	// Rejected counts frames that Commit did not send, for they did not lie in
	// a reserved buffer.
	Rejected uint64
	// BadCompletions counts completions of chunks that the kernel did not have.
	BadCompletions uint64
	// Kicks counts the system calls that woke the kernel.
	Kicks uint64
	// Refused counts kicks on which the device dropped a frame (EBUSY).
	Refused uint64
	// Again counts kicks that the kernel wants repeated (EAGAIN, ENOBUFS); one
	// that used its budget up is among them.
	Again uint64
	// Downs counts how often the device was found down or gone.
	Downs uint64

	// RxDropped counts frames that were redirected to the socket and dropped
	// for another reason than a full ring; in copy mode that is for want of a
	// chunk in the fill ring.
	RxDropped uint64
	// RxInvalid and TxInvalid count descriptors that the kernel refused.
	RxInvalid, TxInvalid uint64
	// RxRingFull counts frames dropped for want of room in the receive ring.
	RxRingFull uint64
	// FillEmpty counts how often the kernel found the fill ring empty: a cause,
	// not a loss. TxEmpty is the same of the transmit ring.
	FillEmpty, TxEmpty uint64
}

// Drops is how many frames were redirected to the socket and lost before Recv
// could see them.
func (s SocketStats) Drops() uint64 { return s.RxDropped + s.RxRingFull }

// Add adds the counters of another socket, such as one that served the same
// queue before.
func (s *SocketStats) Add(o SocketStats) {
	for _, sum := range []struct {
		to *uint64
		n  uint64
	}{
		{&s.Received, o.Received}, {&s.Abandoned, o.Abandoned}, {&s.BadFrames, o.BadFrames}, {&s.Unread, o.Unread},
		{&s.Sent, o.Sent}, {&s.Rejected, o.Rejected}, {&s.BadCompletions, o.BadCompletions}, {&s.Kicks, o.Kicks},
		{&s.Refused, o.Refused}, {&s.Again, o.Again}, {&s.Downs, o.Downs},
		{&s.RxDropped, o.RxDropped}, {&s.RxInvalid, o.RxInvalid}, {&s.TxInvalid, o.TxInvalid},
		{&s.RxRingFull, o.RxRingFull}, {&s.FillEmpty, o.FillEmpty}, {&s.TxEmpty, o.TxEmpty},
	} {
		*sum.to += sum.n
	}
}

// Stats reads the counters. Any goroutine may call it. After Close they are the
// last ones, and the error is ErrClosed.
func (s *Socket) Stats() (SocketStats, error) {
	s.ctl.Lock()
	defer s.ctl.Unlock()
	st := s.state.counters.read()
	if s.closed || s.seized {
		s.last.addTo(&st)
		st.Unread = s.unread
		return st, ErrClosed
	}
	k, err := statistics(s.fd)
	if err != nil {
		return st, err
	}
	kernelStats(k).addTo(&st)
	return st, nil
}

// kernelStats are the kernel's counters of a socket.
type kernelStats unix.XDPStatistics

func (k kernelStats) addTo(st *SocketStats) {
	st.RxDropped, st.RxRingFull = k.Rx_dropped, k.Rx_ring_full
	st.RxInvalid, st.TxInvalid = k.Rx_invalid_descs, k.Tx_invalid_descs
	st.FillEmpty, st.TxEmpty = k.Rx_fill_ring_empty_descs, k.Tx_ring_empty_descs
}

// remember keeps what will be lost with the descriptor and the rings. The socket
// is about to be closed or seized.
func (s *Socket) remember() {
	if k, err := statistics(s.fd); err == nil {
		s.last = kernelStats(k)
	}
	next, _ := untwin(atomic.LoadUint64(&s.state.Lent))
	s.unread = s.rx.frames(next, s.rxDescs)
}

// frames counts the frames in the receive ring from the entry next on: each
// ends with a descriptor that none follows. It reads what the kernel has
// written and touches nothing of the worker's.
func (c *consumer) frames(next uint32, descs []descriptor) (n uint64) {
	end := atomic.LoadUint32(c.peer)
	if end-next > c.size {
		return 0
	}
	for ; next != end; next++ {
		if descs[next&c.mask].Options&unix.XDP_PKT_CONTD == 0 {
			n++
		}
	}
	return n
}

func (c *counters) read() SocketStats {
	return SocketStats{
		Received:       atomic.LoadUint64(&c.Received),
		Abandoned:      atomic.LoadUint64(&c.Abandoned),
		BadFrames:      atomic.LoadUint64(&c.BadFrames),
		Sent:           atomic.LoadUint64(&c.Sent),
		Rejected:       atomic.LoadUint64(&c.Rejected),
		BadCompletions: atomic.LoadUint64(&c.BadCompletions),
		Kicks:          atomic.LoadUint64(&c.Kicks),
		Refused:        atomic.LoadUint64(&c.Refused),
		Again:          atomic.LoadUint64(&c.Again),
		Downs:          atomic.LoadUint64(&c.Downs),
	}
}
