package tap

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
)

// An unmodified program goes on receiving and sending, without losing one
// datagram, while everything about its interface changes that may. Only what
// it sends while the depth changes may be lost.
func TestChangesLoseNothing(t *testing.T) {
	sets := [][]netip.Prefix{
		prefixes("10.1.2.3/24", "10.1.2.4/24", "2001:db8::1/64"),
		prefixes("10.8.0.1/16", "10.1.2.3/24"),
		prefixes("10.1.2.3/24"),
	}
	for _, c := range []struct {
		name   string
		change func(q *Queue, i int) error
		answer bool
	}{
		{"addresses", func(q *Queue, i int) error { return q.SetAddrs(Addressing{Addrs: sets[i%len(sets)]}) }, true},
		{"MTU", func(q *Queue, i int) error { return q.SetMTU(1400 + i%3*100) }, true},
		{"depth", func(q *Queue, i int) error { return q.SetDepth(1024 << (i % 2)) }, false},
	} {
		t.Run(c.name, func(t *testing.T) { loseNothing(t, c.change, c.answer) })
	}
}

func loseNothing(t *testing.T, change func(*Queue, int) error, answer bool) {
	ns := nstest.New(t)
	c := testConfig(ns)
	c.Addrs, c.Depth = prefixes("10.1.2.3/24"), 1024
	q := mustOpen(t, c)
	if err := q.SetNeighbour(netip.MustParseAddr("10.1.2.9"), [6]byte{2, 0, 0, 0, 0, 9}); err != nil {
		t.Fatal(err)
	}
	conn := datagrams(t, ns)
	const total = 3000
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() { keepChanging(t, q, change, stop) })
	wg.Go(func() { exchange(t, q.Lane(0).(*Lane), conn, total, answer) })
	buf := make([]byte, 2048)
	for next := uint32(0); next < total; next++ {
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, _, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil || binary.BigEndian.Uint32(buf[:n]) != next {
			t.Errorf("% x came, datagram %d was next (%v)", buf[:n], next, err)
			break
		}
	}
	close(stop)
	wg.Wait()
}

// keepChanging goes on until stop; repairs find nothing in between.
func keepChanging(t *testing.T, q *Queue, change func(*Queue, int) error, stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		if err := change(q, i); err != nil {
			t.Error(err)
		}
		if r, err := q.Reconcile(); err != nil || r != (Repairs{}) {
			t.Errorf("Reconcile = %+v, %v", r, err)
		}
	}
}

func datagrams(t *testing.T, ns interface{ Do(func() error) error }) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	err := ns.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 7777})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if ctl := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	}); ctl != nil || err != nil {
		t.Fatal(ctl, err)
	}
	return conn
}

// exchange delivers total datagrams and, if asked to, collects the program's
// answer to each.
func exchange(t *testing.T, l *Lane, conn *net.UDPConn, total uint32, answer bool) {
	in := []frame.Frame{{Data: datagram(0)}}
	out := []frame.Frame{{Data: make([]byte, 2048)}}
	peer := netip.MustParseAddrPort("10.1.2.9:9999")
	for i := range total {
		in[0].Data = datagram(i)
		if n, why := l.Deliver(in); n != 1 {
			t.Errorf("datagram %d was refused: %d", i, why)
			return
		}
		if !answer {
			continue
		}
		if _, err := conn.WriteToUDPAddrPort([]byte(fmt.Sprintf("answer %06d", i)), peer); err != nil {
			t.Errorf("sending answer %d: %v", i, err)
			return
		}
		if err := collectAnswer(l, out, fmt.Sprintf("answer %06d", i)); err != nil {
			t.Error(err)
			return
		}
	}
}

// collectAnswer skips what the kernel itself says.
func collectAnswer(l *Lane, f []frame.Frame, want string) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		f[0].Data = f[0].Data[:cap(f[0].Data)]
		if l.Collect(f, 1) == 1 && len(f[0].Data) >= 42 && string(f[0].Data[42:]) == want {
			return nil
		}
	}
	return fmt.Errorf("%q was lost", want)
}

// datagram is a frame with a UDP datagram for the program, whose payload is i.
func datagram(i uint32) []byte {
	b := ipv4(17, 0, 9999, 0)[:46]
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9})
	copy(b[26:], []byte{10, 1, 2, 9, 10, 1, 2, 3})
	binary.BigEndian.PutUint16(b[16:], 32)
	binary.BigEndian.PutUint16(b[36:], 7777)
	binary.BigEndian.PutUint16(b[38:], 12)
	binary.BigEndian.PutUint16(b[40:], 0) // no checksum
	binary.BigEndian.PutUint32(b[42:], i)
	var sum uint32
	b[24], b[25] = 0, 0
	for k := 14; k < 34; k += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[k:]))
	}
	binary.BigEndian.PutUint16(b[24:], ^uint16(sum+sum>>16))
	return b
}
