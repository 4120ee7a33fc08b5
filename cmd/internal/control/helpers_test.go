package control

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/api/apitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// quiet is a configuration for tests.
func quiet(dir string) Config {
	return Config{RunDir: dir, NIC: "eth0", Log: log.New(io.Discard, "", 0)}
}

// start serves until the test ends. change may spoil the server before that.
func start(t *testing.T, cfg Config, service api.Service, change ...func(*Server)) *Server {
	t.Helper()
	s, err := Listen(cfg)
	must(t, err)
	for _, c := range change {
		c(s)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(service) }()
	t.Cleanup(func() {
		if err := s.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// connected is a client of a server with a Service in memory.
func connected(t *testing.T, service api.Service, change ...func(*Server)) (*Client, string) {
	t.Helper()
	dir := t.TempDir()
	start(t, quiet(dir), service, change...)
	c := NewClient(dir, "eth0")
	t.Cleanup(c.Close)
	return c, dir
}

// nobody makes the server take everybody for somebody who may only read.
func nobody(s *Server) {
	s.peerOf = func(*net.UnixConn) peer { return peer{uid: 65534, ok: true} }
}

// ask sends a request as curl would and returns status and body.
func ask(t *testing.T, dir, method, path, body string) (int, string) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", SocketPath(dir, "eth0"))
	}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://x"+path, strings.NewReader(body))
	must(t, err)
	resp, err := transport.RoundTrip(req)
	must(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	must(t, err)
	if ct := resp.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("%s %s: content type %q", method, path, ct)
	}
	return resp.StatusCode, string(data)
}

// dial opens a bare connection.
func dial(t *testing.T, dir string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: SocketPath(dir, "eth0"), Net: "unix"})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func spec(name, ip string) api.PortSpec {
	p, err := api.ParseIP(ip)
	if err != nil {
		panic(err)
	}
	s := api.PortSpec{Name: name, NetNS: name}
	s.IPs = append(s.IPs, p)
	return s
}

// gate holds every call of a method until it is opened.
type gate struct {
	method  string
	entered chan struct{}
	open    chan struct{}
}

func newGate(method string) *gate {
	return &gate{method: method, entered: make(chan struct{}, 100), open: make(chan struct{})}
}

func (g *gate) before(ctx context.Context, method string) error {
	if method != g.method {
		return nil
	}
	g.entered <- struct{}{}
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func service() *apitest.Service { return &apitest.Service{NIC: "eth0"} }

// until waits for a condition that some other process or thread brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func hasFile(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// readAll reads what comes until the other end hangs up.
func readAll(t *testing.T, c net.Conn) string {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	var b bytes.Buffer
	if _, err := b.ReadFrom(c); err != nil && b.Len() == 0 {
		t.Fatalf("the server neither answered nor hung up: %v", err)
	}
	return b.String()
}
