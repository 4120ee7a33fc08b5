package memif

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// FuzzControl says anything to the handshake, message after message, with
// descriptors of several kinds beside them: it refuses, or in the end holds
// rings that lie in their regions, as many as there are to be. Nothing leaks.
//
// A message is given by its kind, by the descriptor beside it, and by eight
// bytes for its fields.
func FuzzControl(f *testing.F) {
	right := []byte{
		2, 0, 0, 2, 0, 0, 0, 0, 0, 0,
		3, 1, 0, 0, 0, 16, 0, 0, 0, 0,
		4, 2, 1, 0, 0, 0, 0, 0, 0, 4,
		4, 2, 0, 0, 0, 0, 4, 0, 0, 4,
		5, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	}
	f.Add(right)
	f.Add(right[:30])
	f.Add(append(append([]byte{}, right...), right...))
	f.Add([]byte{8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3})
	kinds := newKinds(f)
	f.Fuzz(func(t *testing.T, script []byte) {
		cfg := Config{RingSize: 64, Directory: "/x"}.withDefaults()
		h := handshake{cfg: &cfg}
		defer func() { letGo(&h) }()
		for len(script) >= 10 && h.stage != complete {
			m, fd := kinds.message(t, script[:10])
			script = script[10:]
			before := h.stage
			err := h.step(m, &fd)
			if fd >= 0 {
				unix.Close(fd)
			}
			if h.stage < before {
				t.Fatalf("stage %d after %d", h.stage, before)
			}
			if err != nil {
				if err.Error() == "" || len(err.Error()) > 200 {
					t.Fatalf("a reason of %d bytes", len(err.Error()))
				}
				return
			}
		}
		checkHandshake(t, &h)
	})
}

func letGo(h *handshake) {
	for _, fd := range h.doorbells() {
		unix.Close(fd)
	}
	_ = h.unmap()
}

// checkHandshake: whatever was taken can be used as it is.
func checkHandshake(t *testing.T, h *handshake) {
	t.Helper()
	sum := uint64(0)
	for _, r := range h.regions {
		sum += uint64(len(r.Data()))
	}
	if sum != h.memory || sum > h.cfg.maxMemory() {
		t.Fatalf("%d bytes of memory, counted %d, at most %d", sum, h.memory, h.cfg.maxMemory())
	}
	for _, rings := range h.rings {
		if h.stage == complete && len(rings) != h.cfg.Rings || len(rings) > h.cfg.Rings {
			t.Fatalf("%d rings", len(rings))
		}
		for i := range rings {
			ring := &rings[i].ring
			ring.SetTail(ring.Tail()) // faults where it is not in the memory
			ring.SetDesc(ring.Size()-1, ring.Desc(0))
			if !isEventFD(rings[i].fd) {
				t.Fatal("a doorbell that is no eventfd")
			}
		}
	}
}

// kinds are the descriptors that a message can come with.
type kinds struct{ region, event, pipe int }

func newKinds(f *testing.F) kinds {
	f.Helper()
	region, err := shm.CreateRegion("fuzz", 1<<13)
	if err != nil {
		f.Fatal(err)
	}
	for _, at := range []uint32{0, 1 << 10} {
		ring, err := shm.OpenRing(region.Data(), at, 4)
		if err != nil {
			f.Fatal(err)
		}
		ring.Init()
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		f.Fatal(err)
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		region.Close()
		unix.Close(event)
		unix.Close(p[0])
		unix.Close(p[1])
	})
	return kinds{region.FD(), event, p[1]}
}

func (k kinds) message(t *testing.T, b []byte) (wire.Message, int) {
	t.Helper()
	fd := -1
	switch b[1] % 4 {
	case 1:
		fd = k.region
	case 2:
		fd = k.event
	case 3:
		fd = k.pipe
	}
	if fd >= 0 {
		var err error
		if fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
	}
	u16 := binary.LittleEndian.Uint16
	u32 := binary.LittleEndian.Uint32
	switch b[0] % 9 {
	case 0, 1:
		return wire.Ack{}, fd
	case 2:
		return wire.Init{Version: u16(b[2:]), ID: u32(b[4:]), Mode: b[8]}, fd
	case 3:
		return wire.AddRegion{Index: u16(b[2:]), Size: uint64(u32(b[4:])) | uint64(b[8])<<56}, fd
	case 4:
		return wire.AddRing{C2S: b[2]&1 == 1, Index: uint16(b[3]), Region: uint16(b[4]), Offset: u32(b[5:]) & 0xffffff, Log2: b[9]}, fd
	case 5:
		return wire.Connect{Interface: string(b[2:])}, fd
	case 6:
		return wire.Hello{}, fd
	case 7:
		return wire.Connected{}, fd
	}
	return wire.Disconnect{Reason: string(b[2:])}, fd
}

// FuzzDescriptors puts any words into the descriptors of both rings: no call
// touches what is outside of the region, and what Collect yields is at most
// what the rings say.
func FuzzDescriptors(f *testing.F) {
	seed := func(descs ...shm.Desc) {
		var b []byte
		for _, d := range descs {
			b = binary.LittleEndian.AppendUint64(b, uint64(d.Flags)|uint64(d.Region)<<16|uint64(d.Length)<<32)
			b = binary.LittleEndian.AppendUint64(b, uint64(d.Offset))
		}
		f.Add(b)
	}
	seed(shm.Desc{Length: 60, Offset: 1024})
	seed(shm.Desc{Length: 60, Offset: 1024, Flags: 1}, shm.Desc{Length: 700, Offset: 2048})
	seed(shm.Desc{Length: 0xffffffff, Offset: 0xffffffff})
	seed(shm.Desc{Region: 3, Length: 60})
	seed(shm.Desc{Flags: 1}, shm.Desc{Flags: 1}, shm.Desc{Flags: 1})
	f.Fuzz(func(t *testing.T, words []byte) {
		x := newLocal(t, 4)
		n := uint16(len(words) / 16)
		for i := range min(n, 16) {
			w := words[16*i:]
			d := shm.Desc{Flags: binary.LittleEndian.Uint16(w), Region: binary.LittleEndian.Uint16(w[2:]),
				Length: binary.LittleEndian.Uint32(w[4:]), Offset: binary.LittleEndian.Uint32(w[8:])}
			x.receiver.ring.SetDesc(i, d)
			x.sender.ring.SetDesc(i, d)
		}
		x.receiver.ring.SetHead(min(n, 16))
		x.sender.ring.SetHead(16)
		x.exercise(t)
	})
}

// FuzzHeads moves the heads as it likes, between calls.
func FuzzHeads(f *testing.F) {
	f.Add([]byte{1, 0, 16, 0, 17, 0, 255, 255})
	f.Add([]byte{16, 0, 16, 0, 32, 0, 32, 0, 0, 128})
	f.Fuzz(func(t *testing.T, heads []byte) {
		x := newLocal(t, 4)
		for i := range uint16(16) {
			d := shm.Desc{Length: 100, Offset: 1024 + 100*uint32(i)}
			x.receiver.ring.SetDesc(i, d)
			x.sender.ring.SetDesc(i, d)
		}
		for ; len(heads) >= 4; heads = heads[4:] {
			up, down := binary.LittleEndian.Uint16(heads), binary.LittleEndian.Uint16(heads[2:])
			x.receiver.ring.SetHead(up)
			x.sender.ring.SetHead(down)
			lied := up-x.receiver.next > 16
			x.exercise(t)
			if lied && !x.receiver.client.broken() {
				t.Fatalf("a head of %d with an index of %d stands", up, x.receiver.next)
			}
			if !x.receiver.client.broken() && x.receiver.next != up {
				t.Fatalf("index %d after a head of %d", x.receiver.next, up)
			}
		}
	})
}

// local is a lane over memory of our own, without a kernel in it.
type local struct {
	lane     *Lane
	receiver *receiver
	sender   *sender
	memory   []byte
	guard    []byte // behind the region, in the same allocation
}

func newLocal(t *testing.T, log2 uint8) *local {
	t.Helper()
	const size = 8192
	words := make([]uint64, size/8+128)
	all := bytesOf(words)
	x := &local{lane: newLane(1518), memory: all[:size:size], guard: all[size:]}
	ring := func(at uint32) shm.Ring {
		r, err := shm.OpenRing(x.memory, at, log2)
		if err != nil {
			t.Fatal(err)
		}
		r.Init()
		return r
	}
	// The client is looked at by nobody: it only says whether it was caught.
	client := &session{server: &Server{bell: -1}, queue: &Queue{}}
	regions := shm.Regions{x.memory}
	x.receiver = newReceiver(client, x.lane, ring(0), -1, regions)
	x.sender = newSender(client, x.lane, ring(512), -1, regions)
	x.lane.in.open(x.receiver)
	x.lane.out.open(x.sender, 1)
	return x
}

// exercise does what a worker does.
func (x *local) exercise(t *testing.T) {
	t.Helper()
	f := buffers(20, 1600)
	for i := range f {
		f[i].Data = f[i].Data[:1518]
	}
	in := []frame.Frame{{Data: numbered(1, 60)}, {Data: numbered(2, 1500)}, {Data: numbered(3, 300)}}
	if n, why := x.lane.Deliver(in); n > len(in) || n == len(in) != (why == frame.Accepted) {
		t.Fatalf("Deliver = %d, %d", n, why)
	}
	n := x.lane.Collect(f, 1<<20)
	for i := range f {
		if size := len(f[i].Data); size < 14 || size > 1518 || i >= n && size != 1518 {
			t.Fatalf("of %d frames, frame %d has %d bytes", n, i, size)
		}
		for _, b := range f[i].Data[:1600][1518:] {
			if b != 0 {
				t.Fatal("Collect wrote behind the buffer")
			}
		}
	}
	for _, b := range x.guard {
		if b != 0 {
			t.Fatal("something was written behind the region")
		}
	}
	if x.lane.in.inside != 0 || x.lane.out.inside&within != 0 {
		t.Fatal("the worker has not left")
	}
}
