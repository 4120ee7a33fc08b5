package memif

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// generous bounds every wait of the tests; nothing takes that long unless it
// is broken.
const generous = 60 * time.Second

// raw is a client by hand: a right one as long as nobody tells it to be wrong.
// It belongs to one goroutine.
type raw struct {
	layout shm.Layout
	conn   *wire.Conn
	region *shm.Region
	file   int // the region's
	c2s    []rawRing
	s2c    []rawRing
	closed bool
	id     uint32
	secret string
}

type rawRing struct {
	shm.Ring
	bell       int // eventfd
	head, tail uint16
}

// newRaw makes the memory and the doorbells of a client that has not connected.
func newRaw(layout shm.Layout) (*raw, error) {
	r := &raw{layout: layout}
	var err error
	if r.region, err = shm.CreateRegion("memif test", layout.Size()); err != nil {
		return nil, err
	}
	r.file = r.region.FD()
	return r, r.newRings()
}

func (r *raw) newRings() error {
	for i := range r.layout.Rings {
		to, err1 := r.newRing(shm.C2S, i)
		from, err2 := r.newRing(shm.S2C, i)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		r.c2s, r.s2c = append(r.c2s, to), append(r.s2c, from)
	}
	return nil
}

func (r *raw) newRing(d shm.Direction, i int) (rawRing, error) {
	ring, err := shm.OpenRing(r.region.Data(), r.layout.Ring(d, i), r.layout.Log2)
	if err != nil {
		return rawRing{}, err
	}
	ring.Init()
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return rawRing{Ring: ring, bell: bell}, err
}

// dial connects the socket and reads HELLO.
func (r *raw) dial(path string) (wire.Hello, error) {
	conn, err := dial(path)
	if err != nil {
		return wire.Hello{}, err
	}
	r.conn = conn
	m, err := r.hear()
	if err != nil {
		return wire.Hello{}, err
	}
	hello, ok := m.(wire.Hello)
	if !ok {
		return hello, refusal(m)
	}
	return hello, nil
}

func dial(path string) (*wire.Conn, error) {
	u, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	if err := u.SetDeadline(time.Now().Add(generous)); err != nil {
		return nil, err
	}
	return wire.NewConn(u)
}

func (r *raw) hear() (wire.Message, error) {
	m, fd, err := r.conn.Recv()
	if fd >= 0 {
		unix.Close(fd)
		return nil, errors.New("the server sent a descriptor")
	}
	return m, err
}

// refused is what a server that says DISCONNECT is.
type refused string

func (e refused) Error() string { return "refused: " + string(e) }

func refusal(m wire.Message) error {
	if bye, ok := m.(wire.Disconnect); ok {
		return refused(bye.Reason)
	}
	return fmt.Errorf("the server says %v", m.Type())
}

// ask sends one message and wants an ACK.
func (r *raw) ask(m wire.Message, fd int) error { return r.askFor(m, fd, wire.TypeAck) }

func (r *raw) askFor(m wire.Message, fd int, want wire.Type) error {
	if err := r.conn.Send(m, fd); err != nil {
		return err
	}
	answer, err := r.hear()
	if err != nil {
		return err
	}
	if answer.Type() != want {
		return refusal(answer)
	}
	return nil
}

func (r *raw) sayInit() error {
	return r.ask(wire.Init{Version: wire.Version, ID: r.id, Secret: r.secret, Name: "raw client"}, -1)
}

func (r *raw) sayRegion() error {
	return r.ask(wire.AddRegion{Size: r.layout.Size()}, r.file)
}

func (r *raw) sayRings() error {
	for i := range r.c2s {
		if err := r.ask(r.ringMessage(shm.C2S, i), r.c2s[i].bell); err != nil {
			return err
		}
	}
	for i := range r.s2c {
		if err := r.ask(r.ringMessage(shm.S2C, i), r.s2c[i].bell); err != nil {
			return err
		}
	}
	return nil
}

func (r *raw) ringMessage(d shm.Direction, i int) wire.AddRing {
	return wire.AddRing{C2S: d == shm.C2S, Index: uint16(i), Offset: r.layout.Ring(d, i), Log2: r.layout.Log2}
}

func (r *raw) sayConnect() error {
	return r.askFor(wire.Connect{Interface: "raw0"}, -1, wire.TypeConnected)
}

// connect does all of it, and lends the server every buffer.
func (r *raw) connect(path string) error {
	if _, err := r.dial(path); err != nil {
		return err
	}
	for _, step := range []func() error{r.sayInit, r.sayRegion, r.sayRings, r.sayConnect} {
		if err := step(); err != nil {
			return err
		}
	}
	for i := range r.s2c {
		r.lend(i, uint16(1)<<r.layout.Log2)
	}
	return nil
}

// lend gives the server n more buffers of ring i.
func (r *raw) lend(i int, n uint16) {
	ring := &r.s2c[i]
	for range n {
		ring.SetDesc(ring.head, shm.Desc{Length: uint32(r.layout.BufferSize), Offset: r.layout.Buffer(shm.S2C, i, ring.head)})
		ring.head++
	}
	ring.SetHead(ring.head)
}

var errFull = errors.New("the ring is full")

// put writes a frame into ring i, over as many slots as it takes, and does not
// publish it.
func (r *raw) put(i int, b []byte) error {
	ring := &r.c2s[i]
	slots := uint16((len(b) + r.layout.BufferSize - 1) / r.layout.BufferSize)
	if ring.head-ring.Tail()+slots > ring.Size() {
		return errFull
	}
	for len(b) > 0 {
		at := r.layout.Buffer(shm.C2S, i, ring.head)
		n := copy(r.region.Data()[at:][:r.layout.BufferSize], b)
		d := shm.Desc{Length: uint32(n), Offset: at}
		if b = b[n:]; len(b) > 0 {
			d.Flags = shm.FlagNext
		}
		ring.SetDesc(ring.head, d)
		ring.head++
	}
	return nil
}

// publish shows what was put, and rings where that is asked for.
func (r *raw) publish(i int) {
	ring := &r.c2s[i]
	ring.SetHead(ring.head)
	if !ring.Masked() {
		ringBell(ring.bell)
	}
}

func ringBell(fd int) {
	one := [8]byte{1}
	_, _ = unix.Write(fd, one[:])
}

func (r *raw) send(i int, b []byte) error {
	if err := r.put(i, b); err != nil {
		return err
	}
	r.publish(i)
	return nil
}

// take copies the next frame of ring i out, if there is one, and lends its
// buffers again.
func (r *raw) take(i int) ([]byte, bool) {
	ring := &r.s2c[i]
	if ring.tail == ring.Tail() {
		return nil, false
	}
	var b []byte
	slots := uint16(0)
	for more := true; more; slots++ {
		d := ring.Desc(ring.tail + slots)
		b = append(b, r.region.Data()[d.Offset:][:d.Length]...)
		more = d.Flags&shm.FlagNext != 0
	}
	ring.tail += slots
	r.lend(i, slots)
	return b, true
}

// leave closes the connection; the memory is still there.
func (r *raw) leave() error {
	if r.conn == nil {
		return nil
	}
	conn := r.conn
	r.conn = nil
	return conn.Close()
}

// close lets go of everything.
func (r *raw) close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	errs := []error{r.leave(), r.region.Close()}
	for _, ring := range append(r.c2s, r.s2c...) {
		errs = append(errs, unix.Close(ring.bell))
	}
	return errors.Join(errs...)
}

// ---- what tests need all the time

// newPatientServer never ends a handshake because the machine is busy.
func newPatientServer(t testing.TB) *Server {
	t.Helper()
	s, err := NewServer()
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.patience = time.Hour
	s.mu.Unlock()
	return s
}

func newTestServer(t testing.TB) *Server {
	t.Helper()
	s := newPatientServer(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// openQueue opens a queue in a directory of its own, for anybody.
func openQueue(t testing.TB, s *Server, cfg Config) *Queue {
	t.Helper()
	if cfg.Directory == "" && cfg.Abstract == "" {
		cfg.Directory = filepath.Join(t.TempDir(), "port")
	}
	cfg.UID, cfg.GID = -1, -1
	q, err := s.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Remove(); err != nil {
			t.Error(err)
		}
	})
	return q
}

// newClient is a client that lasts until the end of the test.
func newClient(t testing.TB, layout shm.Layout) *raw {
	t.Helper()
	r, err := newRaw(layout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.close() })
	return r
}

// connected is one that is connected.
func connected(t testing.TB, q *Queue, layout shm.Layout) *raw {
	t.Helper()
	r := newClient(t, layout)
	if err := r.connect(q.SocketPath()); err != nil {
		t.Fatal(err)
	}
	return r
}

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(generous); !holds(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func isConnected(q *Queue) bool {
	_, ok := q.Client()
	return ok
}

// rebase puts the rings into another region, whose file is fd.
func (r *raw) rebase(region *shm.Region, fd int) error {
	if err := r.region.Close(); err != nil {
		return err
	}
	r.region, r.file = region, fd
	for _, ring := range append(r.c2s, r.s2c...) {
		if err := unix.Close(ring.bell); err != nil {
			return err
		}
	}
	r.c2s, r.s2c = nil, nil
	return r.newRings()
}

func buffers(n, size int) []frame.Frame {
	f := make([]frame.Frame, n)
	for i := range f {
		f[i].Data = make([]byte, size)
	}
	return f
}
