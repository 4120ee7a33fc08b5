package shm

import "sync/atomic"

// FlagNext of a descriptor says that its frame goes on in the next one.
const FlagNext = 1

// Desc is a descriptor: a piece of a region.
type Desc struct {
	Flags  uint16
	Region uint16 // index of the region
	Length uint32 // bytes of the frame in it; of a buffer lent to the server: its capacity
	Offset uint32 // in the region
}

// Desc reads the descriptor of index i, every word once.
func (r *Ring) Desc(i uint16) Desc {
	at := r.desc(i)
	return unpack(atomic.LoadUint64(&at[0]), atomic.LoadUint64(&at[1]))
}

// SetDesc writes the descriptor of index i. The peer may see it from now on; it
// is sure to once the index behind it is published.
func (r *Ring) SetDesc(i uint16, d Desc) {
	at := r.desc(i)
	at[0], at[1] = d.pack()
}

func unpack(w0, w1 uint64) Desc {
	return Desc{Flags: uint16(w0), Region: uint16(w0 >> 16), Length: uint32(w0 >> 32), Offset: uint32(w1)}
}

// pack leaves the word of metadata zero: nobody uses it.
func (d Desc) pack() (w0, w1 uint64) {
	return uint64(d.Flags) | uint64(d.Region)<<16 | uint64(d.Length)<<32, uint64(d.Offset)
}

// Regions are the regions of a connection, in the order of their indices.
type Regions [][]byte

// At is the piece that d means, and whether there is such a piece. Its capacity
// ends with it. The peer can change the bytes at any time.
func (r Regions) At(d Desc) ([]byte, bool) {
	if int(d.Region) >= len(r) {
		return nil, false
	}
	mem := r[d.Region]
	start, end := uint64(d.Offset), uint64(d.Offset)+uint64(d.Length)
	if end > uint64(len(mem)) {
		return nil, false
	}
	return mem[start:end:end], true
}
