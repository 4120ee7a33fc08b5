package shm

import (
	"encoding/binary"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func open(t testing.TB, mem []byte, offset uint32, log2 uint8) Ring {
	t.Helper()
	r, err := OpenRing(mem, offset, log2)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// memory is n bytes of the heap, which aligns them; on a stack they need not be.
//
//go:noinline
func memory(n uint64) []byte { return make([]byte, n) }

func TestOpenRingStaysInItsRegion(t *testing.T) {
	for _, c := range []struct {
		name   string
		size   int
		offset uint32
		log2   uint8
		why    string // "" where it opens
	}{
		{"smallest, whole region", 160, 0, 1, ""},
		{"smallest, at the end", 320, 160, 1, ""},
		{"largest", 128 + 16<<14, 0, 14, ""},
		{"no slots", 1 << 20, 0, 0, "2^0 slots"},
		{"one logarithm too much", 1 << 20, 0, 15, "2^15 slots"},
		{"a shift beyond the word", 1 << 20, 0, 255, "2^255 slots"},
		{"off by eight", 1 << 20, 8, 10, "no multiple of 16"},
		{"off by one", 1 << 20, 1, 10, "no multiple of 16"},
		{"one byte short", 159, 0, 1, "has 159 bytes"},
		{"header only", 128, 0, 1, "has 128 bytes"},
		{"starts at the end", 160, 160, 1, "ends at 320"},
		{"starts beyond", 160, 0xFFFFFFF0, 1, "has 160 bytes"}, // wraps in 32 bits
		{"no memory", 0, 0, 1, "has 0 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := OpenRing(memory(uint64(c.size)), c.offset, c.log2)
			switch {
			case c.why == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)):
				t.Errorf("error %v, want one about %q", err, c.why)
			}
		})
	}
}

func TestOpenRingRefusesCrookedMemory(t *testing.T) {
	mem := memory(4096)
	if _, err := OpenRing(mem[1:], 0, 1); err == nil {
		t.Error("a region at an odd address was taken")
	}
}

// TestWireLayout holds the ring against the offsets of the protocol.
func TestWireLayout(t *testing.T) {
	mem := memory(4096)
	r := open(t, mem, 32, 2)
	r.Init()
	r.SetHead(0xABCD)
	r.SetTail(0x1234)
	r.SetMasked(true)
	r.SetDesc(5, Desc{Flags: FlagNext, Region: 2, Length: 0x03040506, Offset: 0x0708090A})
	ring := mem[32:]
	le := binary.LittleEndian
	for _, c := range []struct {
		name      string
		got, want uint64
	}{
		{"cookie", uint64(le.Uint32(ring[0:])), 0x03E31F20},
		{"flags", uint64(le.Uint16(ring[4:])), 1},
		{"head", uint64(le.Uint16(ring[6:])), 0xABCD},
		{"tail", uint64(le.Uint16(ring[64:])), 0x1234},
		{"descriptor flags", uint64(le.Uint16(ring[144:])), 1},
		{"descriptor region", uint64(le.Uint16(ring[146:])), 2},
		{"descriptor length", uint64(le.Uint32(ring[148:])), 0x03040506},
		{"descriptor offset", uint64(le.Uint32(ring[152:])), 0x0708090A},
		{"descriptor metadata", uint64(le.Uint32(ring[156:])), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s is %#x, want %#x", c.name, c.got, c.want)
		}
	}
	if RingBytes(10) != 16512 {
		t.Errorf("a ring of 1024 slots takes %d bytes", RingBytes(10))
	}
}

// TestWordsAreSeparate: head and flags share a word, and neither changes the
// other.
func TestWordsAreSeparate(t *testing.T) {
	r := open(t, memory(4096), 0, 3)
	r.Init()
	if r.Cookie() != Cookie || r.Size() != 8 {
		t.Fatalf("cookie %#x, size %d", r.Cookie(), r.Size())
	}
	r.SetHead(0xFFFF)
	r.SetMasked(true)
	if !r.Masked() || r.Head() != 0xFFFF {
		t.Errorf("masked %v, head %#x", r.Masked(), r.Head())
	}
	r.SetHead(0)
	if !r.Masked() || r.Head() != 0 {
		t.Errorf("after SetHead: masked %v, head %#x", r.Masked(), r.Head())
	}
	r.SetHead(7)
	r.SetMasked(false)
	if r.Masked() || r.Head() != 7 || r.Tail() != 0 {
		t.Errorf("after SetMasked: masked %v, head %d, tail %d", r.Masked(), r.Head(), r.Tail())
	}
}

func TestSpan(t *testing.T) {
	r := open(t, memory(4096), 0, 3)
	for _, c := range []struct {
		from, to, n uint16
		ok          bool
	}{
		{0, 0, 0, true},
		{0, 8, 8, true},
		{0, 9, 9, false},
		{0xFFFE, 2, 4, true},
		{0xFFFC, 4, 8, true},
		{0xFFFC, 5, 9, false},
		{5, 4, 0xFFFF, false},
	} {
		if n, ok := r.Span(c.from, c.to); n != c.n || ok != c.ok {
			t.Errorf("Span(%#x, %#x) = %d, %v", c.from, c.to, n, ok)
		}
	}
}

// TestOverlappingRings: a peer may lay its rings over each other. What is read
// is nonsense then, and within the region.
func TestOverlappingRings(t *testing.T) {
	mem := memory(4096)
	a, b := open(t, mem, 0, 3), open(t, mem, 16, 3)
	a.Init()
	b.Init()
	for i := range uint16(64) {
		a.SetDesc(i, Desc{Flags: 0xFFFF, Region: 0xFFFF, Length: 0xFFFFFFFF, Offset: 0xFFFFFFFF})
		a.SetHead(i)
		if d := b.Desc(i); d.Flags != 0 && d.Flags != 0xFFFF && d.Flags != uint16(Cookie&0xFFFF) {
			t.Fatalf("descriptor %d reads %+v", i, d)
		}
		if _, ok := (Regions{mem}).At(b.Desc(i)); ok && b.Desc(i).Length > 4096 {
			t.Fatalf("descriptor %+v was found in a region of 4096 bytes", b.Desc(i))
		}
	}
	for i := 128 + 16*8 + 16; i < len(mem); i++ {
		if mem[i] != 0 {
			t.Fatalf("byte %d beyond both rings is %#x", i, mem[i])
		}
	}
}

// TestConcurrentSides runs a sender and a receiver on one ring across several
// wraps of the 16-bit indices, with the receiver's flag going on and off beside
// the sender's head. Under the race detector it also shows that the indices
// order what lies in the buffers and descriptors.
func TestConcurrentSides(t *testing.T) {
	for log2, frames := range map[uint8]uint64{1: 1<<16 + 99, 5: 3 << 16, 14: 3 << 16} {
		l := Layout{Rings: 1, Log2: log2, BufferSize: 8}
		mem := memory(l.Size())
		r := open(t, mem, l.Ring(C2S, 0), log2)
		r.Init()
		regions := Regions{mem}
		var side sync.WaitGroup
		side.Go(func() { produce(r, l, regions, frames) })
		side.Go(func() { consume(t, r, regions, frames) })
		side.Wait()
	}
}

func produce(r Ring, l Layout, regions Regions, frames uint64) {
	head := uint16(0)
	for sent := uint64(0); sent < frames; {
		used, _ := r.Span(r.Tail(), head)
		for ; used < r.Size() && sent < frames; used++ {
			d := Desc{Length: 8, Offset: l.Buffer(C2S, 0, head)}
			b, _ := regions.At(d)
			binary.LittleEndian.PutUint64(b, sent)
			r.SetDesc(head, d)
			head++
			sent++
		}
		r.SetHead(head)
		runtime.Gosched()
	}
}

func consume(t *testing.T, r Ring, regions Regions, frames uint64) {
	tail := uint16(0)
	for got := uint64(0); got < frames; {
		r.SetMasked(got&1 == 0)
		n, ok := r.Span(tail, r.Head())
		if !ok {
			t.Errorf("the head is %d slots before the tail", n)
			return
		}
		for range n {
			b, ok := regions.At(r.Desc(tail))
			if v := binary.LittleEndian.Uint64(b); !ok || v != got {
				t.Errorf("frame %d arrived as %d", got, v)
				return
			}
			tail++
			got++
		}
		r.SetTail(tail)
		runtime.Gosched()
	}
}

// TestMaskAndHeadTogether: two writers of one word, and neither loses a step.
func TestMaskAndHeadTogether(t *testing.T) {
	r := open(t, memory(4096), 0, 3)
	r.Init()
	var side sync.WaitGroup
	side.Go(func() {
		for i := range 100_000 {
			r.SetHead(uint16(i))
			if got := r.Head(); got != uint16(i) {
				t.Errorf("the head is %d after SetHead(%d)", got, uint16(i))
				return
			}
		}
	})
	side.Go(func() {
		for i := range 100_000 {
			r.SetMasked(i%2 == 0)
			if r.Masked() != (i%2 == 0) {
				t.Errorf("the mask is %v after SetMasked(%v)", r.Masked(), i%2 == 0)
				return
			}
		}
	})
	side.Wait()
}

func FuzzDescriptorWords(f *testing.F) {
	f.Add(uint64(0), uint64(0), uint16(0))
	f.Add(^uint64(0), ^uint64(0), ^uint16(0))
	f.Add(uint64(2048)<<32, uint64(4096-2048), uint16(7))
	f.Add(uint64(1)<<32|1<<16, uint64(64), uint16(9))
	f.Fuzz(func(t *testing.T, w0, w1 uint64, i uint16) {
		mem := memory(4096)
		r := open(t, mem, 0, 4)
		slot := mem[128+16*int(i&15):]
		binary.LittleEndian.PutUint64(slot, w0)
		binary.LittleEndian.PutUint64(slot[8:], w1)
		d := r.Desc(i)
		b, ok := Regions{mem, mem[:65]}.At(d)
		if ok && (len(b) != int(d.Length) || cap(b) != len(b)) {
			t.Fatalf("%+v yields %d bytes of capacity %d", d, len(b), cap(b))
		}
		size := uint64([]int{4096, 65}[min(d.Region, 1)])
		if want := d.Region < 2 && uint64(d.Offset)+uint64(d.Length) <= size; ok != want {
			t.Fatalf("%+v in regions of 4096 and 65 bytes: %v", d, ok)
		}
		if p0, p1 := d.pack(); p0 != w0 || p1 != w1&0xFFFFFFFF {
			t.Fatalf("%#x %#x became %#x %#x", w0, w1, p0, p1)
		}
	})
}

func BenchmarkRing(b *testing.B) {
	l := Layout{Rings: 1, Log2: 10, BufferSize: 2048}
	mem := memory(l.Size())
	r := open(b, mem, 0, 10)
	r.Init()
	regions := Regions{mem}
	head, tail, sum := uint16(0), uint16(0), 0
	b.ReportAllocs()
	for range b.N / 64 {
		for range 64 {
			r.SetDesc(head, Desc{Length: 64, Offset: l.Buffer(C2S, 0, head)})
			head++
		}
		r.SetHead(head)
		n, _ := r.Span(tail, r.Head())
		for range n {
			piece, _ := regions.At(r.Desc(tail))
			sum += len(piece)
			tail++
		}
		r.SetTail(tail)
	}
	if sum != b.N/64*64*64 {
		b.Fatal(sum)
	}
}
