package xdp

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// sendNumbers commits count frames of that size, as far as buffers go.
func sendNumbers(t *testing.T, s *Socket, first uint32, count, size int) int {
	t.Helper()
	f := make([]frame.Frame, count)
	n := s.Reserve(f, size)
	for i := range f[:n] {
		if len(f[i].Data) != size || f[i].Meta != (frame.Meta{}) {
			t.Fatalf("a buffer of %d bytes with %+v, want %d", len(f[i].Data), f[i].Meta, size)
		}
		copy(f[i].Data, numbered(first+uint32(i), size))
	}
	s.Commit(f[:n])
	return n
}

func TestCommitSendsInOrder(t *testing.T) {
	s, k := newFake(t, small)
	for i := uint32(0); i < 10_000; {
		i += uint32(sendNumbers(t, s, i, 1+rand.IntN(64), 60+rand.IntN(1400)))
	}
	for i, data := range k.sent {
		if number(data) != uint32(i) || number(data[len(data)-4:]) != uint32(i) {
			t.Fatalf("sent frame %d says %d", i, number(data))
		}
	}
	if len(k.sent) < 10_000 || s.state.Sent != uint64(len(k.sent)) || s.state.Rejected != 0 {
		t.Errorf("%d sent, counters %+v", len(k.sent), s.state.counters)
	}
}

func TestReserveStopsWhenNothingIsFree(t *testing.T) {
	s, k := newFake(t, small) // 128 chunks transmit
	k.hold = true
	f := make([]frame.Frame, 1000)
	if n := s.Reserve(f, 100); n != 128 {
		t.Fatalf("%d buffers of 128 chunks", n)
	}
	s.Commit(nil)
	sendNumbers(t, s, 0, 100, 100)
	if n := s.Reserve(f, 100); n != 28 {
		t.Errorf("%d buffers while 100 are the kernel's, want 28", n)
	}
	k.complete()
	if n := s.Reserve(f, 100); n != 128 {
		t.Errorf("%d buffers after all completed, want 128", n)
	}
}

func TestReservedAndUnusedBuffersReturn(t *testing.T) {
	s, _ := newFake(t, small)
	f := make([]frame.Frame, 64)
	for range 100 {
		if n := s.Reserve(f, 100); n != 64 {
			t.Fatalf("%d buffers, want 64", n)
		}
		switch rand.IntN(3) {
		case 0: // dropped by the next Reserve
		case 1:
			s.Commit(nil)
		case 2:
			s.Commit(f[10:20])
		}
	}
	s.Reserve(nil, 0)
	if n := len(s.free); n != 128 {
		t.Errorf("%d chunks are free, want 128", n)
	}
}

func TestCommitTakesAnyOrderAndAnySubset(t *testing.T) {
	s, k := newFake(t, small)
	f := make([]frame.Frame, 64)
	for range 200 {
		k.sent = nil
		n := s.Reserve(f, 100)
		for i := range f[:n] {
			copy(f[i].Data, numbered(uint32(i), 100))
		}
		order := rand.Perm(n)[:rand.IntN(n+1)]
		pick := make([]frame.Frame, len(order))
		for i, j := range order {
			pick[i] = f[j]
		}
		s.Commit(pick)
		if len(k.sent) != len(order) {
			t.Fatalf("%d sent, want %d", len(k.sent), len(order))
		}
		for i, j := range order {
			if number(k.sent[i]) != uint32(j) {
				t.Fatalf("place %d holds frame %d, want %d", i, number(k.sent[i]), j)
			}
		}
	}
	s.Reserve(nil, 0)
	if len(s.free) != 128 {
		t.Errorf("%d chunks are free, want 128", len(s.free))
	}
}

// A VLAN tag is put on by moving the start back into the headroom.
func TestCommitAcceptsAFrameThatStartsInTheHeadroom(t *testing.T) {
	for _, size := range []int{100, 1500, 9000} {
		s, k := newFake(t, small)
		f := make([]frame.Frame, 1)
		s.Reserve(f, size+4)
		copy(f[0].Data[4:], numbered(9, size))
		f[0].Data = f[0].Data[4:]
		s.Commit(f)
		if len(k.sent) != 1 || !bytes.Equal(k.sent[0], numbered(9, size)) {
			t.Errorf("size %d: %d sent, or not what was written", size, len(k.sent))
		}
	}
}

func TestCommitRejectsWhatItDidNotLend(t *testing.T) {
	s, k := newFake(t, small)
	k.receiveFrame(numbered(1, 100))
	received := make([]frame.Frame, 1)
	s.Recv(received)
	f := make([]frame.Frame, 4)
	s.Reserve(f, 100)
	old := f[3]
	s.Commit(nil)
	s.Reserve(f[:3], 100)
	foreign := []frame.Frame{
		received[0],                        // of the receive half
		{Data: make([]byte, 100)},          // of nobody
		{Data: nil},                        //
		old,                                // of an earlier reservation
		{Data: f[0].Data[:13]},             // too short for a header
		{Data: s.umem[:100]},               // the UMEM's begin
		{Data: s.umem[len(s.umem)-100:]},   // the UMEM's end, not lent
		{Data: f[0].Data[:100:100][99:99]}, // empty
	}
	before := s.state.Rejected
	s.Commit(append(foreign, f[0], f[0], f[1]))
	if len(k.sent) != 2 {
		t.Errorf("%d sent, want the two that were lent, once each", len(k.sent))
	}
	if got := s.state.Rejected - before; got != uint64(len(foreign))+1 {
		t.Errorf("%d rejected, want %d", got, len(foreign)+1)
	}
	s.Reserve(nil, 0)
	if len(s.free) != 128 {
		t.Errorf("%d chunks are free, want 128", len(s.free))
	}
}

func TestCommitWithoutReserve(t *testing.T) {
	s, k := newFake(t, small)
	f := make([]frame.Frame, 1)
	s.Reserve(f, 100)
	s.Commit(f)
	s.Commit(f)
	if len(k.sent) != 1 || s.state.Rejected != 1 {
		t.Errorf("%d sent, %d rejected, want 1 and 1", len(k.sent), s.state.Rejected)
	}
}

func TestLongFramesLeaveAsChains(t *testing.T) {
	s, k := newFake(t, SocketConfig{Frames: 1024, FrameSize: 2048})
	i := uint32(0)
	for _, size := range []int{1984, 1985, 2048, 4096, 9000, 9018, 20000, 30000} {
		for range 20 {
			n := sendNumbers(t, s, i, 8, size)
			if n == 0 {
				t.Fatalf("no buffer of %d bytes", size)
			}
			for j, data := range k.sent {
				if !bytes.Equal(data, numbered(i+uint32(j), size)) {
					t.Fatalf("frame %d of %d bytes is not what was written", i+uint32(j), size)
				}
			}
			i += uint32(n)
			k.sent = nil
		}
	}
	s.Reserve(nil, 0)
	if len(s.free) != 512 {
		t.Errorf("%d chunks are free, want 512", len(s.free))
	}
}

func TestLongReservationIsBoundedByChunksAndEntries(t *testing.T) {
	s, k := newFake(t, SocketConfig{Frames: 256, FrameSize: 2048, TxSize: 64})
	f := make([]frame.Frame, 64)
	if n := s.Reserve(f, 9000); n != 64/5 {
		t.Errorf("%d buffers of five chunks in a ring of 64", n)
	}
	if n := s.Reserve(f, 17*2048); n != 0 {
		t.Errorf("%d buffers that need more than 17 chunks with their headroom", n)
	}
	if n := s.Reserve(f, -1) + s.Reserve(f, MaxFrame+1) + s.Reserve(f, 1<<40); n != 0 {
		t.Errorf("%d buffers of impossible sizes", n)
	}
	k.hold = true
	sendNumbers(t, s, 0, 8, 9000)
	if got := len(s.free); got != 128-8*5 {
		t.Errorf("%d chunks are free, want %d", got, 128-8*5)
	}
}

func TestLongCommitRejectsWhatItDidNotLend(t *testing.T) {
	s, k := newFake(t, small)
	f := make([]frame.Frame, 2)
	if n := s.Reserve(f, 9000); n != 2 {
		t.Fatalf("%d buffers", n)
	}
	stride := s.stride
	s.Commit([]frame.Frame{
		{Data: make([]byte, 9000)},
		{Data: s.outbox[2*stride : 2*stride+100]}, // the next slot
		{Data: s.outbox[stride-100 : stride+100]}, // over two slots
		{Data: s.umem[len(s.umem)-100:]},          // a chunk
		{Data: f[0].Data[:10]}, {Data: nil}, f[1], f[0], f[0],
	})
	if len(k.sent) != 2 || s.state.Rejected != 7 {
		t.Errorf("%d sent and %d rejected, want 2 and 7", len(k.sent), s.state.Rejected)
	}
}

func TestWithoutChainsALongFrameHasNoBuffer(t *testing.T) {
	m, k := newFakeMemory(t, small, false)
	s := newSocket(m, k)
	s.prime()
	f := make([]frame.Frame, 2)
	if n := s.Reserve(f, 1985); n != 0 || s.MultiBuffer() {
		t.Errorf("%d buffers, MultiBuffer %v", n, s.MultiBuffer())
	}
	if n := s.Reserve(f, 1984); n != 2 {
		t.Errorf("%d buffers of one chunk", n)
	}
}

func TestBadCompletionsAreIgnored(t *testing.T) {
	s, k := newFake(t, small)
	for _, addr := range []uint64{0, 127 * 2048, 128 * 2048, 256 * 2048, 1 << 40, ^uint64(0)} {
		push(k.comp, addr)
	}
	s.Reserve(nil, 0)
	if len(s.free) != 128 || s.state.BadCompletions != 6 {
		t.Errorf("%d chunks are free and %d completions were bad, want 128 and 6", len(s.free), s.state.BadCompletions)
	}
}

func TestKickGoesOnUntilAllIsSent(t *testing.T) {
	s, k := newFake(t, small)
	k.budget = 5
	sendNumbers(t, s, 0, 64, 100)
	if len(k.sent) != 64 || s.stalled {
		t.Errorf("%d of 64 sent, stalled %v", len(k.sent), s.stalled)
	}
	if s.state.Kicks != 13 {
		t.Errorf("%d kicks of 5 frames for 64, want 13", s.state.Kicks)
	}
}

// A kernel that does not move is kicked a few times and then left alone; what it
// kept goes out with a later call.
func TestKickIsBounded(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EAGAIN, unix.EBUSY, unix.ENOBUFS, unix.EINTR, unix.ENOMEM} {
		s, k := newFake(t, small)
		k.answer = errno
		sendNumbers(t, s, 0, 10, 100)
		if got := s.state.Kicks; got != kickTries {
			t.Errorf("%v: %d kicks, want %d", errno, got, kickTries)
		}
		if s.Down() {
			t.Errorf("%v counts as down", errno)
		}
		k.answer = 0
		s.Recv(make([]frame.Frame, 1))
		if len(k.sent) != 10 || s.stalled {
			t.Errorf("%v: %d of 10 sent by the next Recv", errno, len(k.sent))
		}
	}
}

func TestReserveKicksAFullRing(t *testing.T) {
	s, k := newFake(t, SocketConfig{Frames: 256, FrameSize: 2048, TxSize: 64})
	k.answer = unix.EAGAIN
	if n := sendNumbers(t, s, 0, 100, 100); n != 64 {
		t.Fatalf("%d buffers for a ring of 64", n)
	}
	f := make([]frame.Frame, 10)
	if n := s.Reserve(f, 100); n != 0 {
		t.Errorf("%d buffers while the ring is full", n)
	}
	k.answer, k.budget = 0, 64
	if n := s.Reserve(f, 100); n != 10 {
		t.Errorf("%d buffers once the kernel moves, want 10", n)
	}
}

func TestZeroCopyKicksOnlyASleeper(t *testing.T) {
	s, k := newFake(t, small)
	s.direct = true
	sendNumbers(t, s, 0, 10, 100)
	if s.state.Kicks != 0 {
		t.Errorf("%d kicks of a NIC that is awake", s.state.Kicks)
	}
	*k.tx.flags = unix.XDP_RING_NEED_WAKEUP
	sendNumbers(t, s, 10, 10, 100)
	if s.state.Kicks != 1 || len(k.sent) != 20 {
		t.Errorf("%d kicks and %d sent, want 1 and 20", s.state.Kicks, len(k.sent))
	}
}

func TestDeviceDownAndUp(t *testing.T) {
	s, k := newFake(t, small)
	k.answer = unix.ENETDOWN
	sendNumbers(t, s, 0, 10, 100)
	if !s.Down() || s.Gone() || s.state.Kicks != 1 || s.state.Downs != 1 {
		t.Fatalf("down %v, gone %v, %d kicks, %d downs", s.Down(), s.Gone(), s.state.Kicks, s.state.Downs)
	}
	f := make([]frame.Frame, 10)
	for range 10 {
		if n := s.Reserve(f, 100); n != 0 {
			t.Fatalf("%d buffers while the device is down", n)
		}
		s.Recv(f)
	}
	if got := s.state.Kicks; got != 11 {
		t.Errorf("%d kicks, want one of Commit and one of each Reserve", got)
	}
	k.answer = 0
	n := s.Reserve(f, 100) // the first one on a device that is up
	if n != 10 || s.Down() || len(k.sent) != 10 {
		t.Errorf("%d buffers, down %v, %d sent after it came up", n, s.Down(), len(k.sent))
	}
	if s.state.Downs != 1 {
		t.Errorf("%d downs, want 1", s.state.Downs)
	}
}

func TestDeviceGone(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENXIO, unix.ENODEV, unix.EBADF, unix.ENOTSOCK} {
		s, k := newFake(t, small)
		k.answer = errno
		sendNumbers(t, s, 0, 10, 100)
		k.answer = 0 // nothing brings it back
		f := make([]frame.Frame, 10)
		for range 100 {
			if s.Reserve(f, 100) != 0 || s.Recv(f) != 0 {
				t.Fatalf("%v: frames of a device that is gone", errno)
			}
			s.Commit(nil)
			s.Release()
		}
		if s.state.Kicks != 1 || !s.Gone() {
			t.Errorf("%v: %d kicks, gone %v", errno, s.state.Kicks, s.Gone())
		}
	}
}
