package e2e

import (
	"bytes"
	"crypto/sha256"
	endian "encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// fetched is the size in bytes of a file that is fetched.
const fetched = 20 << 20

// TestJoinedStreams: what unmodified programs send from the wire into a container
// arrives intact, and in super-frames, whether the wire's checksums are finished, as
// a real one's are, or left unfinished, as a veth's are.
func TestJoinedStreams(t *testing.T) {
	nictest.Require(t, "curl", "python3", "ethtool")
	m := usual(t, nictest.Config{})
	f := newFile(t, fetched)
	for _, finished := range []string{"off", "on"} {
		m.Wire.Run(t, "ethtool", "-K", m.WireNIC, "tx", finished)
		for i, addr := range []string{wire4, wire6} {
			t.Run(fmt.Sprintf("%s, the wire's tx checksumming %s", addr, finished), func(t *testing.T) {
				inside := listenRaw(t, m.Containers[i], m.Containers[i].Index(t, "eth0"), func(f []byte) bool { return len(f) > 2*1514 })
				f.fetch(t, m.Wire, m.Containers[i], addr)
				nictest.Eventually(t, "super-frames inside", func() bool { return inside.any(func([]byte) bool { return true }) })
			})
		}
	}
	if total := m.stats().Total; total.Dropped() > 0 {
		t.Errorf("lost: %v", total.Drops)
	}
}

// TestWholeWayOut: with --wire-gso what containers send by TCP reaches the wire
// intact, in frames of its MTU, and not by the sockets, which other frames leave by.
func TestWholeWayOut(t *testing.T) {
	nictest.Require(t, "curl", "python3", "ethtool", "ping")
	m := usual(t, nictest.Config{}, "--wire-gso")
	m.Host.Run(t, "ethtool", "-K", m.NIC, "tx", "off", "tso", "off")
	f := newFile(t, fetched)
	sent := func(s api.Stats) (n uint64) {
		for _, k := range s.Kernel.Sockets {
			n += k.Sent
		}
		return n
	}
	outside := listenRaw(t, m.Wire, m.Wire.Index(t, m.WireNIC), func(f []byte) bool { return len(f) > 1514 })
	for i, addr := range []string{a4, b6, m4} {
		t.Run(addr, func(t *testing.T) {
			ping(t, m.Wire, addr)
			before := m.stats()
			f.fetch(t, m.Containers[i], m.Wire, addr)
			after := m.stats()
			if n := sent(after) - sent(before); n > 1000 {
				t.Errorf("%d frames left by the sockets", n)
			}
			if n := after.WholeFrames - before.WholeFrames; n < fetched/1448 {
				t.Errorf("%d left by the kernel's own way", n)
			}
		})
	}
	if outside.any(func([]byte) bool { return true }) {
		t.Error("a frame larger than the MTU came out")
	}
	if total := m.stats().Total; total.Dropped() > 0 {
		t.Errorf("lost: %v", total.Drops)
	}
	requireConserved(t, m.stats())
	m.detach()
}

// file is one that is fetched.
type file struct {
	dir string
	sum []byte
}

func newFile(t *testing.T, size int) *file {
	t.Helper()
	dir := t.TempDir()
	return &file{dir, randomFile(t, filepath.Join(dir, "blob"), size)}
}

// fetch has curl fetch the file from an HTTP server at addr, and requires that it
// arrives intact.
func (f *file) fetch(t *testing.T, server, client *nictest.NS, addr string) {
	t.Helper()
	srv := server.Start(t, "python3", "-u", "-m", "http.server", "-d", f.dir, "-b", addr, "8000")
	nictest.Eventually(t, "the HTTP server", func() bool { return strings.Contains(srv.Output(), "Serving") })
	got := filepath.Join(t.TempDir(), "got")
	client.Run(t, "curl", "-sS", "--fail", "-m", "60", "-o", got, "http://"+net.JoinHostPort(addr, "8000")+"/blob")
	data, err := os.ReadFile(got)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(data); !bytes.Equal(sum[:], f.sum) {
		t.Errorf("%d bytes arrived, and not those that were sent", len(data))
	}
}

// TestSpoiltSegments: of TCP segments that follow each other some are spoilt on the
// wire. Those reach the container alone and as they are, so that its stack finds
// them; the others do in super-frames; and the daemon counts every segment.
func TestSpoiltSegments(t *testing.T) {
	nictest.Require(t, "nstat")
	const trains, segments, spoilt, size = 40, 12, 5, 1000
	m := usual(t, nictest.Config{})
	wire := openAsavie(m, 1, func(int, []byte) []byte { return nil })
	before := m.stats()
	for i, addr := range []string{a4, a6} {
		isOurs := func(f []byte) bool { return len(f) > 100 && bytes.HasSuffix(f, []byte("segment")) }
		inside := listenRaw(t, m.Containers[0], m.Containers[0].Index(t, "eth0"), isOurs)
		bad := map[string]bool{}
		for k := range trains {
			f := m.segments(t, addr, uint16(1000+k), segments, size)
			f[spoilt][len(f[spoilt])-size/2] ^= 1
			bad[string(f[spoilt])] = true
			if err := wire.send(0, f...); err != nil {
				t.Fatal(err)
			}
		}
		nictest.Eventually(t, "all segments", func() bool { return inside.payloads(size) == trains*segments })
		supers := 0
		inside.any(func(f []byte) bool {
			delete(bad, string(f))
			if len(f) > 2*size {
				supers++
			}
			return false
		})
		if len(bad) > 0 || supers == 0 {
			t.Errorf("%s: %d of %d spoilt segments did not come as they were; %d super-frames came", addr, len(bad), trains, supers)
		}
		nictest.Eventually(t, "the container's stack to find them", func() bool { return spoiltIn(t, m.Containers[0]) == (i+1)*trains })
	}
	after := m.stats()
	if n := after.Total.Delivered - before.Total.Delivered; n != 2*trains*segments || after.Total.Dropped() != before.Total.Dropped() {
		t.Errorf("%d segments were counted as delivered, %d dropped", n, after.Total.Dropped()-before.Total.Dropped())
	}
	requireConserved(t, after)
}

// segments are n consecutive segments of a connection from the wire that nobody has
// opened, each with size bytes of payload.
func (m *machine) segments(t *testing.T, to string, port uint16, n, size int) [][]byte {
	t.Helper()
	from := wire4
	if strings.Contains(to, ":") {
		from = wire6
	}
	p := path{src: m.Wire.MAC(t, m.WireNIC), dst: m.Host.MAC(t, m.NIC)}.between(from, to)
	out := make([][]byte, n)
	for i := range out {
		kind, ip := p.ip(layers.IPProtocolTCP)
		s := &layers.TCP{SrcPort: layers.TCPPort(port), DstPort: 7, Seq: uint32(i * size), Ack: 1, ACK: true, Window: 100}
		if err := s.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)); err != nil {
			t.Fatal(err)
		}
		payload := make([]byte, size)
		endian.BigEndian.PutUint32(payload, uint32(i))
		copy(payload[size-len("segment"):], "segment")
		out[i] = p.frame(t, kind, ip, s, gopacket.Payload(payload))
	}
	return out
}

// payloads is how many payloads of that size were heard, also in super-frames.
func (s *rawSocket) payloads(size int) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.heard {
		n += len(f) / size
	}
	return n
}

// spoiltIn is how many TCP segments a namespace's stack found to be spoilt.
func spoiltIn(t *testing.T, ns *nictest.NS) (n int) {
	t.Helper()
	for line := range strings.Lines(ns.Run(t, "nstat", "-a", "-s", "-z", "TcpInCsumErrors")) {
		var name string
		var value float64
		if k, _ := fmt.Sscan(line, &name, &value); k == 2 {
			n += int(value)
		}
	}
	return n
}
