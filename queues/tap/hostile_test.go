package tap

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
)

// The container writes any virtio_net_hdr that the kernel lets pass. Whatever
// comes out of Collect is sound, and every frame is either yielded or counted.
func TestHostileHeaders(t *testing.T) {
	ns := nstest.New(t)
	silence(t, ns)
	c := testConfig(ns)
	c.GSO = true
	q := mustOpen(t, c)
	p := newPeer(t, ns, DefaultName)
	defer p.Close()
	sent, refused := 0, 0
	data := tcpBytes(4000, 5)
	copy(data[12:], []byte{0x08, 0x00, 0x45})
	data[14+9] = unix.IPPROTO_TCP
	var yielded, counted uint64
	for _, kind := range []byte{0, 1, 3, 4, 5, 0x81, 0x7f} {
		for _, flags := range []byte{0, 1, 2, 3, 0xff} {
			for _, start := range []uint16{0, 13, 14, 34, 3980, 3999, 0xffff} {
				for _, size := range []uint16{0, 1, 1400, 0xffff} {
					if p.sendRaw(header(flags, kind, 54, size, start, 16), data) != nil {
						refused++
						continue
					}
					sent++
					y := drain(t, q)
					yielded += uint64(y)
				}
			}
		}
	}
	s := q.Stats()
	counted = s.Oversize + s.Malformed
	link, err := q.LinkStats()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d sent, %d refused by the kernel, %d yielded, %d counted, %d dropped by the kernel",
		sent, refused, yielded, counted, link.TxDropped)
	if yielded == 0 || refused == 0 {
		t.Error("the test tests nothing")
	}
}

// drain collects everything, checks it, and returns how many frames there were.
func drain(t *testing.T, q *Queue) (n int) {
	t.Helper()
	f := make([]frame.Frame, 8)
	for {
		for i := range f {
			f[i].Data = make([]byte, MaxSuperFrame)
		}
		got := q.Lane(0).Collect(f, 1<<20)
		if got == 0 {
			return n
		}
		for _, g := range f[:got] {
			sound(t, g)
		}
		n += got
	}
}

func sound(t *testing.T, f frame.Frame) {
	t.Helper()
	if f.Flags&frame.NeedsChecksum != 0 && int(f.CsumStart)+int(f.CsumOffset)+2 > len(f.Data) {
		t.Errorf("%d bytes with %+v", len(f.Data), f.Meta)
	}
	if f.GSO != frame.GSONone && (f.GSOSize == 0 || int(f.HdrLen) >= len(f.Data)) {
		t.Errorf("%d bytes with %+v", len(f.Data), f.Meta)
	}
	if f.GSO == frame.GSONone && len(f.Data) > 1500+18 && f.Flags&frame.NeedsChecksum == 0 {
		// AF_PACKET does not let such a frame out.
		t.Errorf("a plain frame of %d bytes", len(f.Data))
	}
}

// A worker may be handed anything too: the kernel refuses it, nothing breaks.
func TestDeliverNonsense(t *testing.T) {
	q := mustOpen(t, testConfig(nstest.New(t)))
	l := q.Lane(0)
	for _, f := range []frame.Frame{
		{},
		{Data: make([]byte, 13)},
		{Data: make([]byte, 60), Meta: frame.Meta{Flags: frame.NeedsChecksum, CsumStart: 59, CsumOffset: 0xffff}},
	} {
		if n, why := l.Deliver([]frame.Frame{f}); n != 0 || why != frame.TooBig {
			t.Errorf("%d bytes, %+v: %d, %d", len(f.Data), f.Meta, n, why)
		}
	}
	if n := l.(*Lane).Stats().Errors; n != 3 {
		t.Errorf("%d errors, want 3", n)
	}
	good := frame.Frame{Data: make([]byte, 60)}
	if n, why := l.Deliver([]frame.Frame{good}); n != 1 || why != frame.Accepted {
		t.Errorf("a good frame after them: %d, %d", n, why)
	}
}
