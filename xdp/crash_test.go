package xdp

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// Rings in a memfd: the parent plays the kernel, a child process is the worker
// and is killed at random moments. What cannot be tried on a real kernel, to
// look at every chunk, can be tried here, and without root.

var ringConfig = SocketConfig{IfIndex: 1, Frames: 256, FrameSize: 2048}

// ringPart is where a ring's words and entries stand within its part of the file.
const ringPart = 16 * pageSize

var ringLayout = unix.XDPRingOffset{Producer: 0, Consumer: 64, Flags: 128, Desc: 192}

// shareRings maps the memory and the four rings out of one file. Behind them is
// a page for what the child wants to tell.
func shareRings(fd int, g geometry) (m memory, note []byte, err error) {
	total := g.memoryBytes() + 4*ringPart + pageSize
	all, err := mapShared(fd, 0, total)
	if err != nil {
		return m, nil, err
	}
	m.data = all[:g.memoryBytes():g.memoryBytes()]
	part := func(i uint64) []byte { return all[g.memoryBytes()+i*ringPart:][:ringPart] }
	if m.fill, err = ringAt[uint64](part(0), ringLayout, g.FillSize); err != nil {
		return m, nil, err
	}
	if m.comp, err = ringAt[uint64](part(1), ringLayout, g.CompletionSize); err != nil {
		return m, nil, err
	}
	if m.rx, err = ringAt[descriptor](part(2), ringLayout, g.RxSize); err != nil {
		return m, nil, err
	}
	m.tx, err = ringAt[descriptor](part(3), ringLayout, g.TxSize)
	return m, all[total-pageSize:], err
}

// sleeper is a waker for a kernel that never sleeps.
type sleeper struct{}

func (sleeper) receive() unix.Errno  { return 0 }
func (sleeper) transmit() unix.Errno { return 0 }

// ringWorker is the child: it receives, checks, and sends, until it is killed.
func ringWorker() int {
	c, _ := ringConfig.Validate()
	m, note, err := shareRings(3, c.geometry())
	if err != nil {
		fmt.Fprint(os.Stderr, err)
		return 1
	}
	last, _ := ringAt[uint64](note, ringLayout, 1)
	s := newSocket(m, sleeper{})
	s.resume()
	f, sent := make([]frame.Frame, 64), uint32(0)
	for {
		n := s.Recv(f[:1+rand.IntN(64)])
		for _, fr := range f[:n] {
			next := uint64(number(fr.Data)) + 1
			if before := atomic.LoadUint64(&last.entries[0]); next <= before {
				fmt.Fprintf(os.Stderr, "frame %d came again, after %d", next, before)
				return 1
			}
			atomic.StoreUint64(&last.entries[0], next)
		}
		s.Release()
		n = s.Reserve(f[:rand.IntN(64)], []int{100, 1500, 6000}[rand.IntN(3)])
		for i := range f[:n] {
			copy(f[i].Data, numbered(sent, len(f[i].Data)))
			sent++
		}
		s.Commit(f[:n])
	}
}

// play is the kernel at work, until it is told to stop.
func (k *fakeKernel) play(stop *atomic.Bool, next *uint32) {
	for !stop.Load() {
		if k.receiveFrame(numbered(*next, 60+rand.IntN(5000))) {
			*next++
		}
		k.transmit()
		k.sent = nil
	}
}

func TestChunksSurviveKills(t *testing.T) {
	c, err := ringConfig.Validate()
	if err != nil {
		t.Fatal(err)
	}
	g := c.geometry()
	fd, err := createMemory(g.memoryBytes() + 4*ringPart + pageSize)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "rings")
	defer file.Close()
	m, note, err := shareRings(fd, g)
	if err != nil {
		t.Fatal(err)
	}
	last, err := ringAt[uint64](note, ringLayout, 1)
	if err != nil {
		t.Fatal(err)
	}
	stateAt(m.data).format(c, multiBuffer)
	newSocket(m, sleeper{}).prime()
	k, next := kernelOf(t, m), uint32(0)
	for round := range 30 {
		worker := startChild(t, childRing, file)
		var stop atomic.Bool
		stopped := make(chan bool)
		go func() { defer close(stopped); k.play(&stop, &next) }()
		start := atomic.LoadUint64(&last.entries[0])
		eventually(t, "the child to work", func() bool { return atomic.LoadUint64(&last.entries[0]) > start+200 })
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
		worker.kill(t)
		stop.Store(true)
		<-stopped
		for k.transmit() == unix.EAGAIN { // all that was published leaves
		}
		s := newSocket(m, sleeper{})
		s.resume()
		account(t, s, k)
		if t.Failed() {
			t.Fatalf("after kill %d", round)
		}
	}
}
