package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// SessionConfig says how to keep a connection up. Only Socket is needed.
type SessionConfig struct {
	Config
	// MinPause is how long the first attempt waits after a connection ended
	// or an attempt failed; each failure in a row doubles it up to MaxPause.
	// Default: 100 ms and 5 s. Each pause is up to a quarter shorter, by
	// chance, so that many clients of one server spread.
	MinPause, MaxPause time.Duration
	// Timeout is how long one attempt may take. Default: 10 s.
	Timeout time.Duration
	// Changed, if set, is told of every change, in order, by one goroutine.
	// What it takes delays the next attempt. It must not Close the session.
	Changed func(Event)
}

// Event is a change of a session.
type Event struct {
	// Conn is the connection that is up now. Nil: there is none.
	Conn *Conn
	// Err is why there is none.
	Err error
	// Failures counts the attempts that failed since the last connection.
	Failures int
	// Next is how long the next attempt waits.
	Next time.Duration
}

// Session keeps a connection up: whenever it ends, the session closes it and
// makes another. Its methods may be called by any goroutine.
type Session struct {
	cfg    SessionConfig
	cancel context.CancelFunc
	gone   chan struct{} // closed once nothing of the session is left
	closed error         // what Close returns; written before gone is closed

	mu      sync.Mutex
	conn    *Conn         // that is up, or nil
	changed chan struct{} // closed at the next change, and replaced
}

// NewSession starts to connect, and returns at once. Only a configuration that
// can never work is an error.
func NewSession(cfg SessionConfig) (*Session, error) {
	cfg.Config = cfg.Config.withDefaults()
	cfg.MinPause = or(cfg.MinPause, 100*time.Millisecond)
	cfg.MaxPause = or(cfg.MaxPause, 5*time.Second)
	cfg.Timeout = or(cfg.Timeout, 10*time.Second)
	if err := cfg.Config.check(); err != nil {
		return nil, fmt.Errorf("memif: %w", err)
	}
	if cfg.MinPause < 0 || cfg.MaxPause < cfg.MinPause || cfg.Timeout < 0 {
		return nil, fmt.Errorf("memif: pauses of %v to %v and a timeout of %v: none may be negative, nor the first pause longer than the last",
			cfg.MinPause, cfg.MaxPause, cfg.Timeout)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Session{cfg: cfg, cancel: cancel, gone: make(chan struct{}), changed: make(chan struct{})}
	go s.run(ctx)
	return s, nil
}

// Conn returns the connection that is up, and waits for one as long as there is
// none. Use it until it returns an error, and then ask for the next one. It is
// the session's to close; closing it makes the session connect anew. After
// Close the error is ErrClosed.
func (s *Session) Conn(ctx context.Context) (*Conn, error) {
	for {
		conn, changed := s.current()
		if conn != nil && conn.Err() == nil {
			return conn, nil
		}
		select {
		case <-changed:
		case <-s.gone:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *Session) current() (*Conn, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn, s.changed
}

// Close ends the session and its connection, as Conn.Close does. A second call
// does nothing.
func (s *Session) Close() error {
	s.cancel()
	<-s.gone
	return s.closed
}

func (s *Session) run(ctx context.Context) {
	defer close(s.gone)
	pause := s.cfg.MinPause
	for failures := 0; ; {
		began := time.Now()
		err := s.once(ctx, &failures)
		if ctx.Err() != nil {
			return
		}
		if failures == 0 && time.Since(began) > s.cfg.MaxPause {
			pause = s.cfg.MinPause // it held for a while
		}
		next := pause - rand.N(pause/4+1)
		s.tell(Event{Err: err, Failures: failures, Next: next})
		if !sleep(ctx, next) {
			return
		}
		pause = min(2*pause, s.cfg.MaxPause)
	}
}

// once makes one connection and stays until it has ended. The error says why it
// did, or why there was none.
func (s *Session) once(ctx context.Context, failures *int) error {
	limited, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	conn, err := Dial(limited, s.cfg.Config)
	cancel()
	if err != nil {
		*failures++
		return err
	}
	*failures = 0
	s.show(conn)
	s.tell(Event{Conn: conn})
	select {
	case <-conn.Done():
	case <-ctx.Done():
	}
	s.show(nil)
	s.closed = conn.Close()
	return conn.Err()
}

func (s *Session) show(conn *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Session) tell(e Event) {
	if s.cfg.Changed != nil {
		s.cfg.Changed(e)
	}
}

// sleep says false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
