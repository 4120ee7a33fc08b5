package control

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// Config of a Server. RunDir and NIC are needed; a zero limit means its default.
type Config struct {
	// RunDir is made (0755) if it is not there.
	RunDir string
	// NIC names the socket.
	NIC string
	// MaxBody is the longest request in bytes (32 MiB: 65,000 ports).
	MaxBody int64
	// MaxConns is the most connections at once of those who may do everything
	// (128); those who may only read get a quarter of it on top.
	MaxConns int
	// Timeout is how long a request may take to arrive, and an answer to be
	// taken (30 s). How long the daemon works on it is not bounded.
	Timeout time.Duration
	// Log hears of broken connections and of handlers that panic; nil is the
	// standard logger.
	Log *log.Logger
}

func (c Config) withDefaults() Config {
	if c.MaxBody == 0 {
		c.MaxBody = 32 << 20
	}
	if c.MaxConns == 0 {
		c.MaxConns = 128
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	return c
}

// Server is a daemon's control socket.
type Server struct {
	cfg    Config
	socket *socket
	http   *http.Server
	closed atomic.Bool
	peerOf func(*net.UnixConn) peer // tests replace it
}

// Listen makes the socket. From now on no other daemon can have this NIC, and
// clients can connect; they wait until Serve. If there is a daemon already, the
// error is CodeConflict.
func Listen(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	socket, err := listen(cfg.RunDir, cfg.NIC)
	if err != nil {
		return nil, err
	}
	return &Server{cfg: cfg, socket: socket, peerOf: peerOf, http: &http.Server{
		ReadTimeout:    cfg.Timeout,
		IdleTimeout:    cfg.Timeout,
		MaxHeaderBytes: 256 << 10,
		ErrorLog:       cfg.Log,
		ConnContext:    withPeer,
	}}, nil
}

// Serve answers for service until Shutdown, and then returns nil. It is called
// once.
func (s *Server) Serve(service api.Service) error {
	s.http.Handler = newHandler(service, s.cfg)
	err := s.http.Serve(&listener{s.socket.listener, newBudget(s.cfg.MaxConns), s.peerOf, make(chan struct{}, maxRefusing)})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown takes no new requests, waits for those under way until ctx ends,
// then breaks them off, and removes the socket. That somebody was hung up on, who
// may never have finished his request, is no error. It also ends a Server that
// never served. Another daemon may have the NIC as soon as the socket is gone,
// so let go of everything else before. A second call does nothing.
func (s *Server) Shutdown(ctx context.Context) error {
	if s.closed.Swap(true) {
		return nil
	}
	var err error
	if s.http.Shutdown(ctx) != nil {
		err = s.http.Close()
	}
	closeErr := s.socket.listener.Close()
	if errors.Is(closeErr, net.ErrClosed) {
		closeErr = nil // by Shutdown, if Serve ran
	}
	return errors.Join(err, closeErr, s.socket.remove())
}
