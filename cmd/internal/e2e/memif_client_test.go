package e2e

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

func writeFile(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }

// clientConfig is what a Go program makes of an endpoint.
func clientConfig(e api.Endpoint, secret string) client.Config {
	cfg := client.Config{Socket: e.SocketPath, ID: e.ID, Secret: secret, Rings: e.Rings, RingSize: e.RingSize, BufferSize: e.BufferSize, Name: "e2e"}
	if e.Abstract {
		cfg.Socket = "@" + e.SocketPath
	}
	return cfg
}

func dialMemif(t *testing.T, e api.Endpoint, secret string) (*client.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return client.Dial(ctx, clientConfig(e, secret))
}

// echoes answers ARP, neighbour solicitations and echo requests on all rings of
// a port, and comes back whenever its connection ends, until the test does.
func echoes(t *testing.T, e api.Endpoint) {
	t.Helper()
	s, err := client.NewSession(client.SessionConfig{Config: clientConfig(e, ""), MinPause: 20 * time.Millisecond, MaxPause: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r := &responder{t: t, mac: mac(e.MAC)}
	for _, ip := range e.IPs {
		if ip.Addr().Is4() {
			r.v4 = ip.Addr()
		} else {
			r.v6 = ip.Addr()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var rings sync.WaitGroup
	for i := range e.Rings {
		rings.Go(func() { r.serve(ctx, s, i) })
	}
	t.Cleanup(func() {
		cancel()
		rings.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// serve answers on one ring of whatever connection is up.
func (r *responder) serve(ctx context.Context, s *client.Session, ring int) {
	bufs := client.Buffers(64, 2048)
	for ctx.Err() == nil {
		conn, err := s.Conn(ctx)
		if errors.Is(err, context.Canceled) || errors.Is(err, client.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		for err == nil {
			var n int
			if n, err = conn.Ring(ring).ReadContext(ctx, bufs); err == nil {
				_, err = conn.Ring(ring).WriteContext(ctx, r.answers(bufs[:n]))
			}
		}
	}
}

func (r *responder) answers(frames [][]byte) (out [][]byte) {
	for _, f := range frames {
		if a := r.seen(0, f); a != nil {
			out = append(out, a)
		}
	}
	return out
}
