package xdp

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// account says where each chunk is, and complains about one that is nowhere or
// in two places. Nothing may be lent, and the kernel holds nothing back.
func account(t testing.TB, s *Socket, k *fakeKernel) {
	t.Helper()
	places := make(map[uint64][]string)
	note := func(addr uint64, place string) {
		chunk := addr &^ uint64(k.g.FrameSize-1)
		places[chunk] = append(places[chunk], place)
	}
	for i := *k.fill.consumer; i != *k.fill.producer; i++ {
		note(k.fill.entries[i&(k.g.FillSize-1)], "fill")
	}
	for i := *k.rx.consumer; i != *k.rx.producer; i++ {
		note(k.rx.entries[i&(k.g.RxSize-1)].Addr, "receive")
	}
	for i := *k.tx.consumer; i != *k.tx.producer; i++ {
		note(k.tx.entries[i&(k.g.TxSize-1)].Addr, "transmit")
	}
	for i := *k.comp.consumer; i != *k.comp.producer; i++ {
		note(k.comp.entries[i&(k.g.CompletionSize-1)], "completion")
	}
	for _, addr := range k.held {
		note(addr, "kernel")
	}
	for _, addr := range s.free {
		note(uint64(addr), "free")
	}
	for chunk := uint64(0); chunk < k.g.umemBytes(); chunk += uint64(k.g.FrameSize) {
		if len(places[chunk]) != 1 {
			t.Errorf("chunk %#x of the half below %#x is in %v", chunk, k.g.rxBytes(), places[chunk])
		}
		delete(places, chunk)
	}
	if len(places) > 0 {
		t.Errorf("chunks that do not exist: %v", places)
	}
}

// A worker that dies between any two stores leaves a memory out of which a
// successor makes a whole one. Each case rewinds the stores that come after the
// point of death.
func TestResumeAfterDeathAtAnyStep(t *testing.T) {
	receive := func(s *Socket, k *fakeKernel) {
		for i := range uint32(10) {
			k.receiveFrame(numbered(i, 100))
		}
		s.Recv(make([]frame.Frame, 6))
	}
	commit := func(s *Socket, k *fakeKernel) {
		k.answer = unix.EAGAIN // nothing leaves yet
		f := make([]frame.Frame, 8)
		for i := range f[:s.Reserve(f, 100)] {
			copy(f[i].Data, numbered(uint32(i), 100))
		}
		s.Commit(f[:5])
		k.answer = 0
	}
	cases := map[string]struct {
		run                         func(s *Socket, k *fakeKernel)
		abandoned, received, queued int // queued: frames that the successor still finds
		sent                        int
	}{
		"at rest":                     {run: func(*Socket, *fakeKernel) {}},
		"frames lent":                 {run: receive, abandoned: 6, received: 6, queued: 4},
		"lent, and not noted as lent": {run: func(s *Socket, k *fakeKernel) { receive(s, k); s.state.Lent = 0; s.state.Received = 0 }, queued: 10},
		"lent, and not counted":       {run: func(s *Socket, k *fakeKernel) { receive(s, k); s.state.Received = 0 }, abandoned: 6, received: 6, queued: 4},
		"released":                    {run: func(s *Socket, k *fakeKernel) { receive(s, k); s.Release() }, received: 6, queued: 4},
		"before Release publishes":    {run: releaseUntil(receive, 0), abandoned: 6, received: 6, queued: 4},
		"Release published the fill":  {run: releaseUntil(receive, 1), abandoned: 6, received: 6, queued: 4},
		"Release published both":      {run: releaseUntil(receive, 2), abandoned: 6, received: 6, queued: 4},
		"no room in the fill ring":    {run: releaseWithoutRoom, received: 6, queued: 4},
		"frames reserved":             {run: func(s *Socket, k *fakeKernel) { s.Reserve(make([]frame.Frame, 50), 100) }},
		"frames committed, and stuck": {run: commit, sent: 5},
		"before Commit marks the owner": {run: func(s *Socket, k *fakeKernel) {
			commit(s, k)
			*k.tx.producer = 0
			clear(s.owner)
		}, sent: 5},
		"Commit marked half of them": {run: func(s *Socket, k *fakeKernel) {
			commit(s, k)
			*k.tx.producer = 0
			s.owner[0], s.owner[3] = ours, ours
		}, sent: 5},
		"before Commit publishes": {run: func(s *Socket, k *fakeKernel) { commit(s, k); *k.tx.producer = 0 }, sent: 5},
		"completions not read":    {run: func(s *Socket, k *fakeKernel) { commit(s, k); k.transmit() }, sent: 5},
		"completions half read": {run: func(s *Socket, k *fakeKernel) {
			commit(s, k)
			k.transmit()
			s.owner[0], s.owner[1] = ours, ours
		}, sent: 5},
		"completions read, not given back": {run: func(s *Socket, k *fakeKernel) {
			commit(s, k)
			k.transmit()
			s.Reserve(nil, 0)
			*k.comp.consumer = 0
		}, sent: 5},
		"chunks with the kernel": {run: func(s *Socket, k *fakeKernel) { k.hold = true; commit(s, k); k.transmit() }, sent: 5},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s, k := newFake(t, small)
			c.run(s, k)
			m := s.memory
			next := newSocket(m, k)
			next.resume()
			account(t, next, k)
			next.push(kickTries)
			if got := int(next.state.Abandoned); got != c.abandoned {
				t.Errorf("%d frames abandoned, want %d", got, c.abandoned)
			}
			if got := int(next.state.Received); got != c.received {
				t.Errorf("%d frames received, want %d", got, c.received)
			}
			f := make([]frame.Frame, 64)
			n := next.Recv(f)
			if n != c.queued || (n > 0 && n < 10 && number(f[0].Data) != 6) {
				t.Errorf("the successor received %d frames, want %d", n, c.queued)
			}
			next.Release()
			if len(k.sent) != c.sent {
				t.Errorf("%d frames left, want %d", len(k.sent), c.sent)
			}
			for i, data := range k.sent {
				if !bytes.Equal(data, numbered(uint32(i), 100)) {
					t.Errorf("frame %d left as another one", i)
				}
			}
			k.complete()
			next.Reserve(nil, 0)
			account(t, next, k)
			if len(next.free) != 128 || fill(k.fill.ringMemory) != 128 {
				t.Errorf("%d chunks are free and %d in the fill ring, want all", len(next.free), fill(k.fill.ringMemory))
			}
			if next.state.BadCompletions != 0 {
				t.Errorf("%d bad completions", next.state.BadCompletions)
			}
		})
	}
}

// releaseUntil is a Release that dies after so many of its stores: the intent
// stands, the fill ring's index, the receive ring's.
func releaseUntil(receive func(*Socket, *fakeKernel), stores int) func(*Socket, *fakeKernel) {
	return func(s *Socket, k *fakeKernel) {
		receive(s, k)
		fillIndex, rxIndex := *k.fill.producer, *k.rx.consumer
		s.Release()
		s.state.Returned = 0
		if stores < 2 {
			*k.rx.consumer = rxIndex
		}
		if stores < 1 {
			*k.fill.producer = fillIndex
		}
	}
}

// releaseWithoutRoom releases while the kernel has not published yet that it took
// chunks from the fill ring.
func releaseWithoutRoom(s *Socket, k *fakeKernel) {
	for i := range uint32(10) {
		k.receiveFrame(numbered(i, 100))
	}
	s.Recv(make([]frame.Frame, 6))
	taken := *k.fill.consumer
	*k.fill.consumer = 0
	s.Release()
	*k.fill.consumer = taken
}

// ---- with a real socket

// twice duplicates a handover's descriptors, as a message to another process does.
func twice(t testing.TB, s *Socket) Handover {
	t.Helper()
	h, err := s.Handover()
	if err != nil {
		t.Fatal(err)
	}
	dup := func(fd int) int {
		n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return Handover{Socket: dup(h.Socket), Memory: dup(h.Memory)}
}

func TestRestoreInOneProcess(t *testing.T) {
	r := newRig(t, rigConfig{})
	p := r.program(ModeNative, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
	fds, mappings := resources(t)
	s := r.socket(p, SocketConfig{Frames: 256})
	f := make([]frame.Frame, 64)
	for generation := range 10 {
		checkSending(t, r, s, []int{60, 1514, 9000}[:2])
		for range 10 {
			r.send(udp4(r.mac, "10.0.0.2"))
		}
		eventually(t, "ten frames", func() bool { return s.rx.waiting() == 10 })
		if n := s.Recv(f[:3]); n != 3 {
			t.Fatalf("%d frames", n)
		}
		s.Reserve(f, 60)
		next, err := Restore(twice(t, s))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { next.Close() })
		take(t, next, 7)
		st, err := next.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if st.Abandoned != uint64(3*(generation+1)) || st.Received != uint64(10*(generation+1)) {
			t.Fatalf("generation %d: %d abandoned and %d received", generation, st.Abandoned, st.Received)
		}
		if next.Queue() != 0 || next.IfIndex() != r.index || next.ZeroCopy() || !next.MultiBuffer() {
			t.Errorf("the successor is of device %d queue %d, zero-copy %v", next.IfIndex(), next.Queue(), next.ZeroCopy())
		}
		s = next
	}
	allReturned(t, s)
	settle(t, p, s)
	exact(t, p, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if a, b := resources(t); a != fds || b != mappings {
		t.Errorf("%d descriptors and %d mappings are left", a-fds, b-mappings)
	}
}

func TestRestoreRefusesWhatIsNoSocket(t *testing.T) {
	r := newRig(t, rigConfig{})
	s := r.socket(nil, SocketConfig{Frames: 256})
	h, err := s.Handover()
	if err != nil {
		t.Fatal(err)
	}
	fds, mappings := resources(t)
	empty, err := createMemory(pageSize)
	if err != nil {
		t.Fatal(err)
	}
	short, err := createMemory(1)
	if err != nil {
		t.Fatal(err)
	}
	cut, err := createMemory(2 * pageSize)
	if err != nil {
		t.Fatal(err)
	}
	b, err := mapShared(cut, 0, 2*pageSize)
	if err != nil {
		t.Fatal(err)
	}
	*stateAt(b) = *s.state
	for name, bad := range map[string]Handover{
		"a packet socket": {r.wire, h.Memory},
		"no descriptor":   {-1, h.Memory},
		"a file":          {h.Memory, h.Memory},
		"no memory":       {h.Socket, -1},
		"empty memory":    {h.Socket, empty},
		"short memory":    {h.Socket, short},
		"cut memory":      {h.Socket, cut},
		"a socket":        {h.Socket, h.Socket},
	} {
		if got, err := Restore(bad); got != nil || err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, damage := range []func(*state){
		func(st *state) { st.Version++ },
		func(st *state) { st.FrameSize = 3000 },
		func(st *state) { st.RxSize = 1 << 31 },
		func(st *state) { st.Frames = 0 },
	} {
		*stateAt(b) = *s.state
		damage(stateAt(b))
		if _, err := Restore(Handover{h.Socket, cut}); !errors.Is(err, errState) {
			t.Errorf("damaged memory: %v", err)
		}
	}
	if err := unix.Munmap(b); err != nil {
		t.Fatal(err)
	}
	closeAll(empty, short, cut)
	if a, b := resources(t); a != fds || b != mappings {
		t.Errorf("%d descriptors and %d mappings are left", a-fds, b-mappings)
	}
}

// A process that has the socket is killed under load, again and again, each
// time at another moment; at the end the program's count of redirected frames is
// still exactly what was received or dropped, and no chunk is missing.
func TestRestoreAfterKills(t *testing.T) {
	r := newRig(t, rigConfig{})
	p := r.program(ModeNative, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
	s := r.socket(p, SocketConfig{Frames: 256})
	h := twice(t, s)
	socket, memory := os.NewFile(uintptr(h.Socket), "socket"), os.NewFile(uintptr(h.Memory), "memory")
	defer socket.Close()
	defer memory.Close()
	received := func() uint64 { return atomic.LoadUint64(&s.state.Received) }
	for round := range 12 {
		child := startChild(t, childEcho, socket, memory)
		start := received()
		stop := r.background(udp4(r.mac, "10.0.0.2"))
		eventually(t, "the child to work", func() bool { return received() > start+200 })
		time.Sleep(time.Duration(round) * 300 * time.Microsecond)
		child.kill(t)
		stop()
	}
	next, err := Restore(twice(t, s))
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	settle(t, p, next)
	_, st := exact(t, p, next)
	if st.Received < 12*200 || st.Sent == 0 {
		t.Errorf("%d received, %d sent", st.Received, st.Sent)
	}
	allReturned(t, next)
	if n := fill(next.memory.fill.ringMemory); n != 128 {
		t.Errorf("the fill ring holds %d chunks, want all 128", n)
	}
}

// background sends until stopped.
func (r *rig) background(data []byte) (stop func()) {
	var end atomic.Bool
	done := make(chan bool)
	wire := r.wire
	go func() {
		defer close(done)
		for !end.Load() {
			_ = unix.Send(wire, data, 0)
		}
	}()
	return func() { end.Store(true); <-done }
}
