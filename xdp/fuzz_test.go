package xdp

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// hostile is a kernel that writes whatever the fuzzer says into what is shared.
type hostile struct {
	m      memory
	answer unix.Errno
}

func (h *hostile) receive() unix.Errno  { return h.answer }
func (h *hostile) transmit() unix.Errno { return h.answer }

func (h *hostile) words() []*uint32 {
	m := &h.m
	return []*uint32{
		m.rx.producer, m.rx.consumer, m.fill.consumer, m.fill.producer, m.fill.flags,
		m.tx.consumer, m.tx.producer, m.tx.flags, m.comp.producer, m.comp.consumer,
	}
}

// FuzzHostileKernel: whatever stands in the shared memory, no call panics or
// hangs, what is lent lies in the right half, and the stack of free chunks holds
// each of them once at most.
func FuzzHostileKernel(f *testing.F) {
	f.Add([]byte{0, 0, 64, 0, 0, 0, 3, 0, 4, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 5, 4, 0})
	f.Add([]byte{5, 9, 5, 200, 6, 0, 6, 1, 2, 3, 255, 255, 255, 255, 255, 255, 5, 5, 3, 3})
	f.Fuzz(playHostile)
}

// playHostile runs a program of the kernel's writes and the worker's calls.
func playHostile(t *testing.T, program []byte) {
	m, _ := newFakeMemory(t, SocketConfig{Frames: 128}, true)
	h := &hostile{m: m}
	s := newSocket(m, h)
	s.prime()
	lent := make([]frame.Frame, 16)
	reserved := make([]frame.Frame, 16)
	n := 0
	next := func() uint32 {
		var b [4]byte
		program = program[copy(b[:], program):]
		return binary.LittleEndian.Uint32(b[:])
	}
	for len(program) > 1 {
		op, arg := program[0], program[1]
		program = program[2:]
		switch op % 9 {
		case 0:
			*h.words()[int(arg)%len(h.words())] = next()
		case 1:
			m.rx.entries[arg%64] = descriptor{Addr: uint64(next()), Len: next(), Options: next() & 3}
		case 2:
			m.comp.entries[arg%64] = uint64(next())
		case 3:
			checkLent(t, s, lent[:s.Recv(lent)])
		case 4:
			s.Release()
		case 5:
			n = s.Reserve(reserved, int(arg)*50)
			checkReserved(t, s, reserved[:n])
		case 6:
			s.Commit(reserved[:min(n, int(arg))])
		case 7:
			h.answer = unix.Errno(arg)
		case 8:
			s.state.Exchange, s.state.Lent, s.state.Sending = uint64(next()), uint64(next())<<32, next()
			s = newSocket(m, h)
			s.resume()
			n = 0
		}
	}
}

func checkLent(t *testing.T, s *Socket, f []frame.Frame) {
	for _, fr := range f {
		inbox, chunk := offsetIn(s.inbox, fr.Data), offsetIn(s.umem, fr.Data)
		if chunk+uint64(cap(fr.Data)) > s.rxEnd && inbox+uint64(cap(fr.Data)) > boxSize {
			t.Fatalf("lent %d bytes at %#x of the UMEM, %#x of the inbox", len(fr.Data), chunk, inbox)
		}
	}
}

func checkReserved(t *testing.T, s *Socket, f []frame.Frame) {
	for _, fr := range f {
		outbox, chunk := offsetIn(s.outbox, fr.Data), offsetIn(s.umem, fr.Data)
		inTx := chunk >= s.rxEnd && chunk+uint64(cap(fr.Data)) <= uint64(len(s.umem))
		if !inTx && outbox+uint64(cap(fr.Data)) > boxSize {
			t.Fatalf("reserved %d bytes at %#x of the UMEM, %#x of the outbox", len(fr.Data), chunk, outbox)
		}
	}
	seen := make(map[uint32]bool)
	for _, addr := range s.free {
		if seen[addr] || uint64(addr) < s.rxEnd {
			t.Fatalf("the free chunk %#x is there twice, or receives", addr)
		}
		seen[addr] = true
	}
}
