package tap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
	"github.com/xdpdemux/xdpdemux/queues/netns"
	"github.com/xdpdemux/xdpdemux/queues/queuetest"
)

// peer is a container's program with two packet sockets on the interface:
// frames as they are, with their virtio_net_hdr.
type peer struct {
	ns   *netns.NetNS
	name string
	wake [2]int // a pipe: closing its end ends a Recv that waits

	mu sync.RWMutex // of fd: Send and Recv read it, Close writes it
	fd int          // -1 once closed
}

func newPeer(t testing.TB, ns *netns.NetNS, name string) *peer {
	t.Helper()
	own, err := netns.Open(nstest.Path(ns))
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{ns: own, name: name}
	err = ns.Do(func() (err error) {
		p.fd, err = packetSocket(name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Pipe2(p.wake[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	return p
}

func packetSocket(name string) (int, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	const packetVnetHdr = 15
	return fd, errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, packetVnetHdr, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index, Protocol: htons(unix.ETH_P_ALL)}),
	)
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func (p *peer) Send(f frame.Frame) error {
	var h [hdrLen]byte
	putHeader(&h, &f.Meta)
	return p.sendRaw(h, f.Data)
}

func (p *peer) sendRaw(h [hdrLen]byte, data []byte) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	_, err := unix.Writev(p.fd, [][]byte{h[:], data})
	return err
}

// Recv skips what the kernel itself says and hears.
func (p *peer) Recv(f *frame.Frame) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	whole := f.Data
	for {
		if err := p.wait(); err != nil {
			return err
		}
		buf := make([]byte, 1<<17)
		n, from, err := unix.Recvfrom(p.fd, buf, 0)
		if err != nil {
			return err
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		data := buf[hdrLen:n]
		kind := binary.BigEndian.Uint16(data[12:])
		known := kind == queuetest.EtherType || kind == unix.ETH_P_IP || kind == unix.ETH_P_IPV6
		if !ok || ll.Pkttype == unix.PACKET_OUTGOING || !known {
			continue
		}
		f.Data = whole[:copy(whole, data)]
		if !getMeta((*[hdrLen]byte)(buf), data, &f.Meta) {
			return fmt.Errorf("header % x", buf[:hdrLen])
		}
		return nil
	}
}

func (p *peer) wait() error {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}, {Fd: int32(p.wake[0])}}
	for {
		n, err := unix.Poll(fds, 20_000)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case fds[1].Revents != 0:
			return net.ErrClosed
		case n == 0:
			return os.ErrDeadlineExceeded
		case fds[0].Revents&unix.POLLIN != 0:
			return nil
		default:
			return fmt.Errorf("the packet socket says %x", fds[0].Revents)
		}
	}
}

func (p *peer) Leave() error  { return p.setUp(false) }
func (p *peer) Return() error { return p.setUp(true) }

func (p *peer) setUp(up bool) error {
	h, err := p.ns.Handle()
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(p.name)
	if err != nil {
		return err
	}
	if up {
		// The socket has noted that the network was down; asking clears it.
		_, _ = unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		return h.LinkSetUp(link)
	}
	return h.LinkSetDown(link)
}

func (p *peer) Close() error {
	err := unix.Close(p.wake[1])
	p.mu.Lock()
	defer p.mu.Unlock()
	err = errors.Join(err, unix.Close(p.fd), unix.Close(p.wake[0]), p.ns.Close())
	p.fd, p.wake = -1, [2]int{-1, -1}
	return err
}

// silence keeps a namespace's kernel from saying anything by itself.
func silence(t testing.TB, ns *netns.NetNS) {
	t.Helper()
	err := ns.Do(func() error {
		for _, path := range []string{"ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6"} {
			if err := os.WriteFile(filepath.Join("/proc/sys/net", path), []byte("1"), 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// testConfig is a Config for ns that tests change at will.
func testConfig(ns *netns.NetNS) Config {
	return Config{NetNS: ns, Owner: "xdpdemux:test:port", MAC: [6]byte{0x02, 0, 0, 0, 0, 0x01}}
}

// mustOpen opens a queue that lives until the end of the test.
func mustOpen(t testing.TB, cfg Config) *Queue {
	t.Helper()
	q, err := Open(cfg)
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

// linkOf is the interface as it is now.
func linkOf(t testing.TB, ns *netns.NetNS, name string) netlink.Link {
	t.Helper()
	h, err := ns.Handle()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// container is a peer and the namespace that lives as long.
type container struct {
	*peer
	ns *netns.NetNS
}

func (c *container) Close() error { return errors.Join(c.peer.Close(), c.ns.Close()) }

func TestConformance(t *testing.T) {
	nstest.RequireRoot(t)
	t.Run("a call for each", func(t *testing.T) { conforms(t, nil) })
	t.Run("ring", func(t *testing.T) { conforms(t, mustOpenRing(t)) })
}

// conforms asks what is asked of every kind of queue, of lanes with that ring.
func conforms(t *testing.T, ring *Ring) {
	queuetest.Run(t, queuetest.Kind{
		Open: func(t testing.TB, cfg queuetest.Config) (queues.Queue, queuetest.Peer) {
			ns, err := nstest.Open()
			if err != nil {
				t.Fatal(err)
			}
			silence(t, ns)
			c := testConfig(ns)
			c.Lanes, c.MTU, c.GSO = cfg.Lanes, cfg.MTU, cfg.GSO
			for range cfg.Lanes {
				c.Rings = append(c.Rings, ring)
			}
			q, err := Open(c)
			if err != nil {
				t.Fatal(err)
			}
			return q, &container{newPeer(t, ns, DefaultName), ns}
		},
		Window:  DefaultDepth,
		GSO:     true,
		Returns: true,
	})
}
