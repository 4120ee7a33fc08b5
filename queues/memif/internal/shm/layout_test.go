package shm

import (
	"strings"
	"testing"
)

// TestLayoutIsDPDKs: the figures that DPDK's client shows with its defaults.
func TestLayoutIsDPDKs(t *testing.T) {
	l := Layout{Rings: 1, Log2: 10, BufferSize: 2048}
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	if l.Size() != 4227328 || l.Ring(S2C, 0) != 16512 || l.Buffer(C2S, 0, 0) != 33024 {
		t.Errorf("size %d, second ring at %d, first buffer at %d", l.Size(), l.Ring(S2C, 0), l.Buffer(C2S, 0, 0))
	}
}

func of(rings int, log2 uint8, buffer int) Layout {
	return Layout{Rings: rings, Log2: log2, BufferSize: buffer}
}

// TestLayoutHasNoOverlaps marks every byte that something owns.
func TestLayoutHasNoOverlaps(t *testing.T) {
	for _, l := range []Layout{of(1, 1, 1), of(3, 1, 100), of(2, 3, 256), of(4, 2, 65535), of(256, 1, 7), of(2, 3, 256).Spread(63), of(3, 2, 2048).Spread(1), of(1, 4, 9216).Spread(0)} {
		if err := l.Check(); err != nil {
			t.Fatal(err)
		}
		owned := make([]bool, l.Size())
		own := func(what string, start uint32, n uint64) {
			for i := uint64(start); i < uint64(start)+n; i++ {
				if owned[i] {
					t.Fatalf("%+v: %s at %d shares byte %d", l, what, start, i)
				}
				owned[i] = true
			}
		}
		for _, d := range []Direction{C2S, S2C} {
			for i := range l.Rings {
				if _, err := OpenRing(memory(l.Size()), l.Ring(d, i), l.Log2); err != nil {
					t.Fatalf("%+v: ring %d %d: %v", l, d, i, err)
				}
				own("a ring", l.Ring(d, i), RingBytes(l.Log2))
				for s := range uint16(1) << l.Log2 {
					own("a buffer", l.Buffer(d, i, s), uint64(l.BufferSize))
				}
			}
		}
	}
}

func TestBufferTakesAnyIndex(t *testing.T) {
	l := Layout{Rings: 2, Log2: 3, BufferSize: 100}
	if a, b := l.Buffer(S2C, 1, 5), l.Buffer(S2C, 1, 5+3*8); a != b {
		t.Errorf("slot 5 is at %d, slot 29 of 8 at %d", a, b)
	}
}

func TestLayoutCheck(t *testing.T) {
	for _, c := range []struct {
		l   Layout
		why string
	}{
		{of(1, 10, 2048), ""},
		{of(1, 14, 65535), ""}, // 2 GiB
		{of(0, 10, 2048), "0 rings"},
		{of(-1, 10, 2048), "-1 rings"},
		{of(257, 10, 2048), "257 rings"},
		{of(1, 0, 2048), "2^0"},
		{of(1, 15, 2048), "2^15"},
		{of(1, 10, 0), "0 bytes"},
		{of(1, 10, 65536), "65536 bytes"},
		{of(3, 14, 65535), "at most 4096"},
		{of(256, 14, 2048), "at most 4096"},
	} {
		err := c.l.Check()
		switch {
		case c.why == "" && err != nil:
			t.Errorf("%+v refused: %v", c.l, err)
		case c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)):
			t.Errorf("%+v: error %v, want one about %q", c.l, err, c.why)
		}
	}
}
