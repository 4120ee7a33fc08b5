package inproc

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

func same(m *frame.Meta) frame.Meta { return *m }

// used is how many cells have ever held a frame.
func (r *ring) used() (n int) {
	for at := 0; at < len(r.cells); at += r.stride() {
		if binary.LittleEndian.Uint64(r.cells[at:]) != 0 {
			n++
		}
	}
	return n
}

// TestMemoryFollowsUse: a ring touches as many cells as frames wait in it, however
// many go through it.
func TestMemoryFollowsUse(t *testing.T) {
	for _, most := range []int{1, 3, 16, 64} {
		r := newRing(64, 100)
		for i := range 5000 {
			n := 1 + i%most
			for range n {
				if got, _ := r.push([]frame.Frame{{Data: []byte{1, 2, 3}}}, same); got != 1 {
					t.Fatal("full")
				}
			}
			r.discard(r.filled(n))
		}
		if got := r.used(); got > most {
			t.Errorf("%d frames at a time used %d cells", most, got)
		}
	}
}

// TestRingLikeAQueue pushes and takes at random beside a slice.
func TestRingLikeAQueue(t *testing.T) {
	for _, slots := range []int{1, 2, 4, 32} {
		r, rnd := newRing(slots, 80), rand.New(rand.NewPCG(1, uint64(slots)))
		var model []frame.Frame
		for step := range 50_000 {
			if rnd.IntN(2) == 0 {
				f := make([]frame.Frame, 1+rnd.IntN(5))
				for i := range f {
					f[i] = anyFrame(rnd)
				}
				n, _ := r.push(f, same)
				if want := min(len(f), slots-len(model)); n != want {
					t.Fatalf("%d slots, step %d: took %d of %d, want %d", slots, step, n, len(f), want)
				}
				model = append(model, f[:n]...)
				continue
			}
			n := min(r.filled(5), 5)
			if n < min(5, len(model)) {
				t.Fatalf("%d slots, step %d: shows %d of %d", slots, step, n, len(model))
			}
			for i := range n {
				got := r.peek(i)
				if !bytes.Equal(got.Data, model[i].Data) || !reflect.DeepEqual(got.Meta, model[i].Meta) {
					t.Fatalf("%d slots, step %d: %+v, want %+v", slots, step, got, model[i])
				}
			}
			r.discard(n)
			model = model[n:]
		}
	}
}

// anyFrame has a value in every field of its Meta.
func anyFrame(rnd *rand.Rand) frame.Frame {
	f := frame.Frame{Data: make([]byte, rnd.IntN(81))}
	for i := range f.Data {
		f.Data[i] = byte(rnd.Uint32())
	}
	v := reflect.ValueOf(&f.Meta).Elem()
	for i := range v.NumField() {
		v.Field(i).SetUint(rnd.Uint64() >> (64 - v.Field(i).Type().Bits()))
	}
	return f
}
