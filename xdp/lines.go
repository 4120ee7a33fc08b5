package xdp

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The layout of a word and of a line, as in steer.bpf.c.
const (
	lineWords      = 8
	lineNeighbours = 1
	lineMix        = 0x9e3779b97f4a7c15
	wordVLAN       = 48
	wordIP4        = 1 << 60
	wordOwner      = 61
	wordKey        = 1<<wordOwner - 1
)

// lines is the program's first table, of MAC and IPv4 addresses that stand alone:
// eight of them to a cache line, which the address chooses. The program reads it
// at any time, so words change one by one, and none ever moves.
type lines struct {
	memory []byte // the map's, shared with the kernel
	words  []uint64
	shift  uint16
}

// lineCount is how many lines, a power of two, so many addresses need. With twice as
// many words as addresses one of a hundred finds its line full where they are random,
// and four where they come in small subnets; none in thousands while a quarter of the
// addresses is there.
func lineCount(addresses int) int { return max(2, 1<<bits.Len(uint(addresses-1)/(lineWords/2))) }

// lineShift leaves of a mixed key as many bits as choose one of n lines.
func lineShift(n int) uint16 { return uint16(64 - bits.TrailingZeros(uint(n))) }

// mapLines shares the memory of the map.
func mapLines(m *ebpf.Map) (l lines, err error) {
	n := int(m.MaxEntries())
	l.memory, err = unix.Mmap(m.FD(), 0, n*lineWords*8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return l, fmt.Errorf("share the program's table of addresses: %w", err)
	}
	l.words, l.shift = wordsOf(l.memory), lineShift(n)
	return l, nil
}

func (l *lines) close() error {
	if l.memory == nil {
		return nil
	}
	err := unix.Munmap(l.memory)
	*l = lines{}
	if err != nil {
		return fmt.Errorf("let go of the program's table of addresses: %w", err)
	}
	return nil
}

// put says whose the address of key is, which is a word without an owner; false:
// its line is full.
func (l *lines) put(key uint64, owner uint32) bool {
	w := l.find(key)
	if w == nil {
		w = l.free(key)
	}
	if w == nil {
		return false
	}
	atomic.StoreUint64(w, key|uint64(owner)<<wordOwner)
	return true
}

// remove takes an address away, if it is in a line.
func (l *lines) remove(key uint64) {
	if w := l.find(key); w != nil {
		atomic.StoreUint64(w, 0)
	}
}

// line is where key belongs.
func (l *lines) line(key uint64) []uint64 {
	at := (key >> lineNeighbours) * lineMix >> l.shift
	return l.words[at*lineWords : (at+1)*lineWords]
}

// find is the word of key, or nil.
func (l *lines) find(key uint64) *uint64 {
	line := l.line(key)
	for i := range line {
		if line[i] != 0 && line[i]&wordKey == key {
			return &line[i]
		}
	}
	return nil
}

// free is an empty word for key, or nil.
func (l *lines) free(key uint64) *uint64 {
	line := l.line(key)
	for i := range line {
		if line[i] == 0 {
			return &line[i]
		}
	}
	return nil
}
