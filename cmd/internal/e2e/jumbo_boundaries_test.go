package e2e

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

// largestMTU is that of the largest frames that every kind of queue takes.
const largestMTU = api.MaxMemifMTU

// TestJumboBoundaries: frames of every size at which something changes go from
// the wire to a memif client and to a TAP and back, and from the TAP to the
// client and back. Each byte of each comes back, and each is counted.
func TestJumboBoundaries(t *testing.T) {
	for _, attach := range [][]string{{"--frame-size", "2048"}, {"--frame-size", "4096"}, {"--mode", "generic"}} {
		t.Run(strings.Join(attach, " "), func(t *testing.T) {
			newBoundaries(t, largestMTU, attach...).bounceAll(t, boundarySizes())
		})
	}
}

// boundarySizes are the lengths of frames around what fits into one chunk, and
// into several: all of a chunk transmits but for a headroom of 64 bytes at the
// first, 256 bytes less receive; around a memif client's buffers and an Ethernet
// frame; and the largest.
func boundarySizes() []int {
	const largest = largestMTU + 14
	all := map[int]bool{100: true, 1514: true, 1515: true, 9014: true, largest: true}
	for _, chunk := range []int{2048, 4096} {
		for n := chunk; n <= largest; n += chunk {
			for _, less := range []int{0, 64, n / chunk * 256} {
				for d := range 3 {
					all[n-less+d-1] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// boundaries is a machine on which a TAP, a, and a memif client, m, send back
// what comes.
type boundaries struct {
	*machine
	wire, tap       *rawSocket
	wireMAC, nicMAC mac
}

func newBoundaries(t *testing.T, mtu int, attach ...string) *boundaries {
	m := newMachine(t, nictest.Config{MTU: mtu, Containers: 1})
	m.attach(attach...)
	m.add(0, "a", a4+"/16,"+a6+"/64")
	e := m.addMemif("m", m4+"/16,"+m6+"/64")
	b := &boundaries{machine: m, wireMAC: m.Wire.MAC(t, m.WireNIC), nicMAC: m.Host.MAC(t, m.NIC)}
	b.wire, b.tap = openRaw(t, m.Wire, m.WireNIC), openMirror(t, m.Containers[0], "eth0", b.wireMAC)
	for _, ns := range []*nictest.NS{m.Wire, m.Containers[0]} {
		sinkUDP(t, ns)
	}
	if e.MTU != mtu {
		t.Errorf("the MTU of the memif port is %d", e.MTU)
	}
	mirrors(t, e)
	m.awaitClient("m")
	return b
}

// bounceAll sends a frame of each size each of the ways, and requires that it
// comes back and is counted.
func (b *boundaries) bounceAll(t *testing.T, sizes []int) {
	t.Helper()
	b.bounce(t, "wire to memif", b.wire, path{src: b.wireMAC, dst: b.nicMAC}.between(wire4, m4), sizes)
	b.bounce(t, "wire to tap", b.wire, path{src: b.wireMAC, dst: b.nicMAC}.between(wire6, a6), sizes)
	b.bounce(t, "tap to memif", b.tap, path{src: b.nicMAC, dst: b.nicMAC}.between(a6, m6), sizes)
	b.check(t, uint64(len(sizes)))
}

// bounce sends a frame of each size and requires that each comes back as it went.
func (b *boundaries) bounce(t *testing.T, way string, from *rawSocket, p path, sizes []int) {
	t.Helper()
	from.forget()
	want := map[int][]byte{}
	for i, size := range sizes {
		empty := len(marked(p.datagram(t, sink, sink, nil), i))
		payload := make([]byte, size-empty)
		for j := range payload {
			payload[j] = byte(i + j*j)
		}
		frame := marked(p.datagram(t, sink, sink, payload), i)
		from.send(t, frame)
		want[i] = mirrored(frame)
	}
	nictest.Eventually(t, way+": every frame", func() bool { return len(from.numbers()) == len(sizes) })
	from.mu.Lock()
	defer from.mu.Unlock()
	for _, got := range from.heard {
		if i := numberOf(got); !bytes.Equal(got, want[i]) {
			t.Errorf("%s: instead of the frame of %d bytes came %d, or others", way, sizes[i], len(got))
		}
	}
	if len(from.heard) != len(sizes) {
		t.Errorf("%s: %d frames came back, wanted %d", way, len(from.heard), len(sizes))
	}
}

// check requires that n frames went each of the ways, and that nothing was lost.
func (b *boundaries) check(t *testing.T, n uint64) {
	t.Helper()
	s := atRest(t, b.client())
	requireConserved(t, s)
	a, m := portStats(t, s, "a"), portStats(t, s, "m")
	got := map[string]uint64{"into a": a.RxFrames, "a to the wire": a.Tx.ToWire, "a to m": a.Tx.Delivered,
		"into m": m.RxFrames, "m to the wire": m.Tx.ToWire, "m to a": m.Tx.Delivered}
	want := map[string]uint64{"into a": 2 * n, "a to the wire": n, "a to m": n, "into m": 2 * n, "m to the wire": n, "m to a": n}
	if !maps.Equal(got, want) || m.Tx.Dropped()+total(m.RxDrops)+total(a.RxDrops) != 0 {
		t.Errorf("counted %v, wanted %v; drops %v, sockets %+v", got, want, s.Total.Drops, s.Kernel.Sockets)
	}
}

// mirrored is a frame of IP and UDP on its way back: the addresses change places,
// which leaves the checksums as they are.
func mirrored(frame []byte) []byte {
	f := bytes.Clone(frame)
	swap(f[0:6], f[6:12])
	if f[12] == 0x08 {
		swap(f[26:30], f[30:34])
	} else {
		swap(f[22:38], f[38:54])
	}
	return f
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}

// openMirror listens on an interface, and sends back what bears a mark and comes
// from a MAC.
func openMirror(t *testing.T, ns *nictest.NS, ifname string, from mac) *rawSocket {
	t.Helper()
	index := ns.Index(t, ifname)
	back := listenRaw(t, ns, index, func([]byte) bool { return false })
	return listenRaw(t, ns, index, func(frame []byte) bool {
		if !isMarked(frame) || !bytes.Equal(frame[6:12], from[:]) {
			return isMarked(frame)
		}
		if _, err := back.file.Write(mirrored(frame)); err != nil {
			t.Errorf("sending %d bytes back: %v", len(frame), err)
		}
		return false
	})
}

// mirrors sends back, as a memif client, each marked frame that comes.
func mirrors(t *testing.T, e api.Endpoint) {
	t.Helper()
	conn, err := dialMemif(t, e, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-done
		conn.Close()
	})
	go func() {
		defer close(done)
		bufs := client.Buffers(64, e.MTU+14)
		for {
			n, err := conn.Ring(0).ReadContext(ctx, bufs)
			if err != nil {
				return
			}
			var back [][]byte
			for _, f := range bufs[:n] {
				if isMarked(f) {
					back = append(back, mirrored(f))
				}
			}
			if _, err := conn.Ring(0).WriteContext(ctx, back); err != nil {
				return
			}
		}
	}()
}
