package e2e

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// asavieWire is the wire's end, driven by github.com/asavie/xdp: sockets and a
// program that share no line with ours. The package panics on errors, has no
// locks, and evicts programs of others from its device; so it is used on the
// wire's end only, by one goroutine, and every panic becomes the test's error.
//
// While it is open the wire's own stack receives nothing.
type asavieWire struct {
	sockets []*xdp.Socket
	program *xdp.Program
	index   int
	mac     mac

	seen atomic.Pointer[hearing]

	queues []asavieQueue
	orders chan asavieOrder
	bell   int // an eventfd
	stop   chan struct{}
	done   chan struct{}
	err    error // written before done is closed
}

// hearing is called for every frame that comes, by the one goroutine; the frame
// dies with the call. What it returns is sent back on the same queue.
type hearing func(queue int, frame []byte) (reply []byte)

// asavieQueue is what of a queue is under way.
type asavieQueue struct {
	pending   [][]byte
	wanted    uint64 // frames that were ever put into pending
	completed uint64
	waiting   []asavieOrder
}

// asavieOrder asks to send frames in order; done is closed when the kernel is
// finished with all of them, which on veth means that the NIC has seen them.
type asavieOrder struct {
	queue  int
	frames [][]byte
	upTo   uint64
	done   chan struct{}
}

// The sizes of an asavie socket, and how many of its frames may be on their
// way: a veth's own ring holds 256, and what does not fit is lost unseen.
const (
	asavieRing   = 2048
	asavieWindow = 64
)

// openAsavie takes over the wire's end of the machine with a socket on each of
// its first queues.
func openAsavie(m *machine, queues int, seen hearing) *asavieWire {
	m.t.Helper()
	w := &asavieWire{
		index: m.Wire.Index(m.t, m.WireNIC), mac: m.Wire.MAC(m.t, m.WireNIC),
		queues: make([]asavieQueue, queues), orders: make(chan asavieOrder, 64),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	w.seen.Store(&seen)
	if err := m.Wire.Do(func() error { return w.open(queues) }); err != nil {
		m.t.Fatalf("asavie/xdp on the wire: %v", err)
	}
	go w.run()
	m.t.Cleanup(func() {
		if err := w.close(m.Wire); err != nil {
			m.t.Errorf("asavie/xdp on the wire: %v", err)
		}
	})
	return w
}

func (w *asavieWire) open(queues int) (err error) {
	if w.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	if w.program, err = xdp.NewProgram(queues); err != nil {
		return err
	}
	if err = w.program.Attach(w.index); err != nil {
		return err
	}
	for q := range queues {
		s, err := xdp.NewSocket(w.index, q, &xdp.SocketOptions{
			NumFrames: 2 * asavieRing, FrameSize: 2048, FillRingNumDescs: asavieRing,
			CompletionRingNumDescs: asavieRing, RxRingNumDescs: asavieRing, TxRingNumDescs: asavieRing,
		})
		if err != nil {
			return err
		}
		w.sockets = append(w.sockets, s)
		if err := w.program.Register(q, s.FD()); err != nil {
			return err
		}
		s.Fill(s.GetDescs(asavieRing))
	}
	return nil
}

func (w *asavieWire) close(wire *nictest.NS) error {
	close(w.stop)
	w.ring()
	<-w.done
	errs := []error{w.err, wire.Do(func() error { return w.program.Detach(w.index) })}
	for _, s := range w.sockets {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, w.program.Close(), unix.Close(w.bell))...)
}

// missed is how many frames came for which the sockets had no room: the test was
// late to look.
func (w *asavieWire) missed(t testing.TB) (n int64) {
	t.Helper()
	for _, s := range w.sockets {
		stats, err := s.Stats() // of the kernel, and indices that only it writes
		if err != nil {
			t.Fatal(err)
		}
		n += int64(stats.KernelStats.Rx_dropped + stats.KernelStats.Rx_ring_full)
	}
	return n
}

// send sends the frames in order and returns when the NIC has seen them.
func (w *asavieWire) send(queue int, frames ...[]byte) error {
	if len(frames) == 0 {
		return nil
	}
	o := asavieOrder{queue: queue, frames: frames, done: make(chan struct{})}
	select {
	case w.orders <- o:
	case <-w.done:
		return w.err
	}
	w.ring()
	select {
	case <-o.done:
		return nil
	case <-w.done:
		return w.err
	}
}

func (w *asavieWire) ring() {
	_, _ = unix.Write(w.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // a full eventfd rings already
}

// run is the one goroutine that touches the sockets.
func (w *asavieWire) run() {
	defer close(w.done)
	defer func() {
		if p := recover(); p != nil {
			w.err = fmt.Errorf("asavie/xdp panicked: %v", p)
		}
	}()
	for !w.stopped() {
		w.take()
		busy := false
		for q := range w.sockets {
			busy = w.serve(q) || busy
		}
		if !busy {
			w.sleep()
		}
	}
}

func (w *asavieWire) stopped() bool {
	select {
	case <-w.stop:
		return true
	default:
		return false
	}
}

// take moves the orders to their queues.
func (w *asavieWire) take() {
	for {
		select {
		case o := <-w.orders:
			q := &w.queues[o.queue]
			q.add(o.frames...)
			o.upTo = q.wanted
			q.waiting = append(q.waiting, o)
		default:
			return
		}
	}
}

func (q *asavieQueue) add(frames ...[]byte) {
	q.pending = append(q.pending, frames...)
	q.wanted += uint64(len(frames))
}

// serve does one round over a queue and tells whether anything moved.
func (w *asavieWire) serve(queue int) bool {
	completed, received := w.complete(queue), w.receive(queue)
	return w.transmit(queue) || completed || received
}

func (w *asavieWire) complete(queue int) bool {
	s, q := w.sockets[queue], &w.queues[queue]
	n := s.NumCompleted()
	if n == 0 {
		return false
	}
	s.Complete(n)
	q.completed += uint64(n)
	for len(q.waiting) > 0 && q.waiting[0].upTo <= q.completed {
		close(q.waiting[0].done)
		q.waiting = q.waiting[1:]
	}
	return true
}

// receive shows what came. asavie counts received descriptors as free at once,
// so they go back to the fill ring before anything else may take them.
func (w *asavieWire) receive(queue int) bool {
	s, q := w.sockets[queue], &w.queues[queue]
	descs := s.Receive(asavieWindow)
	if len(descs) == 0 {
		return false
	}
	seen := *w.seen.Load()
	for _, d := range descs {
		if reply := seen(queue, s.GetFrame(d)); reply != nil {
			q.add(append([]byte(nil), reply...))
		}
	}
	s.Fill(descs)
	return true
}

// transmit sends what the window allows. The kernel may leave part of a batch
// in the ring, so it is kicked as long as anything is under way.
func (w *asavieWire) transmit(queue int) bool {
	s, q := w.sockets[queue], &w.queues[queue]
	n := min(asavieWindow-s.NumTransmitted(), len(q.pending))
	if n <= 0 {
		if s.NumTransmitted() > 0 {
			s.Transmit(nil)
		}
		return false
	}
	descs := s.GetDescs(n)
	for i := range descs {
		descs[i].Len = uint32(len(q.pending[i]))
		copy(s.GetFrame(descs[i]), q.pending[i])
	}
	q.pending = q.pending[s.Transmit(descs):]
	return true
}

// sleep waits for a frame or an order; completions have no event of their own.
func (w *asavieWire) sleep() {
	fds := []unix.PollFd{{Fd: int32(w.bell), Events: unix.POLLIN}}
	timeout := 100
	for _, s := range w.sockets {
		fds = append(fds, unix.PollFd{Fd: int32(s.FD()), Events: unix.POLLIN})
		if s.NumTransmitted() > 0 {
			timeout = 1
		}
	}
	if _, err := unix.Poll(fds, timeout); err != nil && !errors.Is(err, unix.EINTR) {
		panic(err)
	}
	var count [8]byte
	_, _ = unix.Read(w.bell, count[:]) // nothing to read is the usual case
}
