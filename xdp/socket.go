package xdp

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// Socket is an AF_XDP socket with its four rings: one queue of a NIC.
//
// Recv, Release, Reserve and Commit belong to one goroutine at a time; together
// they are what demux calls a Link. Close and Handover are called when no
// goroutine is in one of these any more. Everything else may be called from
// anywhere at any time.
type Socket struct {
	// Hot: the worker's.
	rx        consumer
	fill      producer
	rxDescs   []descriptor
	fillAddrs []uint64
	umem      []byte
	rxEnd     uint64 // chunks below it receive, the others transmit
	inChunk   uint64 // the bits of an address within its chunk
	returned  uint32 // receive entries before it were released by the worker
	lent      uint32 // frames that the worker holds

	tx        producer
	comp      consumer
	txDescs   []descriptor
	compAddrs []uint64
	free      []uint32 // addresses of chunks to transmit from, a stack
	owner     []byte   // of the chunks that transmit, in the state page
	window    int      // of the top of free, how many are lent to the worker
	claimed   int      // of these, how many Commit has used so far
	stride    int      // 0, or how far apart the lent buffers in outbox are

	state   *state
	kernel  waker
	down    atomic.Uint32 // up, down or gone
	stalled bool          // the kernel left entries in the transmit ring
	busy    bool          // busy polling: an empty Recv asks the kernel to poll
	direct  bool          // zero-copy
	chains  bool          // multi-buffer

	// Cold: frames larger than a chunk stand here in one piece.
	inbox     []byte
	inboxUsed int
	outbox    []byte

	// Cold: the control plane's.
	ctl     sync.Mutex // guards what follows; never taken by the worker
	fd      int
	memfd   int
	memory  memory
	seized  bool
	closed  bool
	ifindex int
	queue   int
	whyCopy error
	budget  int // of busy polling, which the kernel does not tell
	// whyInterrupts is why busy polling was refused.
	whyInterrupts error
	last          kernelStats // once closed or seized
	unread        uint64      // likewise
	dead          [3]uint32   // what the rings are after Close
}

const (
	// TxHeadroom is how many bytes in front of each buffer that Reserve lends
	// belong to the buffer too; Commit accepts a frame that starts there.
	TxHeadroom = 64

	// MaxFrame is the largest frame in bytes that Recv lends. A larger one is
	// dropped and counted in BadFrames. Reserve has buffers of up to 17 chunks.
	MaxFrame = 1 << 17

	boxSize  = 1 << 20 // of inbox and outbox, in bytes
	maxChain = 17      // descriptors of one transmitted frame (MAX_SKB_FRAGS)
	minFrame = 14      // an Ethernet header
)

// newSocket lays a socket over memory that has the geometry and the state that
// its state page says. It publishes nothing.
func newSocket(m memory, kernel waker) *Socket {
	st := stateAt(m.data)
	g := st.geometry
	s := &Socket{memory: m, kernel: kernel, state: st, fd: -1, memfd: -1}
	s.rx, s.rxDescs = newConsumer(m.rx.ringMemory, g.RxSize), m.rx.entries
	s.comp, s.compAddrs = newConsumer(m.comp.ringMemory, g.CompletionSize), m.comp.entries
	s.fill, s.fillAddrs = newProducer(m.fill.ringMemory, g.FillSize), m.fill.entries
	s.tx, s.txDescs = newProducer(m.tx.ringMemory, g.TxSize), m.tx.entries
	s.owner = m.data[pageSize:][:g.half()]
	s.umem = m.data[g.stateBytes():][:g.umemBytes()]
	s.rxEnd, s.inChunk = g.rxBytes(), uint64(g.FrameSize)-1
	s.free = make([]uint32, 0, g.half())
	s.ifindex, s.queue = int(st.IfIndex), int(st.Queue)
	s.chains = st.Flags&multiBuffer != 0
	if s.chains {
		s.inbox, s.outbox = make([]byte, boxSize), make([]byte, boxSize)
	}
	return s
}

// prime gives the kernel every chunk that receives, and takes every one that
// transmits.
func (s *Socket) prime() {
	n := uint32(0)
	for addr := uint64(0); addr < s.rxEnd; addr += s.inChunk + 1 {
		s.fillAddrs[n&s.fill.mask] = addr
		n++
	}
	atomic.StoreUint64(&s.state.Exchange, twin(n, 0))
	s.fill.publishUnasked(n)
	s.takeFree()
}

// takeFree makes the stack of the chunks that are ours, the lowest on top.
func (s *Socket) takeFree() {
	s.free = s.free[:0]
	for i := len(s.owner) - 1; i >= 0; i-- {
		if s.owner[i] == ours {
			s.free = append(s.free, uint32(s.rxEnd)+uint32(i)*uint32(s.inChunk+1))
		}
	}
}

// Fd is the socket's descriptor, to be polled: readable means that Recv has
// frames. It is valid until Close.
func (s *Socket) Fd() int { return s.fd }

// IfIndex is the device's index at the time of opening.
func (s *Socket) IfIndex() int { return s.ifindex }

// Queue is the number of the device's queue.
func (s *Socket) Queue() int { return s.queue }

// ZeroCopy says what the kernel reported after the bind (XDP_OPTIONS).
func (s *Socket) ZeroCopy() bool { return s.direct }

// MultiBuffer says whether frames larger than a chunk can come and go. It is
// false only in zero-copy on a driver that cannot.
func (s *Socket) MultiBuffer() bool { return s.chains }

// WhyCopy says why ZeroCopyAuto fell back to copying; nil if it did not.
func (s *Socket) WhyCopy() error { return s.whyCopy }

// BusyPoll is what of busy polling is in force, as the kernel says; the zero
// value where it is off. The budget is the one that the kernel took, and 0 after
// Restore, for it does not tell. If it was asked for and refused, why says so.
func (s *Socket) BusyPoll() (b BusyPoll, why error) {
	s.ctl.Lock()
	defer s.ctl.Unlock()
	if s.closed || s.seized || !prefersBusyPoll(s.fd) {
		return b, s.whyInterrupts
	}
	b.Micros, _ = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_BUSY_POLL)
	b.Budget = s.budget
	return b, s.whyInterrupts
}

// Down says that the device was found to be down or gone when the kernel was
// last woken. While it is, Recv and Reserve return 0. A device that is up
// again is noticed by itself; one that is gone needs a new socket.
func (s *Socket) Down() bool { return s.down.Load() != stateUp }

// Gone says that the device, or the socket itself, no longer exists.
func (s *Socket) Gone() bool { return s.down.Load() == stateGone }

// The method set that demux wants, held here so that a change is noticed here.
var _ interface {
	Recv([]frame.Frame) int
	Release()
	Reserve([]frame.Frame, int) int
	Commit([]frame.Frame)
} = (*Socket)(nil)
