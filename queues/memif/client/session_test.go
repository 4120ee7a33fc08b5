package client_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// events collects what a session tells.
type events struct {
	mu   sync.Mutex
	list []client.Event
}

func (e *events) add(ev client.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
}

func (e *events) all() []client.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]client.Event(nil), e.list...)
}

func session(t *testing.T, cfg client.SessionConfig) (*client.Session, *events) {
	t.Helper()
	e := &events{}
	cfg.Changed = e.add
	cfg.MinPause, cfg.MaxPause = time.Millisecond, 8*time.Millisecond
	s, err := client.NewSession(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, e
}

// TestSessionConnectsAgain whenever the server leaves or the user closes, and
// hands out the new connection only.
func TestSessionConnectsAgain(t *testing.T) {
	srv := listen(t)
	accepted := srv.accept()
	s, told := session(t, client.SessionConfig{Config: client.Config{Socket: srv.socket, RingSize: 4}})
	var last *client.Conn
	for i := range 6 {
		c, err := s.Conn(within(t))
		if err != nil {
			t.Fatal(err)
		}
		p := <-accepted
		if p.err != nil {
			t.Fatal(p.err)
		}
		if c == last {
			t.Fatal("the connection that ended was handed out again")
		}
		last = c
		if n, err := c.Ring(0).Write([][]byte{pattern(i, 60)}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if got, err := p.collect(0); err != nil || !same(got, [][]byte{pattern(i, 60)}) {
			t.Fatalf("%d frames, %v", len(got), err)
		}
		accepted = srv.accept()
		if i%2 == 0 {
			p.control.Close()
		} else {
			c.Close()
		}
		<-c.Done()
	}
	// A connection is handed out before it is told of; behind Close everything was.
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	up, down := 0, 0
	for _, e := range told.all() {
		switch {
		case e.Conn != nil && e.Err == nil:
			up++
		case e.Conn == nil && e.Err != nil && e.Next > 0:
			down++
		default:
			t.Errorf("event %+v", e)
		}
	}
	if up < 6 || down < 5 {
		t.Errorf("%d times up, %d times down", up, down)
	}
	if _, err := s.Conn(within(t)); !errors.Is(err, client.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	srv.l.Close()
	<-accepted
}

// TestSessionWaitsForItsServer: attempts fail, in growing pauses, until there is
// one.
func TestSessionWaitsForItsServer(t *testing.T) {
	srv := listen(t)
	srv.l.SetUnlinkOnClose(false)
	srv.l.Close()
	s, told := session(t, client.SessionConfig{Config: client.Config{Socket: srv.socket, RingSize: 4}})
	eventually(t, "several attempts fail", func() bool { return len(told.all()) >= 6 })
	for i, e := range told.all() {
		longest := min(time.Millisecond<<i, 8*time.Millisecond)
		if e.Failures != i+1 || e.Err == nil || e.Next > longest || e.Next < longest*3/4-1 {
			t.Errorf("attempt %d: %+v", i, e)
		}
	}
	if err := os.Remove(srv.socket); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: srv.socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	srv.l = l
	accepted := srv.accept()
	if _, err := s.Conn(within(t)); err != nil {
		t.Fatal(err)
	}
	if p := <-accepted; p.err != nil {
		t.Error(p.err)
	}
}

// TestSessionTellsOfRefusals as the server gave them.
func TestSessionTellsOfRefusals(t *testing.T) {
	srv := listen(t)
	srv.answer = func(m wire.Message) wire.Message {
		if is[wire.Init](m) {
			return wire.Disconnect{Reason: "Incorrect secret"}
		}
		return nil
	}
	accepted := srv.accept()
	_, told := session(t, client.SessionConfig{Config: client.Config{Socket: srv.socket, RingSize: 4}})
	eventually(t, "it is refused", func() bool { return len(told.all()) > 0 })
	var refused *client.RefusedError
	if err := told.all()[0].Err; !errors.As(err, &refused) || refused.Reason != "Incorrect secret" {
		t.Errorf("told of %v", err)
	}
	<-accepted
}

// TestSessionClosesWhileItConnects to a server that does not answer.
func TestSessionClosesWhileItConnects(t *testing.T) {
	srv := listen(t)
	hang, reached := make(chan struct{}), make(chan struct{})
	srv.answer = func(m wire.Message) wire.Message {
		if is[wire.Init](m) {
			close(reached)
			<-hang
		}
		return nil
	}
	accepted := srv.accept()
	s, _ := session(t, client.SessionConfig{Config: client.Config{Socket: srv.socket, RingSize: 4}})
	ctx, cancel := context.WithCancel(context.Background())
	waiting := make(chan error, 2)
	for _, ctx := range []context.Context{ctx, within(t)} {
		go func() {
			_, err := s.Conn(ctx)
			waiting <- err
		}()
	}
	<-reached
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-waiting; !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
	close(hang)
	<-accepted
}

func TestSessionConfigurations(t *testing.T) {
	for _, c := range []struct {
		cfg client.SessionConfig
		why string
	}{
		{client.SessionConfig{}, "no socket"},
		{client.SessionConfig{Config: client.Config{Socket: "s", RingSize: 3}}, "ring size 3"},
		{client.SessionConfig{Config: client.Config{Socket: "s"}, MinPause: -1}, "pauses of -1ns"},
		{client.SessionConfig{Config: client.Config{Socket: "s"}, MinPause: time.Minute}, "pauses of 1m0s to 5s"},
		{client.SessionConfig{Config: client.Config{Socket: "s"}, Timeout: -1}, "timeout of -1ns"},
	} {
		s, err := client.NewSession(c.cfg)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.why)
		}
	}
}
