package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// rawSocket sends frames as they are on one interface, and hears those that
// the interface receives, as whoever is root there can.
type rawSocket struct {
	file *os.File

	mu    sync.Mutex
	heard [][]byte
	keep  func(frame []byte) bool // which ones to keep
}

// marks stand at the end of every frame that a test wants to find again,
// behind what the protocol needs: neither ARP nor IP looks there.
var mark = []byte("\x00xdt-mark")

// marked is a frame with a mark and a number behind it.
func marked(frame []byte, number int) []byte {
	return append(append(bytes.Clone(frame), mark...), byte(number>>8), byte(number))
}

// numberOf is the number of a marked frame.
func numberOf(frame []byte) int { return int(frame[len(frame)-2])<<8 | int(frame[len(frame)-1]) }

func isMarked(frame []byte) bool {
	return len(frame) > len(mark)+2 && bytes.HasSuffix(frame[:len(frame)-2], mark)
}

// openRaw opens a raw socket on an interface and listens for marked frames
// until the test ends.
func openRaw(t testing.TB, ns *nictest.NS, ifname string) *rawSocket {
	t.Helper()
	return listenRaw(t, ns, ns.Index(t, ifname), isMarked)
}

// listenRaw opens a raw socket on the interface with an index; 0 is all that
// are in the namespace, and will be.
func listenRaw(t testing.TB, ns *nictest.NS, index int, keep func(frame []byte) bool) *rawSocket {
	t.Helper()
	s := &rawSocket{keep: keep}
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		s.file = os.NewFile(uintptr(fd), "raw socket in "+ns.Name)
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: index})) // ETH_P_ALL
	})
	if err != nil {
		t.Fatalf("raw socket in %s: %v", ns.Name, err)
	}
	go s.listen()
	t.Cleanup(func() { s.file.Close() })
	return s
}

func (s *rawSocket) listen() {
	buf := make([]byte, 1<<16)
	for {
		n, err := s.file.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err == nil && s.keep(buf[:n]) {
			s.mu.Lock()
			s.heard = append(s.heard, bytes.Clone(buf[:n]))
			s.mu.Unlock()
		}
	}
}

// send sends a frame; where the interface's queue is full, it waits.
func (s *rawSocket) send(t testing.TB, frame []byte) {
	t.Helper()
	for {
		_, err := s.file.Write(frame)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.ENOBUFS) {
			t.Fatalf("sending %x: %v", frame, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// any says whether one of the frames that were heard is like that.
func (s *rawSocket) any(is func(frame []byte) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.heard, is)
}

// forget forgets what was heard.
func (s *rawSocket) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = nil
}

// numbers are those of the marked frames that were heard.
func (s *rawSocket) numbers() map[int]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[int]int{}
	for _, frame := range s.heard {
		all[numberOf(frame)]++
	}
	return all
}

// neighbours is what the namespace's caches say: "DEV IP" to MAC.
func neighbours(t testing.TB, ns *nictest.NS) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, line := range bytes.Split([]byte(ns.Run(t, "ip", "neigh")), []byte("\n")) {
		var ip, dev, mac string
		if n, _ := fmt.Sscanf(string(line), "%s dev %s lladdr %s", &ip, &dev, &mac); n == 3 {
			all[dev+" "+ip] = mac
		}
	}
	return all
}
