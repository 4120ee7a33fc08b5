package tap

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
)

// ipv4 is a frame with its ports, as far as a fragment has them.
func ipv4(proto byte, dst byte, port, fragment uint16) []byte {
	b := make([]byte, 80)
	copy(b[12:], []byte{0x08, 0x00, 0x45})
	ip := b[14:]
	binary.BigEndian.PutUint16(ip[2:], 66)
	binary.BigEndian.PutUint16(ip[6:], fragment)
	ip[8], ip[9] = 64, proto
	copy(ip[12:], []byte{192, 0, 2, 1, 192, 0, 2, dst})
	if fragment&0x1fff == 0 {
		binary.BigEndian.PutUint16(ip[20:], port)
		binary.BigEndian.PutUint16(ip[22:], 53)
	} else {
		binary.BigEndian.PutUint32(ip[20:], uint32(port)*0x9e3779b1) // payload
	}
	return b
}

func ipv6(proto byte, dst byte, port uint16) []byte {
	b := make([]byte, 80)
	copy(b[12:], []byte{0x86, 0xdd, 0x60})
	ip := b[14:]
	ip[6], ip[7], ip[8], ip[24], ip[39] = proto, 64, 0xfd, 0xfd, dst
	binary.BigEndian.PutUint16(ip[40:], port)
	return b
}

// lanesOf sends each frame and says which lane it came out of.
func lanesOf(t *testing.T, q *Queue, p *peer, frames [][]byte) (used map[int]int) {
	t.Helper()
	used = map[int]int{}
	for i, b := range frames {
		if err := p.Send(frame.Frame{Data: b}); err != nil {
			t.Fatal(err)
		}
		lane, err := laneOf(q, b)
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		used[lane]++
	}
	return used
}

func laneOf(q *Queue, want []byte) (int, error) {
	for range 1000 {
		for i := range q.Lanes() {
			got := []frame.Frame{{Data: make([]byte, 2048)}}
			if q.Lane(i).Collect(got, 1) == 1 && string(got[0].Data) == string(want) {
				return i, nil
			}
		}
	}
	return 0, fmt.Errorf("it came out of no lane")
}

func TestSteering(t *testing.T) {
	ns := nstest.New(t)
	silence(t, ns)
	shared, err := LoadSteering()
	if err != nil {
		t.Fatal(err)
	}
	c := testConfig(ns)
	c.Lanes, c.Steering = 4, shared
	q := mustOpen(t, c)
	if err := shared.Close(); err != nil { // the kernel keeps the program
		t.Fatal(err)
	}
	p := newPeer(t, ns, DefaultName)
	defer p.Close()
	const tcp, udp = unix.IPPROTO_TCP, unix.IPPROTO_UDP
	for _, c := range []struct {
		name string
		one  func(i int) []byte
		many bool // several lanes are used, or one
	}{
		{"TCP by ports", func(i int) []byte { return ipv4(tcp, 2, uint16(i), 0x4000) }, true},
		{"TCP over IPv6 by ports", func(i int) []byte { return ipv6(tcp, 2, uint16(i)) }, true},
		{"UDP by addresses", func(i int) []byte { return ipv4(udp, byte(i), 9, 0) }, true},
		{"UDP over IPv6 by addresses", func(i int) []byte { return ipv6(udp, byte(i), 9) }, true},
		{"one UDP flow and its fragments", func(i int) []byte {
			return ipv4(udp, 2, uint16(i/4), [4]uint16{0, 0x4000, 0x2000, 0x2000 | 185}[i%4])
		}, false},
		{"UDP over IPv6 whatever its ports", func(i int) []byte { return ipv6(udp, 2, uint16(i)) }, false},
		{"fragments of TCP", func(i int) []byte { return ipv4(tcp, 2, uint16(i), 0x2000|uint16(i&1)) }, false},
		{"ARP", func(i int) []byte { b := ipv4(0, 0, 0, 0); b[13], b[40] = 6, byte(i); return b }, false},
		{"a truncated frame", func(i int) []byte { b := ipv4(tcp, byte(i), 0, 0)[:20]; b[19] = byte(i); return b }, false},
	} {
		var frames [][]byte
		for i := range 64 {
			frames = append(frames, c.one(i))
		}
		if used := lanesOf(t, q, p, frames); c.many != (len(used) == 4) || !c.many && len(used) != 1 {
			t.Errorf("%s: lanes %v", c.name, used)
		}
	}
}
