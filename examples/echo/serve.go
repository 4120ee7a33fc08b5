package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

// batch is how many frames are read and written at once.
const batch = 64

// server serves all endpoints.
type server struct {
	port     uint16
	polling  bool
	out, log io.Writer

	mu    sync.Mutex // of all below, and of the writers
	total int
	up    int
	ready bool
}

// serve keeps a session for each endpoint until ctx ends. It starts all or none.
func (s *server) serve(ctx context.Context, endpoints []client.Endpoint, secret string) (err error) {
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer running.Wait()
	defer cancel()
	for _, e := range endpoints {
		session, err := s.open(e, secret)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
		running.Go(func() {
			defer session.Close()
			s.answer(ctx, session, newHost(e, s.port))
		})
	}
	<-ctx.Done()
	return nil
}

func (s *server) open(e client.Endpoint, secret string) (*client.Session, error) {
	if e.SecretRequired && secret == "" {
		return nil, errors.New("the port wants a secret: give it with --secret-file")
	}
	cfg := e.Config(secret)
	cfg.Name, cfg.Polling = "echo", s.polling
	return client.NewSession(client.SessionConfig{
		Config:  cfg,
		Changed: func(ev client.Event) { s.tell(e.Name, ev) },
	})
}

// tell says what changed, and once that everything is up.
func (s *server) tell(name string, e client.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Conn != nil {
		s.up++
		if s.up == s.total && !s.ready {
			s.ready = true
			fmt.Fprintf(s.out, "ready: %d connected\n", s.up)
		}
		return
	}
	if e.Failures == 0 {
		s.up--
	}
	if e.Failures < 2 { // the first of a row says it
		fmt.Fprintf(s.log, "echo: %s: %v; trying again\n", name, e.Err)
	}
}

// answer serves one session, connection after connection.
func (s *server) answer(ctx context.Context, session *client.Session, h *host) {
	for {
		conn, err := session.Conn(ctx)
		if err != nil {
			return
		}
		var rings sync.WaitGroup
		for i := range conn.Rings() {
			rings.Go(func() { echo(ctx, conn.Ring(i), h) })
		}
		rings.Wait()
		if ctx.Err() != nil {
			return
		}
	}
}

// echo answers what comes over a ring, on the same ring, until it ends. Answers
// that find no room are dropped, as on any network.
func echo(ctx context.Context, r *client.Ring, h *host) {
	bufs := client.Buffers(batch, h.room)
	answers := make([][]byte, 0, batch)
	for {
		n, err := r.ReadContext(ctx, bufs)
		if err != nil {
			return
		}
		answers = answers[:0]
		for _, f := range bufs[:n] {
			if a := h.answer(f); a != nil {
				answers = append(answers, a)
			}
		}
		if _, err := r.Write(answers); err != nil {
			return
		}
	}
}
