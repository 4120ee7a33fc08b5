package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// Dial connects to a server and brings the memory that both will share. It
// waits for the server until ctx ends; afterwards ctx means nothing to the
// connection. A server that refuses is a *RefusedError.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("memif: %w", err)
	}
	control, err := connect(ctx, cfg.Socket)
	if err != nil {
		return nil, err
	}
	h := handshake{control: control, cfg: cfg, line: rand.Uint32()}
	stop := context.AfterFunc(ctx, func() { _ = control.Unix().SetDeadline(time.Unix(1, 0)) })
	err = h.run()
	if !stop() && err == nil { // the deadline is set already, or about to be
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(h.explain(ctx, err), h.abandon())
	}
	return newConn(&h), nil
}

func connect(ctx context.Context, socket string) (*wire.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unixpacket", socket)
	if err != nil && ctx.Err() != nil {
		return nil, silence(socket, "connection", ctx.Err())
	}
	if err != nil {
		return nil, connectError(socket, err)
	}
	control, err := wire.NewConn(c.(*net.UnixConn))
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return control, nil
}

// handshake is a connection that is being made. Every message waits for the
// server's answer to the one before, since some servers take no two at once.
type handshake struct {
	control *wire.Conn
	cfg     Config
	line    uint32 // where in a page the memory's first ring stands
	hello   wire.Hello
	last    wire.Type // what the server has not answered yet
	peer    string    // what the server calls its end

	region *shm.Region
	pairs  []pair
}

// pair is ring i of both directions.
type pair struct {
	c2s, s2c     shm.Ring
	c2sFD, s2cFD int
}

func (h *handshake) run() error {
	for _, step := range []func() error{h.greet, h.init, h.allocate, h.addRegion, h.addRings, h.connect} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// greet waits for the server's first word and bends what bends.
func (h *handshake) greet() error {
	m, err := h.receive()
	if err != nil {
		return err
	}
	hello, ok := m.(wire.Hello)
	if !ok {
		return h.unexpected(m)
	}
	h.hello = hello
	if hello.MinVersion > wire.Version || hello.MaxVersion < wire.Version {
		return fmt.Errorf("memif: the server at %q speaks versions %s to %s, this client 2.0",
			h.cfg.Socket, version(hello.MinVersion), version(hello.MaxVersion))
	}
	if most := int(min(hello.MaxC2SRing, hello.MaxS2CRing)) + 1; h.cfg.Rings > most {
		return fmt.Errorf("memif: the server at %q takes %d rings each way, %d are configured", h.cfg.Socket, most, h.cfg.Rings)
	}
	if hello.MaxLog2Ring < 1 {
		return fmt.Errorf("%w: it takes rings of 2^%d slots", ErrServer, hello.MaxLog2Ring)
	}
	h.cfg.RingSize = min(h.cfg.RingSize, 1<<min(hello.MaxLog2Ring, shm.MaxLog2))
	return nil
}

func version(v uint16) string { return fmt.Sprintf("%d.%d", v>>8, v&0xFF) }

func (h *handshake) init() error {
	return h.request(wire.Init{
		Version: wire.Version,
		ID:      h.cfg.ID,
		Mode:    wire.ModeEthernet,
		Secret:  h.cfg.Secret,
		Name:    h.cfg.Name,
	}, -1)
}

// layout is where everything stands in the memory. It is not the same for any two
// connections; see shm.Layout.Spread. How large a ring is, the server decides.
func (h *handshake) layout() shm.Layout { return h.cfg.layout().Spread(h.line) }

// allocate makes the memory, with empty rings in it, and the eventfds.
func (h *handshake) allocate() (err error) {
	l := h.layout()
	if h.region, err = shm.CreateRegion("memif-"+h.cfg.Interface, l.Size()); err != nil {
		return fmt.Errorf("memif: %w", err)
	}
	for i := range h.cfg.Rings {
		h.pairs = append(h.pairs, pair{c2sFD: -1, s2cFD: -1})
		if err := h.pairs[i].open(h.region.Data(), l, i); err != nil {
			return fmt.Errorf("memif: ring %d: %w", i, err)
		}
	}
	return nil
}

func (p *pair) open(mem []byte, l shm.Layout, i int) (err error) {
	if p.c2s, p.c2sFD, err = openRing(mem, l, shm.C2S, i); err != nil {
		return err
	}
	p.s2c, p.s2cFD, err = openRing(mem, l, shm.S2C, i)
	return err
}

func openRing(mem []byte, l shm.Layout, d shm.Direction, i int) (shm.Ring, int, error) {
	r, err := shm.OpenRing(mem, l.Ring(d, i), l.Log2)
	if err != nil {
		return r, -1, err
	}
	r.Init()
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return r, -1, os.NewSyscallError("eventfd", err)
	}
	return r, fd, nil
}

func (h *handshake) addRegion() error {
	if err := h.request(wire.AddRegion{Index: 0, Size: uint64(len(h.region.Data()))}, h.region.FD()); err != nil {
		return err
	}
	return h.region.CloseFD()
}

func (h *handshake) addRings() error {
	for i := range h.pairs {
		if err := h.addRing(shm.C2S, i, h.pairs[i].c2sFD); err != nil {
			return err
		}
	}
	for i := range h.pairs {
		if err := h.addRing(shm.S2C, i, h.pairs[i].s2cFD); err != nil {
			return err
		}
	}
	return nil
}

func (h *handshake) addRing(d shm.Direction, i, fd int) error {
	l := h.layout()
	return h.request(wire.AddRing{C2S: d == shm.C2S, Index: uint16(i), Offset: l.Ring(d, i), Log2: l.Log2}, fd)
}

func (h *handshake) connect() error {
	m, err := h.exchange(wire.Connect{Interface: h.cfg.Interface}, -1)
	if err != nil {
		return err
	}
	connected, ok := m.(wire.Connected)
	if !ok {
		return h.unexpected(m)
	}
	h.peer = connected.Interface
	return nil
}

// request sends m and waits for the ACK.
func (h *handshake) request(m wire.Message, fd int) error {
	answer, err := h.exchange(m, fd)
	if err != nil {
		return err
	}
	if answer.Type() != wire.TypeAck {
		return h.unexpected(answer)
	}
	return nil
}

func (h *handshake) exchange(m wire.Message, fd int) (wire.Message, error) {
	h.last = m.Type()
	if err := h.control.Send(m, fd); err != nil {
		// The server may have said why before it closed.
		if answer, _ := h.receive(); answer != nil {
			return answer, nil
		}
		return nil, err
	}
	return h.receive()
}

// receive waits for a message. No message of a server brings a descriptor.
func (h *handshake) receive() (wire.Message, error) {
	m, fd, err := h.control.Recv()
	if fd >= 0 {
		_ = unix.Close(fd)
	}
	return m, err
}

func (h *handshake) unexpected(m wire.Message) error {
	if d, ok := m.(wire.Disconnect); ok {
		return &RefusedError{Socket: h.cfg.Socket, Message: h.said(), Reason: d.Reason}
	}
	return fmt.Errorf("%w: it answered %s to our %s", ErrServer, m.Type(), h.said())
}

// said is what the server has not answered yet, in words.
func (h *handshake) said() string {
	if h.last == 0 {
		return "connection"
	}
	return h.last.String()
}

// explain gives an error of the socket the meaning that it has in a handshake.
func (h *handshake) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil && (errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ctx.Err())):
		return silence(h.cfg.Socket, h.said(), ctx.Err())
	case errors.Is(err, io.EOF), errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return &RefusedError{Socket: h.cfg.Socket, Message: h.said()}
	}
	return err
}

func silence(socket, said string, err error) error {
	return fmt.Errorf("memif: the server at %q did not answer our %s: %w", socket, said, err)
}

// abandon gives back everything.
func (h *handshake) abandon() error {
	err := h.control.Close()
	for _, p := range h.pairs {
		err = errors.Join(err, closeFD(p.c2sFD), closeFD(p.s2cFD))
	}
	if h.region != nil {
		err = errors.Join(err, h.region.Close())
	}
	return err
}

func closeFD(fd int) error {
	if fd < 0 {
		return nil
	}
	return os.NewSyscallError("close", unix.Close(fd))
}
