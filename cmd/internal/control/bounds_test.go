package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

func TestReadersOnlyRead(t *testing.T) {
	fake := service()
	c, dir := connected(t, fake, nobody)
	_, err := fake.Add(t.Context(), []api.PortSpec{spec("a", "10.0.0.1/24")})
	must(t, err)
	for _, path := range []string{"/v1/status", "/v1/ports", "/v1/stats"} {
		if status, body := ask(t, dir, "GET", path, ""); status != 200 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	mtu := 1400
	for what, err := range map[string]error{
		"add":    second(c.Add(t.Context(), []api.PortSpec{spec("b", "10.0.0.2/24")})),
		"set":    second(c.Set(t.Context(), "a", api.Patch{MTU: &mtu})),
		"apply":  second(c.Apply(t.Context(), api.ApplyRequest{})),
		"delete": c.Delete(t.Context(), []string{"a"}),
		"detach": c.Detach(t.Context()),
	} {
		if api.CodeOf(err) != api.CodePermission || !strings.Contains(err.Error(), "use sudo") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if status, _ := ask(t, dir, "DELETE", "/v1/ports/a", ""); status != http.StatusForbidden {
		t.Errorf("status %d", status)
	}
	if ports, _ := fake.Ports(t.Context()); len(ports) != 1 || ports[0].MTU != 0 {
		t.Errorf("something changed: %+v", ports)
	}
}

func second[T any](_ T, err error) error { return err }

func TestWhoMayChange(t *testing.T) {
	for _, c := range []struct {
		p    peer
		want bool
	}{{peer{0, true}, true}, {peer{os.Geteuid(), true}, true}, {peer{65533, true}, false}, {peer{}, false}, {peer{0, false}, false}} {
		if got := c.p.mayChange(); got != c.want {
			t.Errorf("%+v: %v", c.p, got)
		}
	}
}

// The kernel's word on a user without rights, who shares the socket's group.
func TestRealCredentials(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SETUID to become another user")
	}
	nictest.Require(t, "curl")
	dir, err := os.MkdirTemp("", "xdt-control")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	start(t, quiet(dir), service())
	for gid, want := range map[uint32]string{0: "200 403", 65534: "000 000"} {
		got := fmt.Sprint(curlAs(t, gid, dir, "GET", "/v1/status"), " ", curlAs(t, gid, dir, "POST", "/v1/detach"))
		if got != want {
			t.Errorf("with group %d: %s, want %s", gid, got, want)
		}
	}
}

// curlAs is the HTTP status that user 65534 gets; 000 without a connection.
func curlAs(t *testing.T, gid uint32, dir, method, path string) string {
	t.Helper()
	cmd := exec.Command("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method,
		"--unix-socket", SocketPath(dir, "eth0"), "http://x"+path)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: gid}}
	out, err := cmd.Output()
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	return string(out)
}

func TestOversizeRequest(t *testing.T) {
	dir := t.TempDir()
	cfg := quiet(dir)
	cfg.MaxBody = 1000
	start(t, cfg, service())
	status, body := ask(t, dir, "POST", "/v1/ports", `{"ports":[`+strings.Repeat(" ", 2000)+`]}`)
	if status != http.StatusInsufficientStorage || !strings.Contains(body, "longer than 1000 bytes") {
		t.Errorf("%d %s", status, body)
	}
}

// Who sends slowly, or nothing, is hung up on; others are served meanwhile.
func TestSlowRequests(t *testing.T) {
	dir := t.TempDir()
	cfg := quiet(dir)
	cfg.Timeout = 3 * time.Second // an honest request of a busy machine arrives in less
	start(t, cfg, service())
	for name, head := range map[string]string{
		"nothing":       "",
		"half a header": "POST /v1/ports HTTP/1.1\r\nHo",
		"half a body":   "POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, dir)
			_, err := io.WriteString(c, head)
			must(t, err)
			client := NewClient(dir, "eth0")
			defer client.Close()
			_, err = client.Status(t.Context())
			must(t, err)
			if got := readToEnd(t, c); strings.Contains(got, " 200 ") {
				t.Errorf("it was answered: %s", got)
			}
		})
	}
}

// readToEnd reads until the server hangs up, which it must.
func readToEnd(t *testing.T, c net.Conn) string {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
	data, err := io.ReadAll(c)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Fatal("the server did not hang up")
	}
	return string(data)
}

func TestNoHTTP(t *testing.T) {
	_, dir := connected(t, service())
	for _, garbage := range []string{"\x00\x01\x02\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", strings.Repeat("A", 300<<10)} {
		c := dial(t, dir)
		go io.WriteString(c, garbage) // the server may hang up before it has read all
		if got := readToEnd(t, c); strings.Contains(got, " 200 ") {
			t.Errorf("%.20q was answered: %s", garbage, got)
		}
	}
}

// How long the daemon works is not bounded by how long a request may take to arrive.
func TestSlowService(t *testing.T) {
	dir := t.TempDir()
	cfg := quiet(dir)
	cfg.Timeout = 3 * time.Second // an honest request of a busy machine arrives in less
	fake := service()
	fake.Before = func(ctx context.Context, _ string) error {
		select {
		case <-time.After(2 * cfg.Timeout):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	start(t, cfg, fake)
	c := NewClient(dir, "eth0")
	defer c.Close()
	if _, err := c.Add(t.Context(), []api.PortSpec{spec("a", "10.0.0.1/24")}); err != nil {
		t.Error(err)
	}
}

// Who may only read cannot keep out who may do everything, and nobody can open
// connections without end.
func TestTooManyConnections(t *testing.T) {
	dir := t.TempDir()
	cfg := quiet(dir)
	cfg.MaxConns = 4 // and one reader
	reader := make(chan bool, 20)
	start(t, cfg, service(), func(s *Server) {
		s.peerOf = func(*net.UnixConn) peer { return peer{uid: map[bool]int{true: 65534, false: 0}[<-reader], ok: true} }
	})
	reader <- true
	first := dial(t, dir)
	reader <- true
	if got := readAll(t, dial(t, dir)); !strings.Contains(got, "503") || !strings.Contains(got, "too many connections") {
		t.Errorf("the second reader got %q", got)
	}
	for range 4 {
		reader <- false
		dial(t, dir)
	}
	reader <- false
	got := readAll(t, dial(t, dir))
	_, body, _ := strings.Cut(got, "\r\n\r\n")
	var reply api.ErrorReply
	if err := json.Unmarshal([]byte(body), &reply); err != nil || reply.Error.Code != api.CodeBusy {
		t.Errorf("the fifth got %q, %v", got, err)
	}
	must(t, first.Close())
	until(t, "a reader's place is free again", func() bool {
		reader <- true
		c := dial(t, dir)
		defer c.Close()
		_, err := io.WriteString(c, "GET /v1/status HTTP/1.0\r\n\r\n")
		return err == nil && strings.Contains(readAll(t, c), " 200 ")
	})
}

// Who does not take the answer gives the place to somebody else.
func TestAnswerNotTaken(t *testing.T) {
	dir := t.TempDir()
	cfg := quiet(dir)
	cfg.Timeout, cfg.MaxConns = 500*time.Millisecond, 1
	fake := service()
	specs := make([]api.PortSpec, 10000)
	for i := range specs {
		specs[i] = spec(fmt.Sprintf("p%d", i), fmt.Sprintf("10.%d.%d.1/16", i/256, i%256))
	}
	_, err := fake.Add(t.Context(), specs)
	must(t, err)
	start(t, cfg, fake)
	deaf := dial(t, dir)
	_, err = io.WriteString(deaf, "GET /v1/ports HTTP/1.1\r\nHost: x\r\n\r\n")
	must(t, err)
	until(t, "the place is free again", func() bool {
		c := dial(t, dir)
		defer c.Close()
		_, err := io.WriteString(c, "GET /v1/status HTTP/1.0\r\n\r\n")
		return err == nil && strings.Contains(readAll(t, c), " 200 ")
	})
}

func TestPanickingService(t *testing.T) {
	fake := service()
	fake.Before = func(_ context.Context, method string) error {
		if method == "Ports" {
			panic("a bug")
		}
		return nil
	}
	c, _ := connected(t, fake)
	if _, err := c.Ports(t.Context()); api.CodeOf(err) != api.CodeFailed {
		t.Errorf("got %v", err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("the server is gone: %v", err)
	}
}
