package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/cmd/internal/epoll"
	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
	"github.com/xdpdemux/xdpdemux/queues/inproc"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// The command line has no queues of the kind inproc, which live in a program
// of somebody's; so this test is such a program: the real switch with one
// worker, on a real socket.
type inprocHost struct {
	t      *testing.T
	rig    *nictest.Rig
	prog   *xdp.Program
	sw     *demux.Switch
	waiter *epoll.Waiter
	own    mac
}

func newInprocHost(t *testing.T) *inprocHost {
	rig := nictest.New(t, nictest.Config{HostAddrs: []string{host4 + "/16"}, WireAddrs: []string{wire4 + "/16"}})
	h := &inprocHost{t: t, rig: rig, own: rig.Host.MAC(t, rig.NIC)}
	var socket *xdp.Socket
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	h.prog, err = xdp.LoadProgram(xdp.ProgramConfig{MaxExact: 16, MaxMACs: 16, MaxPrefixes: 16, Queues: 1})
	must(err)
	t.Cleanup(func() { h.prog.Close() })
	index := rig.Host.Index(t, rig.NIC)
	must(rig.Host.Do(func() (err error) {
		if _, err = h.prog.Attach(index, xdp.ModeAuto); err != nil {
			return err
		}
		socket, err = xdp.OpenSocket(xdp.SocketConfig{IfIndex: index})
		return err
	}))
	t.Cleanup(func() { socket.Close() })
	h.sw, err = demux.New(demux.Config{Workers: 1, MaxPorts: 8})
	must(err)
	h.waiter, err = epoll.New()
	must(err)
	must(errors.Join(h.prog.SetNIC(h.own), h.prog.SetSocket(0, socket), h.waiter.AddLink(socket.Fd()),
		h.sw.SetHost(demux.HostConfig{NICMAC: h.own})))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.sw.Run(ctx, 0, []demux.Link{socket}, h.waiter) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return h
}

// port adds an IP identity and returns the program's half of its queue.
func (h *inprocHost) port(name, addr string) (demux.PortID, *inproc.Endpoint) {
	h.t.Helper()
	q, err := inproc.Open(inproc.Config{EventFD: true})
	if err != nil {
		h.t.Fatal(err)
	}
	prefix := netip.PrefixFrom(netip.MustParseAddr(addr), 32)
	ids, err := h.sw.Attach(demux.PortConfig{Name: name, Addrs: []netip.Prefix{prefix}, Lanes: []demux.Lane{q.Lane(0)}})
	if err != nil {
		h.t.Fatal(err)
	}
	err = errors.Join(h.waiter.AddLane(q.Fd(0), ids[0].Token()),
		h.prog.Insert(xdp.Rule{Kind: xdp.RuleIPIdentity, Prefix: prefix}))
	if err != nil {
		h.t.Fatal(err)
	}
	return ids[0], q.Endpoint(0)
}

// echoFrames sends every frame back to where it came from, until ctx ends.
func echoFrames(ctx context.Context, e *inproc.Endpoint) {
	f := make([]frame.Frame, 64)
	for {
		for i := range f {
			f[i].Data = slices.Grow(f[i].Data[:0], inproc.DefaultMaxFrame)[:inproc.DefaultMaxFrame]
		}
		n, err := e.ReadContext(ctx, f)
		if err != nil {
			return
		}
		for i := range f[:n] {
			d := f[i].Data
			var dst [6]byte
			copy(dst[:], d)
			copy(d, d[6:12])
			copy(d[6:], dst[:])
			var ip [4]byte
			copy(ip[:], d[26:])
			copy(d[26:], d[30:34])
			copy(d[30:], ip[:])
			f[i].Meta = frame.Meta{}
		}
		if _, _, err := e.WriteContext(ctx, f[:n]); err != nil {
			return
		}
	}
}

// TestFullLane: a queue whose program never reads is full after so many frames
// as it holds. All others that come are its own loss, counted, while another
// one answers each frame, and its round trip is at most twice what it is when
// nobody is full: the same frames then go to a program that reads them.
func TestFullLane(t *testing.T) {
	const pings, beside, rounds, patience = 1000, 8, 5, 25
	h := newInprocHost(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	full, _ := h.port("full", a4)
	well, wellEnd := h.port("well", b4)
	_, freeEnd := h.port("free", m4)
	go echoFrames(ctx, wellEnd)
	go swallow(ctx, freeEnd)
	sinkUDP(t, h.rig.Wire)
	p := openPinger(t, h.rig.Wire, h.rig.WireNIC)
	way := path{src: h.rig.Wire.MAC(t, h.rig.WireNIC), dst: h.own}
	ping, toFull, toFree := way.between(wire4, b4).udp(t, 32), way.between(wire4, a4).udp(t, 32), way.between(wire4, m4).udp(t, 32)
	r := trip{what: "wire to well"}
	for round := 1; round < rounds || r.isSuffering(); round++ {
		r.calm = append(r.calm, p.p99(ping, toFree, pings, beside))
		r.disturbed = append(r.disturbed, p.p99(ping, toFull, pings, beside))
		t.Logf("%v, beside a full one %v; medians %v, %v", r.calm[round-1], r.disturbed[round-1], median(r.calm), median(r.disturbed))
		if round == patience {
			t.Fatalf("after %d rounds still more than twice the undisturbed", round)
		}
	}
	sent := uint64(len(r.calm) * pings * beside)
	h.wantPort(full, inproc.DefaultSlots, sent-inproc.DefaultSlots)
	h.wantPort(well, uint64(2*len(r.calm)*pings), 0)
}

// wantPort requires so many delivered frames, and so many that found it full.
func (h *inprocHost) wantPort(id demux.PortID, delivered, full uint64) {
	h.t.Helper()
	s, err := h.sw.PortStats(id)
	if err != nil {
		h.t.Fatal(err)
	}
	if s.RxFrames != delivered || s.RxDrops[demux.Full] != full {
		h.t.Errorf("port %s: %d frames and %d refused as full, want %d and %d", s.Name, s.RxFrames, s.RxDrops[demux.Full], delivered, full)
	}
}

// swallow reads everything and does nothing with it.
func swallow(ctx context.Context, e *inproc.Endpoint) {
	f := []frame.Frame{{Data: make([]byte, inproc.DefaultMaxFrame)}}
	for {
		if _, err := e.ReadContext(ctx, f); err != nil {
			return
		}
	}
}

// pinger sends one frame after the other and waits for each to come back.
type pinger struct {
	t  *testing.T
	fd int
}

func openPinger(t *testing.T, ns *nictest.NS, ifname string) *pinger {
	t.Helper()
	p := &pinger{t: t}
	index := ns.Index(t, ifname)
	err := ns.Do(func() (err error) {
		if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}),
			unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: index}))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(p.fd) })
	return p
}

// p99 sends so many pings, each behind so many frames for somebody else, and
// returns the 99th percentile of their round trips.
func (p *pinger) p99(ping, other []byte, pings, beside int) time.Duration {
	p.t.Helper()
	times := make([]time.Duration, pings)
	for i := range times {
		for range beside {
			p.send(other)
		}
		began := time.Now()
		p.send(marked(ping, i))
		if err := p.await(i); err != nil {
			p.t.Fatalf("frame %d did not come back: %v", i, err)
		}
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	return times[pings*99/100]
}

func (p *pinger) send(frame []byte) {
	p.t.Helper()
	if _, err := unix.Write(p.fd, frame); err != nil {
		p.t.Fatal(err)
	}
}

// await waits for the frame with that number.
func (p *pinger) await(number int) error {
	buf := make([]byte, 2048)
	for {
		n, err := unix.Read(p.fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case isMarked(buf[:n]) && numberOf(buf[:n]) == number:
			return nil
		case isMarked(buf[:n]):
			return fmt.Errorf("number %d came instead", numberOf(buf[:n]))
		}
	}
}
