package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// TestWrite sends frames of sizes around a buffer's.
func TestWrite(t *testing.T) {
	c, p := connect(t, client.Config{RingSize: 16, BufferSize: 100})
	sizes := []int{1, 99, 100, 101, 200, 201, 14, 1600}
	for round := range 40 { // across the ring's end, at every offset
		for i, size := range sizes {
			frame := pattern(round+i, size)
			if n, err := c.Ring(0).Write([][]byte{frame}); n != 1 || err != nil {
				t.Fatalf("%d bytes: %d, %v", size, n, err)
			}
			got, err := p.collect(0)
			if err != nil || !same(got, [][]byte{frame}) {
				t.Fatalf("%d bytes arrived as %d frames, %v", size, len(got), err)
			}
		}
	}
	if s := c.Ring(0).Stats(); s.Sent != uint64(40*len(sizes)) || s.SentBytes != 40*(1+99+100+101+200+201+14+1600) {
		t.Errorf("counted %+v", s)
	}
}

func TestWriteFillsTheRing(t *testing.T) {
	c, p := connect(t, client.Config{RingSize: 8, BufferSize: 100})
	var frames [][]byte
	for i := range 12 {
		frames = append(frames, pattern(i, 60))
	}
	if n, err := c.Ring(0).Write(frames); n != 8 || err != nil {
		t.Fatalf("a ring of 8 took %d, %v", n, err)
	}
	if n, err := c.Ring(0).Write(frames[8:]); n != 0 || err != nil {
		t.Fatalf("a full ring took %d, %v", n, err)
	}
	if got, err := p.collect(0); err != nil || !same(got, frames[:8]) {
		t.Fatalf("%d frames came, %v", len(got), err)
	}
	// Seven slots free of which a chain takes all or none.
	if n, err := c.Ring(0).Write([][]byte{pattern(1, 10), pattern(2, 800)}); n != 1 || err != nil {
		t.Errorf("a chain of 8 slots in 7: %d, %v", n, err)
	}
	if n, err := c.Ring(0).Write([][]byte{pattern(2, 700), pattern(3, 1)}); n != 1 || err != nil {
		t.Errorf("a chain of 7 slots in 7: %d, %v", n, err)
	}
	if got, err := p.collect(0); err != nil || !same(got, [][]byte{pattern(1, 10), pattern(2, 700)}) {
		t.Errorf("%d frames came, %v", len(got), err)
	}
}

func TestFramesThatCannotBe(t *testing.T) {
	c, p := connect(t, client.Config{RingSize: 4, BufferSize: 100})
	good := pattern(1, 60)
	for _, bad := range []struct {
		frame []byte
		want  error
	}{
		{pattern(1, 401), client.ErrTooBig},
		{pattern(1, 1<<20), client.ErrTooBig},
		{nil, client.ErrEmpty},
	} {
		if n, err := c.Ring(0).Write([][]byte{good, bad.frame, good}); n != 1 || !errors.Is(err, bad.want) {
			t.Errorf("%d bytes: %d, %v", len(bad.frame), n, err)
		}
		if got, err := p.collect(0); err != nil || !same(got, [][]byte{good}) {
			t.Errorf("%d frames came, %v", len(got), err)
		}
		if n, err := c.Ring(0).WriteContext(within(t), [][]byte{bad.frame}); n != 0 || !errors.Is(err, bad.want) {
			t.Errorf("%d bytes, waiting: %d, %v", len(bad.frame), n, err)
		}
	}
	if n, err := c.Ring(0).Write(nil); n != 0 || err != nil {
		t.Errorf("no frames: %d, %v", n, err)
	}
}

// TestRead receives frames of sizes around a buffer's, and again in the slots
// whose flags such a server leaves standing.
func TestRead(t *testing.T) {
	for _, stale := range []bool{false, true} {
		c, p := connect(t, client.Config{RingSize: 16, BufferSize: 100})
		bufs := client.Buffers(4, 2000)
		for round := range 40 {
			for i, size := range []int{1, 99, 100, 101, 200, 201, 14, 1600} {
				frame := pattern(round+i, size)
				if p.deliver(0, stale, frame) != 1 {
					t.Fatalf("no room for %d bytes", size)
				}
				n, err := c.Ring(0).Read(bufs)
				if err != nil || !same(bufs[:n], [][]byte{frame}) {
					t.Fatalf("stale %v: %d bytes arrived as %d frames, %v", stale, size, n, err)
				}
			}
		}
		if n, err := c.Ring(0).Read(bufs); n != 0 || err != nil {
			t.Errorf("an empty ring yields %d, %v", n, err)
		}
	}
}

func TestReadInParts(t *testing.T) {
	c, p := connect(t, client.Config{RingSize: 8, BufferSize: 100})
	var frames [][]byte
	for i := range 8 {
		frames = append(frames, pattern(i, 60))
	}
	if p.deliver(0, false, frames...) != 8 {
		t.Fatal("the ring was not empty")
	}
	if p.deliver(0, false, frames[0]) != 0 {
		t.Fatal("a full ring took one more")
	}
	bufs := client.Buffers(3, 100)
	for got := 0; got < 8; {
		n, err := c.Ring(0).Read(bufs)
		if err != nil || !same(bufs[:n], frames[got:got+n]) || n == 0 {
			t.Fatalf("after %d: %d, %v", got, n, err)
		}
		got += n
		if room := p.deliver(0, false, frames[:n]...); room != n {
			t.Fatalf("%d slots came back of %d", room, n)
		}
		if n, err := c.Ring(0).Read(bufs[:0]); n != 0 || err != nil {
			t.Fatalf("no buffers: %d, %v", n, err)
		}
		if got == 6 {
			break
		}
	}
}

func TestOversize(t *testing.T) {
	c, p := connect(t, client.Config{RingSize: 16, BufferSize: 100})
	p.deliver(0, false, pattern(1, 60), pattern(2, 61), pattern(3, 1000), pattern(4, 10))
	bufs := client.Buffers(4, 60)
	n, err := c.Ring(0).Read(bufs)
	if err != nil || !same(bufs[:n], [][]byte{pattern(1, 60), pattern(4, 10)}) {
		t.Fatalf("%d frames, %v", n, err)
	}
	if s := c.Ring(0).Stats(); s.Oversize != 2 || s.Received != 2 || s.ReceivedBytes != 70 || s.Malformed != 0 {
		t.Errorf("counted %+v", s)
	}
}

// TestMalformed: what a broken server publishes is dropped, counted, and does
// not take the next frame with it.
func TestMalformed(t *testing.T) {
	const next = shm.FlagNext
	for _, c := range []struct {
		name  string
		descs []shm.Desc
	}{
		{"no bytes", []shm.Desc{{Length: 0}}},
		{"one byte too many", []shm.Desc{{Length: 101}}},
		{"four gigabytes", []shm.Desc{{Length: 0xFFFFFFFF, Offset: 0xFFFFFFFF, Region: 9}}},
		{"a chain with a bad link", []shm.Desc{{Flags: next, Length: 100}, {Flags: next, Length: 200}, {Length: 5}}},
		{"a chain without an end", []shm.Desc{{Flags: next, Length: 100}, {Flags: next, Length: 100}}},
		{"a chain all around", []shm.Desc{{Flags: next, Length: 1}, {Flags: next, Length: 1}, {Flags: next, Length: 1}, {Flags: next, Length: 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, p := connect(t, client.Config{RingSize: 4, BufferSize: 100})
			r := &p.s2c[0]
			for _, d := range c.descs {
				r.SetDesc(r.next, d)
				r.next++
			}
			r.SetTail(r.next)
			bufs := client.Buffers(8, 1000)
			if n, err := conn.Ring(0).Read(bufs); n != 0 || err != nil {
				t.Fatalf("%d frames of %d bytes, %v", n, len(bufs[0]), err)
			}
			if s := conn.Ring(0).Stats(); s.Malformed != 1 || s.Received != 0 {
				t.Errorf("counted %+v", s)
			}
			for i := range 4 { // every slot is an empty buffer again
				if d := r.Desc(uint16(i)); d.Flags != 0 || d.Length != 100 || d.Region != 0 {
					t.Errorf("slot %d is %+v", i, d)
				}
			}
			p.deliver(0, false, pattern(1, 60))
			if n, err := conn.Ring(0).Read(bufs); err != nil || !same(bufs[:n], [][]byte{pattern(1, 60)}) {
				t.Errorf("the next frame: %d, %v", n, err)
			}
		})
	}
}

// TestLyingIndices: a tail that cannot be ends the connection.
func TestLyingIndices(t *testing.T) {
	for _, lie := range []uint16{9, 0x8000, 0xFFFF} {
		c, p := connect(t, client.Config{RingSize: 8})
		p.s2c[0].SetTail(lie)
		if n, err := c.Ring(0).Read(client.Buffers(2, 100)); n != 0 || !errors.Is(err, client.ErrServer) {
			t.Errorf("reading behind a tail of %d: %d, %v", lie, n, err)
		}
		if _, _, err := recv(p); err != nil {
			t.Errorf("the server was not told: %v", err)
		}
		c, p = connect(t, client.Config{RingSize: 8})
		fill := make([][]byte, 9)
		for i := range fill {
			fill[i] = pattern(i, 60)
		}
		p.c2s[0].SetTail(lie)
		if _, err := c.Ring(0).Write(fill); !errors.Is(err, client.ErrServer) {
			t.Errorf("writing behind a tail of %d: %v", lie, err)
		}
		if err := c.Err(); !errors.Is(err, client.ErrServer) {
			t.Errorf("the connection goes on: %v", err)
		}
	}
}

func recv(p *peer) (wire.Message, int, error) {
	_ = p.control.Unix().SetReadDeadline(time.Now().Add(patience))
	return p.control.Recv()
}

func TestRingsAreIndependent(t *testing.T) {
	c, p := connect(t, client.Config{Rings: 4, RingSize: 4, BufferSize: 64})
	for i := range 4 {
		if n, err := c.Ring(i).Write([][]byte{pattern(i, 60), pattern(i, 130)}); n != 2 || err != nil {
			t.Fatalf("ring %d: %d, %v", i, n, err)
		}
		p.deliver(i, false, pattern(100+i, 60), pattern(100+i, 130))
	}
	for i := range 4 {
		if got, err := p.collect(i); err != nil || !same(got, [][]byte{pattern(i, 60), pattern(i, 130)}) {
			t.Errorf("toward the server, ring %d: %d frames, %v", i, len(got), err)
		}
		bufs := client.Buffers(4, 200)
		n, err := c.Ring(i).Read(bufs)
		if err != nil || !same(bufs[:n], [][]byte{pattern(100+i, 60), pattern(100+i, 130)}) {
			t.Errorf("from the server, ring %d: %d frames, %v", i, n, err)
		}
	}
}

// TestSleeperIsWoken: a reader that sleeps asked for an interrupt and returns
// with the frame; one that does not sleep asks for none.
func TestSleeperIsWoken(t *testing.T) {
	c, p := connect(t, client.Config{RingSize: 4})
	bufs := client.Buffers(4, 100)
	for i := range 50 {
		read := make(chan error, 1)
		go func() {
			n, err := c.Ring(0).ReadContext(within(t), bufs)
			if err == nil && !same(bufs[:n], [][]byte{pattern(i, 60)}) {
				err = fmt.Errorf("%d frames", n)
			}
			read <- err
		}()
		eventually(t, "the reader asks for an interrupt", func() bool { return !p.s2c[0].Masked() })
		p.deliver(0, false, pattern(i, 60))
		if err := <-read; err != nil {
			t.Fatal(err)
		}
		if !p.s2c[0].Masked() {
			t.Fatal("a reader that is awake asks for interrupts")
		}
	}
	if s := c.Ring(0).Stats(); s.Received != 50 {
		t.Errorf("counted %+v", s)
	}
}

// TestLostWakeUp: a server that should interrupt and does not costs a moment.
func TestLostWakeUp(t *testing.T) {
	c, p := connect(t, client.Config{RingSize: 4})
	bufs := client.Buffers(4, 100)
	read := make(chan error, 1)
	go func() {
		_, err := c.Ring(0).ReadContext(within(t), bufs)
		read <- err
	}()
	eventually(t, "the reader asks for an interrupt", func() bool { return !p.s2c[0].Masked() })
	p.s2c[0].SetMasked(true) // as if the server had not seen it yet
	p.deliver(0, false, pattern(1, 60))
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if s := c.Ring(0).Stats(); s.Wakeups != 0 {
		t.Errorf("there was a wake-up: %+v", s)
	}
}

func TestPollingNeverAsksForInterrupts(t *testing.T) {
	c, p := connect(t, client.Config{RingSize: 4, Polling: true})
	ctx, cancel := context.WithCancel(within(t))
	read := make(chan error, 1)
	go func() {
		for {
			if _, err := c.Ring(0).ReadContext(ctx, client.Buffers(4, 100)); err != nil {
				read <- err
				return
			}
		}
	}()
	for i := range 100 {
		p.deliver(0, false, pattern(i, 60))
		eventually(t, "the frame is read", func() bool { return c.Ring(0).Stats().Received == uint64(i+1) })
		if !p.s2c[0].Masked() {
			t.Fatal("it asked for an interrupt")
		}
	}
	cancel()
	if err := <-read; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestServerIsInterrupted once for each Write, and only where it wants to be.
func TestServerIsInterrupted(t *testing.T) {
	c, p := connect(t, client.Config{RingSize: 16})
	frames := [][]byte{pattern(1, 60), pattern(2, 60)}
	for i, asked := range []bool{false, true, true, false} {
		p.c2s[0].SetMasked(!asked)
		if n, err := c.Ring(0).Write(frames); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		if got := drained(t, p.c2s[0].fd); (got == 1) != asked || got > 1 {
			t.Errorf("write %d: %d interrupts, asked for %v", i, got, asked)
		}
	}
	if s := c.Ring(0).Stats(); s.Interrupts != 2 {
		t.Errorf("counted %+v", s)
	}
}

func TestWriteWaitsForRoom(t *testing.T) {
	c, p := connect(t, client.Config{RingSize: 4, BufferSize: 100})
	var frames [][]byte
	for i := range 100 {
		frames = append(frames, pattern(i, 150))
	}
	wrote := make(chan error, 1)
	go func() {
		n, err := c.Ring(0).WriteContext(within(t), frames)
		if n != len(frames) {
			err = errors.Join(err, fmt.Errorf("%d were sent", n))
		}
		wrote <- err
	}()
	var got [][]byte
	eventually(t, "all frames come", func() bool {
		more, err := p.collect(0)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, more...)
		return len(got) >= len(frames)
	})
	if err := <-wrote; err != nil || !same(got, frames) {
		t.Errorf("%d frames, %v", len(got), err)
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	for _, polling := range []bool{false, true} {
		c, _ := connect(t, client.Config{RingSize: 4, Polling: polling})
		ctx, cancel := context.WithCancel(context.Background())
		var side sync.WaitGroup
		side.Go(func() {
			if n, err := c.Ring(0).ReadContext(ctx, client.Buffers(1, 100)); n != 0 || !errors.Is(err, context.Canceled) {
				t.Errorf("read %d, %v", n, err)
			}
		})
		side.Go(func() {
			frames := make([][]byte, 6)
			for i := range frames {
				frames[i] = pattern(i, 60)
			}
			if n, err := c.Ring(0).WriteContext(ctx, frames); n != 4 || !errors.Is(err, context.Canceled) {
				t.Errorf("wrote %d, %v", n, err)
			}
			if n, err := c.Ring(0).WriteContext(ctx, frames); n != 0 || !errors.Is(err, context.Canceled) {
				t.Errorf("wrote %d, %v", n, err)
			}
		})
		eventually(t, "the ring is full", func() bool { return c.Ring(0).Stats().Sent == 4 })
		cancel()
		side.Wait()
		if err := c.Err(); err != nil {
			t.Errorf("the connection ended: %v", err)
		}
	}
}

// TestServerLeaves with a reason and without: what it delivered is read first.
func TestServerLeaves(t *testing.T) {
	for _, reason := range []string{"", "the port was deleted"} {
		c, p := connect(t, client.Config{RingSize: 4})
		p.deliver(0, false, pattern(1, 60))
		if reason != "" {
			if err := p.control.Send(wire.Disconnect{Reason: reason}, -1); err != nil {
				t.Fatal(err)
			}
		}
		p.control.Close()
		<-c.Done()
		bufs := client.Buffers(2, 100)
		if n, err := c.Ring(0).ReadContext(within(t), bufs); err != nil || !same(bufs[:n], [][]byte{pattern(1, 60)}) {
			t.Errorf("what was delivered: %d, %v", n, err)
		}
		var gone *client.DisconnectedError
		for name, try := range map[string]func() (int, error){
			"Read":         func() (int, error) { return c.Ring(0).Read(bufs) },
			"ReadContext":  func() (int, error) { return c.Ring(0).ReadContext(within(t), bufs) },
			"Write":        func() (int, error) { return c.Ring(0).Write(bufs) },
			"WriteContext": func() (int, error) { return c.Ring(0).WriteContext(within(t), bufs) },
		} {
			if n, err := try(); n != 0 || !errors.As(err, &gone) || gone.Reason != reason {
				t.Errorf("%s: %d, %v", name, n, err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := c.Err(); !errors.As(err, &gone) {
			t.Errorf("after Close: %v", err)
		}
		if _, err := c.Ring(0).Read(bufs); !errors.Is(err, client.ErrClosed) {
			t.Errorf("Read after Close: %v", err)
		}
	}
}

// TestServerLeavesSleepers: whoever waits at that moment returns.
func TestServerLeavesSleepers(t *testing.T) {
	c, p := connect(t, client.Config{RingSize: 4})
	read := make(chan error, 1)
	go func() {
		_, err := c.Ring(0).ReadContext(within(t), client.Buffers(1, 100))
		read <- err
	}()
	eventually(t, "the reader sleeps", func() bool { return !p.s2c[0].Masked() })
	p.control.Close()
	var gone *client.DisconnectedError
	if err := <-read; !errors.As(err, &gone) {
		t.Error(err)
	}
}

func TestServerIsToldOfClose(t *testing.T) {
	c, p := connect(t, client.Config{RingSize: 4})
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	m, _, err := recv(p)
	if d, ok := m.(wire.Disconnect); !ok || d.Reason == "" {
		t.Errorf("the server heard %+v, %v", m, err)
	}
	if err := c.Err(); !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
}

// TestServerTalksOutOfTurn after the handshake.
func TestServerTalksOutOfTurn(t *testing.T) {
	c, p := connect(t, client.Config{RingSize: 4})
	if err := p.control.Send(wire.Ack{}, -1); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := c.Err(); !errors.Is(err, client.ErrServer) {
		t.Error(err)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen that %s", what)
		}
	}
}

func yield() { time.Sleep(20 * time.Microsecond) }

func label(size int) string { return fmt.Sprintf("%dB", size) }
