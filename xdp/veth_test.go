package xdp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// bothModes runs a test native and generic.
func bothModes(t *testing.T, f func(t *testing.T, mode Mode)) {
	for _, mode := range []Mode{ModeNative, ModeGeneric} {
		t.Run(mode.String(), func(t *testing.T) { f(t, mode) })
	}
}

// Frames of every kind come through a real device: those of containers to the
// socket, byte by byte, all others to the host.
func TestFramesThroughAVeth(t *testing.T) {
	bothModes(t, func(t *testing.T, mode Mode) {
		r := newRig(t, rigConfig{})
		p := r.program(mode, steerRules()...)
		s := r.socket(p, SocketConfig{Frames: 256})
		host := packetSocket(t, r.index)
		before := countersOf(t, p)
		var toSocket, toHost [][]byte
		for _, c := range steerCases() {
			data := changedNIC(c.data, r.mac)
			if len(data) < 60 { // what a wire would make of it
				continue
			}
			if c.want[0] == 'R' {
				toSocket = append(toSocket, data)
			} else {
				toHost = append(toHost, data)
			}
			r.send(data)
		}
		for i, data := range take(t, s, len(toSocket)) {
			if !bytes.Equal(data, toSocket[i]) {
				t.Fatalf("frame %d is\n% x, sent was\n% x", i, data, toSocket[i])
			}
		}
		for i := range toHost {
			if data := receive(host); !sameButTag(data, toHost[i]) {
				t.Fatalf("host frame %d is\n% x, sent was\n% x", i, data, toHost[i])
			}
		}
		after := countersOf(t, p)
		if got := after.Redirected() - before.Redirected(); got != uint64(len(toSocket)) {
			t.Errorf("%d redirected, want %d", got, len(toSocket))
		}
		if got := after.Passed() - before.Passed(); got != uint64(len(toHost)) {
			t.Errorf("%d passed, want %d", got, len(toHost))
		}
	})
}

// changedNIC puts the real NIC's address where the table has its own.
func changedNIC(data []byte, nic mac) []byte {
	if bytes.Equal(data[:6], nicMAC[:]) {
		return changed(data, 0, nic[:]...)
	}
	return data
}

// sameButTag allows for the kernel, which takes an outer tag out of the bytes
// before it shows a frame to packet sockets.
func sameButTag(got, sent []byte) bool {
	if bytes.Equal(got, sent) {
		return true
	}
	return len(sent) > 16 && len(got) > 12 && bytes.Equal(got[:12], sent[:12]) && bytes.Equal(got[12:], sent[16:])
}

func countersOf(t testing.TB, p *Program) Counters {
	t.Helper()
	c, err := p.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// With no socket in the slot every frame is the host's; so it is again once the
// slot was emptied.
func TestNoSocketMeansTheHost(t *testing.T) {
	bothModes(t, func(t *testing.T, mode Mode) {
		r := newRig(t, rigConfig{})
		p := r.program(mode, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
		host := packetSocket(t, r.index)
		check := func(when string) {
			r.send(udp4(r.mac, "10.0.0.2"))
			if data := receive(host); !bytes.Equal(data, udp4(r.mac, "10.0.0.2")) {
				t.Fatalf("%s the host got % x", when, data)
			}
		}
		check("without a socket")
		s := r.socket(p, SocketConfig{Frames: 256})
		r.send(udp4(r.mac, "10.0.0.2"))
		take(t, s, 1)
		if err := p.ClearSocket(0); err != nil {
			t.Fatal(err)
		}
		check("after ClearSocket")
		if err := p.SetSocket(0, s); err != nil {
			t.Fatal(err)
		}
		r.send(udp4(r.mac, "10.0.0.2"))
		take(t, s, 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		check("after the socket's Close")
		if err := p.Detach(); err != nil {
			t.Fatal(err)
		}
		check("after Detach")
		c := countersOf(t, p)
		if c.PassedNoSocket != 3 || c.RedirectedIP4 != 2 {
			t.Errorf("%d passed for want of a socket and %d redirected, want 3 and 2", c.PassedNoSocket, c.RedirectedIP4)
		}
	})
}

func TestJumboChains(t *testing.T) {
	bothModes(t, func(t *testing.T, mode Mode) {
		for _, frameSize := range []int{2048, 4096} {
			r := newRig(t, rigConfig{mtu: 9000})
			p := r.program(mode, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
			s := r.socket(p, SocketConfig{Frames: 1024, FrameSize: frameSize})
			if !s.MultiBuffer() {
				t.Fatal("no chains in copy mode")
			}
			var sent [][]byte
			for _, size := range []int{9014, 60, 1800, 3841, 9000, 4096, 1514, 9014} {
				data := changed(make([]byte, size), 0, udp4(r.mac, "10.0.0.2")...)
				copy(data[50:], numbered(uint32(size), size-50))
				sent = append(sent, data)
				r.send(data)
			}
			for i, data := range take(t, s, len(sent)) {
				if !bytes.Equal(data, sent[i]) {
					t.Fatalf("chunks of %d: frame %d of %d bytes is not the one of %d that was sent", frameSize, i, len(data), len(sent[i]))
				}
			}
			exact(t, p, s)
			checkSending(t, r, s, []int{9014, 60, 1984, 1985, 4097, 9014})
		}
	})
}

func TestSendingOnAVeth(t *testing.T) {
	r := newRig(t, rigConfig{})
	s := r.socket(nil, SocketConfig{Frames: 256})
	checkSending(t, r, s, []int{60, 14, 1514, 100})
	for i := uint32(0); i < 5000; {
		f := make([]frame.Frame, 64)
		n := s.Reserve(f, 100)
		for j := range f[:n] {
			copy(f[j].Data, udp4(broadcast, "10.0.0.1"))
			copy(f[j].Data[60:], numbered(i+uint32(j), 40))
		}
		s.Commit(f[:n])
		for range n {
			data := receive(r.wire)
			if len(data) != 100 || number(data[60:]) != i {
				t.Fatalf("instead of frame %d came %d bytes", i, len(data))
			}
			i++
		}
	}
	allReturned(t, s)
}

// checkSending sends frames of these sizes and compares what the wire gets.
func checkSending(t *testing.T, r *rig, s *Socket, sizes []int) {
	t.Helper()
	for _, size := range sizes {
		want := eth(broadcast, r.mac, 0x88b5, numbered(uint32(size), max(size-14, 4)))[:size]
		f := make([]frame.Frame, 3)
		if n := s.Reserve(f, size); n != 3 {
			t.Fatalf("%d buffers of %d bytes", n, size)
		}
		copy(f[1].Data, want)
		s.Commit(f[1:2])
		if data := receive(r.wire); !bytes.Equal(data, want) {
			t.Fatalf("of %d bytes the wire got %d, or others", size, len(data))
		}
	}
}

// allReturned waits until the kernel has completed every transmitted chunk.
func allReturned(t testing.TB, s *Socket) {
	t.Helper()
	eventually(t, "completions", func() bool {
		s.Reserve(nil, 0)
		return len(s.free) == cap(s.free)
	})
}

// exact checks the promise: what the program redirected was received or is in
// the kernel's drop counters.
func exact(t testing.TB, p *Program, s *Socket) (Counters, SocketStats) {
	t.Helper()
	c := countersOf(t, p)
	st, err := s.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if c.Redirected() != st.Received+st.Drops() {
		t.Errorf("%d redirected, but %d received and %d dropped (%+v)", c.Redirected(), st.Received, st.Drops(), st)
	}
	if st.BadFrames+st.RxInvalid+st.TxInvalid+st.Rejected+st.BadCompletions != 0 {
		t.Errorf("something was invalid: %+v", st)
	}
	return c, st
}

// sendFrom sends from a processor, which is what chooses the veth's queue.
func (r *rig) sendFrom(cpu int, data []byte) {
	r.t.Helper()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		r.t.Fatal(err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		missing(r.t, fmt.Sprintf("processor %d: %v", cpu, err))
	}
	r.send(data)
	if err := unix.SchedSetaffinity(0, &all); err != nil {
		r.t.Fatal(err)
	}
}

func TestQueuesHaveTheirOwnSockets(t *testing.T) {
	r := newRig(t, rigConfig{queues: 2})
	p := r.program(ModeNative, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
	sockets := []*Socket{r.socket(p, SocketConfig{Frames: 256}), r.socket(p, SocketConfig{Frames: 256, Queue: 1})}
	data := udp4(r.mac, "10.0.0.2")
	for round := range 100 {
		r.sendFrom(round%2, data)
		take(t, sockets[round%2], 1)
		if n := drain(sockets[1-round%2]); n != 0 {
			t.Fatalf("round %d: the other queue's socket got %d", round, n)
		}
	}
	if err := p.ClearSocket(1); err != nil {
		t.Fatal(err)
	}
	host := packetSocket(t, r.index)
	r.sendFrom(1, data)
	if !bytes.Equal(receive(host), data) {
		t.Error("a frame of the queue without a socket did not reach the host")
	}
	r.sendFrom(0, data)
	take(t, sockets[0], 1)
	for _, slot := range []int{-1, 1, 64} {
		if err := p.SetSocket(slot, sockets[0]); !errors.Is(err, ErrConfig) {
			t.Errorf("the socket of queue 0 in slot %d: %v", slot, err)
		}
	}
	if _, err := OpenSocket(SocketConfig{IfIndex: r.index, Queue: 2}); err == nil || !strings.Contains(err.Error(), "queue 2") {
		t.Errorf("a queue that the device has not: %v", err)
	}
}

func TestForeignProgramIsLeftAlone(t *testing.T) {
	bothModes(t, func(t *testing.T, mode Mode) {
		r := newRig(t, rigConfig{})
		first := r.program(mode)
		info, err := first.objects.Steer.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		second := loadProgram(t, ProgramConfig{})
		for _, want := range []Mode{ModeAuto, ModeNative, ModeGeneric} {
			_, err := second.Attach(r.index, want)
			var foreign *ForeignProgramError
			if !errors.As(err, &foreign) {
				t.Fatalf("attach in mode %v: %v", want, err)
			}
			if foreign.ID != uint32(id) || foreign.Name != "steer" || foreign.Tag != info.Tag {
				t.Errorf("the foreign program is %+v, want id %d, steer, tag %s", foreign, id, info.Tag)
			}
			if !strings.Contains(err.Error(), "steer") || strings.Contains(err.Error(), "\n") {
				t.Errorf("the message is %q", err)
			}
			// The race of two who looked at once.
			if _, err := second.attach(r.index, want); !errors.As(err, &foreign) {
				t.Errorf("the second of two at once, mode %v: %v", want, err)
			}
		}
		r.send(udp4(r.mac, "10.0.0.2"))
		eventually(t, "the first program to count", func() bool { return countersOf(t, first).Passed() == 1 })
		if err := first.Detach(); err != nil {
			t.Fatal(err)
		}
		if _, err := second.Attach(r.index, mode); err != nil {
			t.Errorf("after the first had left: %v", err)
		}
	})
}

func TestForeignProgramByNetlink(t *testing.T) {
	r := newRig(t, rigConfig{})
	first := loadProgram(t, ProgramConfig{})
	if err := netlink.LinkSetXdpFd(r.nic, first.objects.Steer.FD()); err != nil {
		t.Fatal(err)
	}
	second := loadProgram(t, ProgramConfig{})
	if _, err := second.Attach(r.index, ModeAuto); !errors.As(err, new(*ForeignProgramError)) {
		t.Errorf("attach beside a program without a link: %v", err)
	}
}

func TestAttachFallsBackToGeneric(t *testing.T) {
	r := newRig(t, rigConfig{})
	ifb := &netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: "ifb9"}} // a driver without XDP
	if err := netlink.LinkAdd(ifb); err != nil {
		t.Fatal(err)
	}
	index := ifb.Attrs().Index
	p := loadProgram(t, ProgramConfig{})
	if _, err := p.Attach(index, ModeNative); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("native where there is none: %v", err)
	}
	mode, err := p.Attach(index, ModeAuto)
	if err != nil || mode != ModeGeneric {
		t.Fatalf("auto: %v, %v", mode, err)
	}
	if err := p.NativeError(); !errors.Is(err, unix.EOPNOTSUPP) || !strings.Contains(err.Error(), "has no XDP") {
		t.Errorf("the reason is %v", err)
	}
	if _, err := p.Attach(r.index, ModeAuto); !errors.Is(err, ErrConfig) {
		t.Errorf("attached twice: %v", err)
	}
	if err := p.Detach(); err != nil {
		t.Fatal(err)
	}
	if mode, err := p.Attach(r.index, ModeAuto); err != nil || mode != ModeNative || p.NativeError() != nil {
		t.Errorf("on a veth: %v, %v, reason %v", mode, err, p.NativeError())
	}
	if _, err := loadProgram(t, ProgramConfig{}).Attach(9999, ModeAuto); err == nil || !strings.Contains(err.Error(), "9999") {
		t.Errorf("no such device: %v", err)
	}
	if _, err := loadProgram(t, ProgramConfig{}).Attach(r.index, 7); !errors.Is(err, ErrConfig) {
		t.Errorf("no such mode: %v", err)
	}
}

// A veth whose peer may use more queues than it has says ENOSPC; the message
// says what that means.
func TestNativeReasonIsInWords(t *testing.T) {
	r := newRig(t, rigConfig{})
	wide := netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "narrow", NumRxQueues: 1, NumTxQueues: 1},
		PeerName:  "wide", PeerNumTxQueues: 4, PeerNumRxQueues: 4,
		PeerNamespace: netlink.NsFd(r.wireNS),
	}
	if err := netlink.LinkAdd(&wide); err != nil {
		t.Fatal(err)
	}
	narrow, err := netlink.LinkByName("narrow")
	if err != nil {
		t.Fatal(err)
	}
	p := loadProgram(t, ProgramConfig{})
	_, err = p.Attach(narrow.Attrs().Index, ModeNative)
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "receive queues") {
		t.Errorf("the reason is %v", err)
	}
}
