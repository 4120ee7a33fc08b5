package tap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
)

// mustOpenRing makes a ring that lives until the end of the test.
func mustOpenRing(t testing.TB) *Ring {
	t.Helper()
	r, err := OpenRing()
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		nstest.Missing(t, "io_uring: "+err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// ringKernel is the kernel's side of a ring in memory of a test.
type ringKernel struct {
	t       *testing.T
	r       *Ring
	head    uint32 // how far it has looked at entries
	submits int    // how many it takes in one call; 0: all
	errs    []unix.Errno
	answer  func(s *ringSlot) int32
	late    bool // it answers the last one first
	taken   int
}

func newRingKernel(t *testing.T, answer func(*ringSlot) int32) *ringKernel {
	k := &ringKernel{t: t, answer: answer, r: &Ring{queue: ringMemory{
		sqTail: new(uint32), cqHead: new(uint32), cqTail: new(uint32),
		entries: make([]ringEntry, ringSlots), results: make([]ringResult, 2*ringSlots),
	}}}
	k.r.enter = k.enter
	k.startAt(1<<32 - 100) // the indices go round
	return k
}

func (k *ringKernel) startAt(i uint32) {
	m := &k.r.queue
	k.head, m.tail, m.head, *m.sqTail, *m.cqTail, *m.cqHead = i, i, i, i, i, i
}

func (k *ringKernel) enter(submit, wait uint32) (int, unix.Errno) {
	m := &k.r.queue
	if len(k.errs) > 0 {
		e := k.errs[0]
		if k.errs = k.errs[1:]; e != 0 {
			return 0, e
		}
	}
	if have := *m.sqTail - k.head; have != submit {
		k.t.Fatalf("%d entries are asked for, %d are there", submit, have)
	}
	n := int(submit)
	if k.submits > 0 {
		n = min(n, k.submits)
	}
	var done []ringResult
	for range n {
		e := &m.entries[k.head%ringSlots]
		k.head++
		if e.opcode != ringOpWritev || e.rwFlags != unix.RWF_NOWAIT || e.len != 1+uint32(k.r.slots[e.slot].n) {
			k.t.Fatalf("entry %+v", *e)
		}
		done = append(done, ringResult{slot: e.slot, result: k.answer(&k.r.slots[e.slot])})
	}
	if k.late {
		slices.Reverse(done)
	}
	for _, c := range done {
		m.results[*m.cqTail%uint32(len(m.results))] = c
		*m.cqTail++
	}
	k.taken += n
	return n, 0
}

// numbered are n frames with their number in them.
func numbered(n int) []frame.Frame {
	f := make([]frame.Frame, n)
	for i := range f {
		f[i].Data = make([]byte, 60)
		f[i].Data[12], f[i].Data[13] = 0x88, 0xb5
		binary.BigEndian.PutUint32(f[i].Data[20:], uint32(i))
	}
	return f
}

func numberIn(f *frame.Frame) int { return int(binary.BigEndian.Uint32(f.Data[20:])) }

func numbers(f []frame.Frame) (n []int) {
	for i := range f {
		n = append(n, numberIn(&f[i]))
	}
	return n
}

// laneOn is a lane that nothing is behind but the ring.
func laneOn(r *Ring) *Lane {
	l := newLane(-1, DefaultMTU, 0)
	l.ring = r
	return l
}

// deliverTo is DeliverAll for one lane.
func deliverTo(l *Lane, f []frame.Frame) (int, frame.Refusal) {
	d := []frame.Delivery{{Lane: l, Frames: f}}
	l.DeliverAll(d)
	return d[0].Taken, d[0].Why
}

// TestRingRefuses is what is said of frames that the kernel does not take: those
// that it took come first, in order, and then the others.
func TestRingRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		refused map[int]unix.Errno
		taken   int
		why     frame.Refusal
		order   []int
	}{
		{"nothing", nil, 6, frame.Accepted, []int{0, 1, 2, 3, 4, 5}},
		{"one for its own sake", map[int]unix.Errno{1: unix.EINVAL}, 5, frame.TooBig, []int{0, 2, 3, 4, 5, 1}},
		{"two of them", map[int]unix.Errno{0: unix.EINVAL, 3: unix.EFAULT}, 4, frame.TooBig, []int{1, 2, 4, 5, 0, 3}},
		{"the last", map[int]unix.Errno{5: unix.EINVAL}, 5, frame.TooBig, []int{0, 1, 2, 3, 4, 5}},
		{"no memory", map[int]unix.Errno{2: unix.ENOMEM, 3: unix.ENOMEM}, 4, frame.Full, []int{0, 1, 4, 5, 2, 3}},
		{"one for its own sake, and no memory", map[int]unix.Errno{1: unix.EINVAL, 3: unix.ENOMEM}, 4, frame.Full, []int{0, 2, 4, 5, 1, 3}},
		{"gone in the middle", map[int]unix.Errno{4: unix.EIO, 5: unix.EIO}, 4, frame.Gone, []int{0, 1, 2, 3, 4, 5}},
		{"all", map[int]unix.Errno{0: unix.EBADFD, 1: unix.EBADFD, 2: unix.EBADFD, 3: unix.EBADFD, 4: unix.EBADFD, 5: unix.EBADFD}, 0, frame.Gone, []int{0, 1, 2, 3, 4, 5}},
	} {
		for _, late := range []bool{false, true} {
			k := newRingKernel(t, func(s *ringSlot) int32 {
				if errno, no := c.refused[s.at]; no && s.delivery == 1 {
					return -int32(errno)
				}
				return 70
			})
			k.late = late
			d := make([]frame.Delivery, 5)
			for i := range d {
				d[i] = frame.Delivery{Lane: laneOn(k.r), Frames: numbered(6), Taken: 99, Why: frame.Gone}
			}
			laneOn(k.r).DeliverAll(d)
			for i := range d {
				taken, why, order := 6, frame.Accepted, []int{0, 1, 2, 3, 4, 5}
				if i == 1 {
					taken, why, order = c.taken, c.why, c.order
				}
				if d[i].Taken != taken || d[i].Why != why || !slices.Equal(numbers(d[i].Frames), order) {
					t.Errorf("%s: lane %d: %d taken, %v, in the order %v", c.name, i, d[i].Taken, d[i].Why, numbers(d[i].Frames))
				}
			}
		}
	}
}

// TestRingTooBig is a frame that its lane cannot have: those behind it are not
// delivered, as by Deliver.
func TestRingTooBig(t *testing.T) {
	k := newRingKernel(t, func(*ringSlot) int32 { return 70 })
	f := numbered(8)
	f[5].Data = make([]byte, 1515)
	if n, why := deliverTo(laneOn(k.r), f); n != 5 || why != frame.TooBig || k.taken != 5 {
		t.Errorf("%d taken, %v; the kernel got %d", n, why, k.taken)
	}
}

// TestRingPieces is super-frames in pieces among others, of which one is refused.
func TestRingPieces(t *testing.T) {
	f := numbered(9)
	for i := range f {
		f[i].Flags = frame.NeedsChecksum
		f[i].GSOSize, f[i].HdrLen, f[i].CsumStart, f[i].CsumOffset = 40, 20, 14, 4
	}
	for _, i := range []int{0, 1, 5} {
		f[i].GSO = frame.GSOTCPv4
	}
	for _, i := range []int{2, 3, 6, 7} {
		f[i].GSO = frame.GSOPiece
	}
	f[4].Meta, f[8].Meta = frame.Meta{}, frame.Meta{}
	var sizes []int
	k := newRingKernel(t, func(s *ringSlot) int32 {
		if sizes = append(sizes, s.n); s.at == 1 {
			return -int32(unix.EINVAL)
		}
		return 70
	})
	l := newLane(-1, DefaultMTU, frame.OffloadTCPv4|frame.OffloadGather|frame.OffloadChecksum)
	l.ring = k.r
	n, why := deliverTo(l, f)
	if n != 6 || why != frame.TooBig || !slices.Equal(numbers(f), []int{0, 4, 5, 6, 7, 8, 1, 2, 3}) {
		t.Errorf("%d taken, %v, in the order %v", n, why, numbers(f))
	}
	if !slices.Equal(sizes, []int{1, 3, 1, 3, 1}) {
		t.Errorf("the kernel got frames of %v pieces", sizes)
	}
}

// TestRingSubmits is a kernel that takes the entries in part, is interrupted, has no
// memory for more, or does not let the process: what it does not take is written.
func TestRingSubmits(t *testing.T) {
	sink, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	for _, c := range []struct {
		name    string
		submits int
		errs    []unix.Errno
		taken   int // by the ring
		unfit   bool
	}{
		{"three at once", 3, nil, 150, false},
		{"interrupted", 0, []unix.Errno{unix.EINTR, 0, unix.EINTR, unix.EINTR}, 150, false},
		{"no memory", 0, []unix.Errno{unix.EAGAIN}, 86, false},
		{"no memory after ten", 10, []unix.Errno{0, unix.ENOMEM}, 96, false},
		{"none at all", 0, []unix.Errno{unix.EBUSY, unix.EBUSY, unix.EBUSY}, 0, false},
		{"not allowed", 0, []unix.Errno{unix.EPERM, unix.EPERM, unix.EPERM}, 0, true},
	} {
		k := newRingKernel(t, func(*ringSlot) int32 { return 70 })
		k.submits, k.errs = c.submits, c.errs
		l := newLane(int(sink.Fd()), DefaultMTU, 0)
		l.ring = k.r
		f := numbered(150) // more than there are slots
		n, why := deliverTo(l, f)
		if n != 150 || why != frame.Accepted || k.taken != c.taken || !slices.IsSorted(numbers(f)) {
			t.Errorf("%s: %d taken, %v; the kernel got %d by the ring", c.name, n, why, k.taken)
		}
		if k.r.unfit.Load() != c.unfit {
			t.Errorf("%s: the ring is not used again: %v", c.name, !c.unfit)
		}
		if n, why := deliverTo(l, numbered(64)); n != 64 || why != frame.Accepted {
			t.Errorf("%s: afterwards %d of 64 are taken, %v", c.name, n, why)
		}
	}
}

// TestRingModel is random deliveries with random answers: of each lane what the
// kernel took comes first, in order, and the rest behind, in order.
func TestRingModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 11))
	for range 2000 {
		refused := map[[2]int]bool{}
		k := newRingKernel(t, func(s *ringSlot) int32 {
			if rnd.IntN(5) == 0 {
				refused[[2]int{s.delivery, s.at}] = true
				return -int32(unix.EINVAL)
			}
			return 70
		})
		k.late, k.submits = rnd.IntN(2) == 0, rnd.IntN(8)
		d := make([]frame.Delivery, ringLeast+rnd.IntN(60))
		for i := range d {
			d[i] = frame.Delivery{Lane: laneOn(k.r), Frames: numbered(rnd.IntN(6))}
		}
		laneOn(k.r).DeliverAll(d)
		for i := range d {
			var took, left []int
			for n := range d[i].Frames {
				if refused[[2]int{i, n}] {
					left = append(left, n)
				} else {
					took = append(took, n)
				}
			}
			if d[i].Taken != len(took) || !slices.Equal(numbers(d[i].Frames), append(took, left...)) || (d[i].Why == frame.Accepted) != (left == nil) {
				t.Fatalf("%d taken, %v, %v; refused were %v", d[i].Taken, d[i].Why, numbers(d[i].Frames), left)
			}
		}
	}
}

// TestRingUnfit is a kernel that does not write to a TAP by a ring without waiting:
// the frames get there all the same, and the ring is not used again.
func TestRingUnfit(t *testing.T) {
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	defer in.Close()
	k := newRingKernel(t, func(*ringSlot) int32 { return noNowait })
	l := newLane(int(in.Fd()), DefaultMTU, 0)
	l.ring = k.r
	for range 2 {
		if n, why := deliverTo(l, numbered(8)); n != 8 || why != frame.Accepted {
			t.Fatalf("%d taken, %v", n, why)
		}
	}
	if k.taken != 8 {
		t.Errorf("the kernel was asked %d times", k.taken)
	}
	got := make([]byte, 16*(hdrLen+60))
	if _, err := out.Read(got); err != nil {
		t.Fatal(err)
	}
	for i := range 16 {
		at := got[i*(hdrLen+60)+hdrLen:]
		if n := int(binary.BigEndian.Uint32(at[20:])); n != i%8 {
			t.Errorf("frame %d bears %d", i, n)
		}
	}
}

// TestRingClosed is a lane whose ring was closed: it writes frame by frame.
func TestRingClosed(t *testing.T) {
	r := mustOpenRing(t) // which closes it once more
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	l := laneOn(r)
	if n, why := deliverTo(l, numbered(8)); n != 0 || why != frame.Gone { // of descriptor -1
		t.Errorf("%d taken, %v", n, why)
	}
}

// TestRingNone is a process that cannot have one.
func TestRingNone(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	r, err := OpenRing()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, ErrNoRing) || r != nil {
		t.Errorf("OpenRing: %v, %v", r, err)
	}
}

// TestRingDelivers is frames for many TAPs at once, of which one is down, one was
// deleted, and one has a smaller MTU.
func TestRingDelivers(t *testing.T) {
	nstest.RequireRoot(t)
	ns := nstest.New(t)
	silence(t, ns)
	const taps, down, deleted, small = 8, 2, 4, 5
	ring := mustOpenRing(t)
	d, peers := make([]frame.Delivery, taps), make([]*peer, taps)
	for i := range d {
		cfg := testConfig(ns)
		cfg.Name, cfg.Owner, cfg.Rings = "t"+strconv.Itoa(i), "xdpdemux:test:"+strconv.Itoa(i), []*Ring{ring}
		if i == small {
			cfg.MTU = 100
		}
		q := mustOpen(t, cfg)
		peers[i] = newPeer(t, ns, cfg.Name)
		defer peers[i].Close()
		d[i].Lane = q.lanes[0]
	}
	if err := peers[down].Leave(); err != nil {
		t.Fatal(err)
	}
	h, err := ns.Handle()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.LinkDel(linkOf(t, ns, "t"+strconv.Itoa(deleted))); err != nil {
		t.Fatal(err)
	}
	for round := range 20 {
		for i := range d {
			d[i].Frames = numbered(5)
			d[i].Frames[3].Data = append(d[i].Frames[3].Data, make([]byte, 200+round)...)
		}
		d[0].Lane.(*Lane).DeliverAll(d)
		for i := range d {
			taken, why := 5, frame.Accepted
			switch i {
			case down, deleted:
				taken, why = 0, frame.Gone
			case small:
				taken, why = 3, frame.TooBig
			}
			if d[i].Taken != taken || d[i].Why != why {
				t.Fatalf("TAP %d: %d taken, %v; want %d, %v", i, d[i].Taken, d[i].Why, taken, why)
			}
			for n := range taken {
				f := frame.Frame{Data: make([]byte, 2048)}
				if err := peers[i].Recv(&f); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(f.Data, d[i].Frames[n].Data) {
					t.Fatalf("TAP %d got another frame than %d", i, n)
				}
			}
		}
	}
	if ring.unfit.Load() {
		t.Error("the kernel does not write to TAPs by a ring")
	}
}

// TestRingShared has two goroutines use one ring.
func TestRingShared(t *testing.T) {
	nstest.RequireRoot(t)
	ns := nstest.New(t)
	silence(t, ns)
	ring := mustOpenRing(t)
	lanes := make([]*Lane, 8)
	for i := range lanes {
		cfg := testConfig(ns)
		cfg.Name, cfg.Owner, cfg.Rings = "t"+strconv.Itoa(i), "xdpdemux:test:"+strconv.Itoa(i), []*Ring{ring}
		lanes[i] = mustOpen(t, cfg).lanes[0]
	}
	var all sync.WaitGroup
	for _, half := range [][]*Lane{lanes[:4], lanes[4:]} {
		all.Go(func() {
			d := make([]frame.Delivery, len(half))
			for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
				for i, l := range half {
					d[i] = frame.Delivery{Lane: l, Frames: numbered(3)}
				}
				half[0].DeliverAll(d)
				for i := range d {
					if d[i].Taken != 3 || d[i].Why != frame.Accepted {
						t.Errorf("%d of 3 taken, %v", d[i].Taken, d[i].Why)
						return
					}
				}
			}
		})
	}
	all.Wait()
	for i := range lanes {
		if s := linkOf(t, ns, "t"+strconv.Itoa(i)).Attrs().Statistics; s.RxPackets == 0 || s.RxPackets%3 != 0 {
			t.Errorf("TAP %d received %d frames", i, s.RxPackets)
		}
	}
}
