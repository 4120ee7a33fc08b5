package xdp

import (
	"bytes"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

var small = SocketConfig{Frames: 256, FrameSize: 2048}

func TestRecvLendsInOrderAndReleaseRefills(t *testing.T) {
	s, k := newFake(t, small)
	f := make([]frame.Frame, 64)
	sent, got := uint32(0), uint32(0)
	for range 200 {
		for range rand.IntN(100) {
			if k.receiveFrame(numbered(sent, 60+int(sent%1400))) {
				sent++
			}
		}
		for n := s.Recv(f); n > 0; n = s.Recv(f) {
			for _, fr := range f[:n] {
				if !bytes.Equal(fr.Data, numbered(got, 60+int(got%1400))) || fr.Meta != (frame.Meta{}) {
					t.Fatalf("frame %d is not what was received", got)
				}
				got++
			}
		}
		s.Release()
	}
	if got != sent || sent < 1000 {
		t.Errorf("%d of %d frames", got, sent)
	}
	if n := fill(s.memory.fill.ringMemory); n != 128 {
		t.Errorf("the fill ring holds %d chunks, want all 128", n)
	}
	if st := s.state.counters.read(); st.Received != uint64(got) || st.BadFrames != 0 {
		t.Errorf("counters %+v", st)
	}
}

func TestRecvNeverLendsMoreThanAsked(t *testing.T) {
	s, k := newFake(t, small)
	for i := range uint32(100) {
		k.receiveFrame(numbered(i, 100))
	}
	f := make([]frame.Frame, 3)
	for want := uint32(0); want < 99; want += 3 {
		if n := s.Recv(f); n != 3 || number(f[0].Data) != want {
			t.Fatalf("Recv gave %d frames, want 3 from number %d", n, want)
		}
	}
	if n := s.Recv(f); n != 1 {
		t.Errorf("Recv gave %d frames, want the last one", n)
	}
	if n := s.Recv(nil); n != 0 {
		t.Errorf("Recv into nothing gave %d", n)
	}
}

// What is lent is not the kernel's: it may fill every other chunk meanwhile.
func TestLentFramesStayUntilRelease(t *testing.T) {
	s, k := newFake(t, small)
	f := make([]frame.Frame, 64)
	for i := range uint32(64) {
		k.receiveFrame(numbered(i, 100))
	}
	s.Recv(f)
	for k.receiveFrame(numbered(999, 1500)) {
	}
	for i, fr := range f {
		if !bytes.Equal(fr.Data, numbered(uint32(i), 100)) {
			t.Fatalf("frame %d changed while it was lent", i)
		}
	}
}

func TestLentFramesMayBeWrittenInTheirChunkOnly(t *testing.T) {
	s, k := newFake(t, small)
	f := make([]frame.Frame, 2)
	k.receiveFrame(numbered(1, 100))
	k.receiveFrame(numbered(2, 100))
	s.Recv(f)
	if got := cap(f[0].Data); got != 2048-256 {
		t.Errorf("the capacity is %d, want the rest of the chunk", got)
	}
	whole := f[0].Data[:cap(f[0].Data)]
	for i := range whole {
		whole[i] = 0xff
	}
	if !bytes.Equal(f[1].Data, numbered(2, 100)) {
		t.Error("writing one frame to its capacity changed the next one")
	}
}

// The kernel publishes received frames before the free entries of the fill ring:
// what does not fit at Release comes with the next call.
func TestReleaseWithoutRoomInTheFillRing(t *testing.T) {
	s, k := newFake(t, small)
	f := make([]frame.Frame, 64)
	for i := range uint32(64) {
		k.receiveFrame(numbered(i, 100))
	}
	taken := atomic.LoadUint32(k.fill.consumer)
	atomic.StoreUint32(k.fill.consumer, 0) // not published yet
	if n := s.Recv(f); n != 64 {
		t.Fatalf("%d frames", n)
	}
	s.Release()
	if n := fill(k.rx.ringMemory); n != 64 {
		t.Errorf("%d receive entries are held, want 64: there was no room", n)
	}
	atomic.StoreUint32(k.fill.consumer, taken)
	s.Recv(f)
	if rx, fl := fill(k.rx.ringMemory), fill(k.fill.ringMemory); rx != 0 || fl != 128 {
		t.Errorf("later %d receive entries are held and %d chunks in the fill ring, want 0 and 128", rx, fl)
	}
}

func TestChainsAreLentInOnePiece(t *testing.T) {
	s, k := newFake(t, SocketConfig{Frames: 1024, FrameSize: 2048})
	f := make([]frame.Frame, 64)
	sizes := []int{60, 1792, 1793, 3584, 9000, 1500, 65000, 60}
	for round := range 50 {
		for i, size := range sizes {
			if !k.receiveFrame(numbered(uint32(i), size)) {
				t.Fatal("no room")
			}
		}
		if n := s.Recv(f); n != len(sizes) {
			t.Fatalf("round %d: %d frames, want %d", round, n, len(sizes))
		}
		for i, size := range sizes {
			if !bytes.Equal(f[i].Data, numbered(uint32(i), size)) {
				t.Fatalf("round %d: frame %d of %d bytes is not what was received", round, i, size)
			}
		}
		s.Release()
	}
}

// More long frames than the inbox holds come in several calls.
func TestChainsWaitForRoom(t *testing.T) {
	s, k := newFake(t, SocketConfig{Frames: 4096, FrameSize: 2048})
	f := make([]frame.Frame, 64)
	for i := range uint32(40) {
		if !k.receiveFrame(numbered(i, 65000)) {
			t.Fatal("no room")
		}
	}
	got, calls := uint32(0), 0
	for n := s.Recv(f); n > 0; n = s.Recv(f) {
		for _, fr := range f[:n] {
			if !bytes.Equal(fr.Data, numbered(got, 65000)) {
				t.Fatalf("frame %d is not what was received", got)
			}
			got++
		}
		s.Release()
		calls++
	}
	if got != 40 || calls < 3 {
		t.Errorf("%d of 40 frames in %d calls", got, calls)
	}
}

func TestUnfinishedChainWaits(t *testing.T) {
	s, k := newFake(t, small)
	f := make([]frame.Frame, 64)
	k.receiveFrame(numbered(7, 5000)) // three pieces
	end := atomic.LoadUint32(k.rx.producer)
	atomic.StoreUint32(k.rx.producer, end-1)
	if n := s.Recv(f); n != 0 {
		t.Fatalf("%d frames out of a chain without end", n)
	}
	atomic.StoreUint32(k.rx.producer, end)
	if n := s.Recv(f); n != 1 || !bytes.Equal(f[0].Data, numbered(7, 5000)) {
		t.Errorf("%d frames once it had ended", n)
	}
}

// A full batch that was seen at once must not hide the end of the chain behind it.
func TestChainAcrossTheCachedIndex(t *testing.T) {
	s, k := newFake(t, small)
	f := make([]frame.Frame, 2)
	k.receiveFrame(numbered(1, 100))
	k.receiveFrame(numbered(2, 5000))
	end := atomic.LoadUint32(k.rx.producer)
	atomic.StoreUint32(k.rx.producer, end-1)
	s.rx.look() // three entries: enough for two frames, it seems
	atomic.StoreUint32(k.rx.producer, end)
	if n := s.Recv(f); n != 2 {
		t.Errorf("%d frames, want 2", n)
	}
}

func TestEndlessChainIsDropped(t *testing.T) {
	s, k := newFake(t, SocketConfig{Frames: 128, FrameSize: 2048, RxSize: 64})
	f := make([]frame.Frame, 64)
	for k.receiveFrame(numbered(1, 100)) {
	}
	for i := range k.rx.entries {
		k.rx.entries[i].Options = unix.XDP_PKT_CONTD
	}
	if n := s.Recv(f); n != 0 {
		t.Fatalf("%d frames", n)
	}
	s.Recv(f)
	if got := s.state.BadFrames; got != 1 {
		t.Errorf("%d bad frames, want 1", got)
	}
	if !k.receiveFrame(numbered(5, 100)) || s.Recv(f) != 1 || number(f[0].Data) != 5 {
		t.Error("no frame came after it")
	}
}

func TestBadDescriptorsAreCountedAndNotLent(t *testing.T) {
	bad := []descriptor{
		{Addr: 128 * 2048, Len: 60}, // of the transmit half
		{Addr: 256 * 2048, Len: 60}, // behind the UMEM
		{Addr: math.MaxUint64, Len: 60},
		{Addr: math.MaxUint64 - 100, Len: math.MaxUint32},
		{Addr: 0, Len: 2049}, // over the chunk's end
		{Addr: 2000, Len: 60},
		{Addr: 0, Len: math.MaxUint32},
		{Addr: 0, Len: 0},
	}
	for _, d := range bad {
		s, k := newFake(t, small)
		f := make([]frame.Frame, 8)
		k.receiveFrame(numbered(1, 100))
		k.receiveFrame(numbered(2, 100))
		k.rx.entries[0] = d
		if n := s.Recv(f); n != 1 || number(f[0].Data) != 2 {
			t.Errorf("%+v: %d frames, want only the good one", d, n)
		}
		if s.state.BadFrames != 1 || s.state.Received != 1 {
			t.Errorf("%+v: %d bad, %d received", d, s.state.BadFrames, s.state.Received)
		}
		k.rx.entries[1].Options = 0
		s.Release()
	}
}

// A descriptor outside of the receive half never puts its chunk into the fill ring.
func TestForeignChunkIsNeverFilled(t *testing.T) {
	s, k := newFake(t, small)
	f := make([]frame.Frame, 8)
	k.receiveFrame(numbered(1, 100))
	k.rx.entries[0].Addr = 200 * 2048
	s.Recv(f)
	s.Recv(f)
	last := k.fill.entries[(atomic.LoadUint32(k.fill.producer)-1)&127]
	if last < 256*2048 {
		t.Errorf("the fill ring got %#x", last)
	}
}

func TestBadChainIsDroppedWhole(t *testing.T) {
	s, k := newFake(t, small)
	f := make([]frame.Frame, 8)
	k.receiveFrame(numbered(1, 5000))
	k.receiveFrame(numbered(2, 100))
	k.rx.entries[1].Len = 5000
	if n := s.Recv(f); n != 1 || number(f[0].Data) != 2 {
		t.Errorf("%d frames, want only the good one", n)
	}
}

func TestEmptyRecvWakesASleepingKernel(t *testing.T) {
	s, k := newFake(t, small)
	f := make([]frame.Frame, 8)
	s.Recv(f)
	if k.rxKicks != 0 {
		t.Error("a kernel that is awake was kicked")
	}
	*k.fill.flags = unix.XDP_RING_NEED_WAKEUP
	s.Recv(f)
	if k.rxKicks != 1 {
		t.Errorf("%d kicks of a sleeping kernel, want 1", k.rxKicks)
	}
	k.receiveFrame(numbered(1, 100))
	s.Recv(f)
	s.Release()
	if k.rxKicks != 2 {
		t.Errorf("%d kicks after a refill, want 2", k.rxKicks)
	}
	*k.fill.flags = 0
	s.busy = true
	s.Recv(f)
	if k.rxKicks != 3 {
		t.Errorf("%d kicks, want 3: busy polling asks when nothing came", k.rxKicks)
	}
}
