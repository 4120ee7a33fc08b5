package tap

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
	"github.com/xdpdemux/xdpdemux/queues/netns"
)

// couple is two containers and a wire of Go between their TAPs.
type couple struct {
	ns     [2]*netns.NetNS
	q      [2]*Queue
	supers atomic.Int64 // super-frames that passed
	verify atomic.Int64 // partial checksums that passed
}

func newCouple(t *testing.T, gso bool) *couple {
	c := &couple{}
	ips := [2]string{"10.5.0.1", "10.5.0.2"}
	for i := range c.q {
		c.ns[i] = nstest.New(t)
		cfg := testConfig(c.ns[i])
		cfg.MAC[5], cfg.GSO = byte(i+1), gso
		cfg.Addrs = prefixes(ips[i]+"/24", fmt.Sprintf("fd05::%d/64", i+1))
		c.q[i] = mustOpen(t, cfg)
		for _, ip := range []string{ips[1-i], fmt.Sprintf("fd05::%d", 2-i)} {
			if err := c.q[i].SetNeighbour(netip.MustParseAddr(ip), [6]byte{2, 0, 0, 0, 0, byte(2 - i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range c.q {
		wg.Go(func() { c.forward(c.q[i].Lane(0).(*Lane), c.q[1-i].Lane(0).(*Lane), stop) })
	}
	t.Cleanup(func() { close(stop); wg.Wait() }) // before the queues are removed
	return c
}

func (c *couple) forward(from, to *Lane, stop chan struct{}) {
	f := make([]frame.Frame, 16)
	for i := range f {
		f[i].Data = make([]byte, MaxSuperFrame)
	}
	for {
		n := from.Collect(f, 1<<20)
		for k := range n {
			if f[k].GSO != frame.GSONone {
				c.supers.Add(1)
			}
			if f[k].Flags&frame.NeedsChecksum != 0 {
				c.verify.Add(1)
			}
			_, _ = to.Deliver(f[k : k+1]) // what is refused, TCP sends again
			f[k].Data = f[k].Data[:cap(f[k].Data)]
		}
		if n > 0 {
			continue
		}
		select {
		case <-stop:
			return
		case <-time.After(100 * time.Microsecond):
		}
	}
}

// Two unmodified stacks talk TCP: whole super-frames with an offload that says
// so, frames of the MTU without, and every byte arrives.
func TestForwardTCP(t *testing.T) {
	for _, gso := range []bool{true, false} {
		for _, network := range []string{"tcp4", "tcp6"} {
			t.Run(fmt.Sprintf("%s GSO %t", network, gso), func(t *testing.T) {
				c := newCouple(t, gso)
				transfer(t, c, network)
				if got := c.supers.Load() > 0; got != gso {
					t.Errorf("%d super-frames passed", c.supers.Load())
				}
				if c.verify.Load() == 0 {
					t.Error("no partial checksum passed")
				}
			})
		}
	}
}

func transfer(t *testing.T, c *couple, network string) {
	t.Helper()
	addr := map[string]string{"tcp4": "10.5.0.2:0", "tcp6": "[fd05::2]:0"}[network]
	var l net.Listener
	err := c.ns[1].Do(func() (err error) {
		l, err = net.Listen(network, addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var conn net.Conn
	err = c.ns[0].Do(func() (err error) {
		conn, err = net.DialTimeout(network, l.Addr().String(), 20*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	payload := bytes.Repeat([]byte("xdpdemux forwards what it is given. "), 1<<17)
	sent := sha256.Sum256(payload)
	go func() {
		_, _ = conn.Write(payload)
		conn.Close()
	}()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	_ = in.SetDeadline(time.Now().Add(30 * time.Second))
	h := sha256.New()
	if n, err := io.Copy(h, in); err != nil || n != int64(len(payload)) {
		t.Fatalf("%d of %d bytes came: %v", n, len(payload), err)
	}
	if !bytes.Equal(h.Sum(nil), sent[:]) {
		t.Error("other bytes came than were sent")
	}
}
