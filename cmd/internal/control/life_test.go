package control

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// Clients that come before the daemon is ready wait for it.
func TestListenBeforeServe(t *testing.T) {
	dir := t.TempDir()
	s, err := Listen(quiet(dir))
	must(t, err)
	c := NewClient(dir, "eth0")
	defer c.Close()
	answered := make(chan error, 1)
	go func() { answered <- second(c.Status(context.Background())) }()
	conn := dial(t, dir)
	served := make(chan error, 1)
	go func() { served <- s.Serve(service()) }()
	must(t, <-answered, conn.Close(), s.Shutdown(t.Context()), <-served)
}

// Shutdown waits for what is under way, and then nobody finds the socket.
func TestShutdownWaits(t *testing.T) {
	dir := t.TempDir()
	fake, g := service(), newGate("Ports")
	fake.Before = g.before
	s := start(t, quiet(dir), fake)
	c := NewClient(dir, "eth0")
	defer c.Close()
	answered := make(chan error, 1)
	go func() { answered <- second(c.Ports(context.Background())) }()
	<-g.entered
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	until(t, "no new requests", func() bool { return !listens(SocketPath(dir, "eth0")) })
	if !hasFile(dir, "eth0.lock") {
		t.Error("the lock went before the request")
	}
	close(g.open)
	must(t, <-answered, <-down)
	if Remains(dir, "eth0") {
		t.Error("something remains")
	}
}

// A service that hangs does not keep the daemon from ending.
func TestShutdownBreaksOff(t *testing.T) {
	dir := t.TempDir()
	fake, g := service(), newGate("Ports")
	fake.Before = g.before
	s := start(t, quiet(dir), fake)
	c := NewClient(dir, "eth0")
	defer c.Close()
	answered := make(chan error, 1)
	go func() { answered <- second(c.Ports(context.Background())) }()
	<-g.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, s.Shutdown(ctx))
	if err := <-answered; api.CodeOf(err) != api.CodeFailed {
		t.Errorf("the client got %v", err)
	}
	if Remains(dir, "eth0") {
		t.Error("something remains")
	}
}

// Who hangs up stops an add, which is undone, but never a detach.
func TestHangingUp(t *testing.T) {
	for method, want := range map[string]error{"Add": context.Canceled, "Detach": nil} {
		t.Run(method, func(t *testing.T) {
			fake, g := service(), newGate(method)
			ended := make(chan error, 1)
			fake.Before = func(ctx context.Context, m string) error {
				err := g.before(ctx, m)
				ended <- err
				return err
			}
			c, _ := connected(t, fake)
			ctx, hangUp := context.WithCancel(t.Context())
			answered := make(chan error, 1)
			go func() {
				if method == "Add" {
					answered <- second(c.Add(ctx, []api.PortSpec{spec("a", "10.0.0.1/24")}))
					return
				}
				answered <- c.Detach(ctx)
			}()
			<-g.entered
			hangUp()
			if err := <-answered; api.CodeOf(err) != api.CodeFailed || !strings.Contains(err.Error(), "gave up waiting") {
				t.Errorf("the client got %v", err)
			}
			if want == nil {
				close(g.open)
			}
			if err := <-ended; !errors.Is(err, want) {
				t.Errorf("the service got %v, want %v", err, want)
			}
		})
	}
}

func TestWaitGone(t *testing.T) {
	dir := t.TempDir()
	s := start(t, quiet(dir), service())
	c := NewClient(dir, "eth0")
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := c.WaitGone(ctx); api.CodeOf(err) != api.CodeFailed || !strings.Contains(err.Error(), "does not end") {
		t.Errorf("got %v", err)
	}
	gone := make(chan error, 1)
	go func() { gone <- c.WaitGone(context.Background()) }()
	must(t, s.Shutdown(t.Context()), <-gone)
}

func TestNoDaemon(t *testing.T) {
	dir := t.TempDir()
	c := NewClient(dir, "eth0")
	defer c.Close()
	check := func(what string) {
		t.Helper()
		_, err := c.Status(t.Context())
		if api.CodeOf(err) != api.CodeNoDaemon || !strings.Contains(err.Error(), "xdpdemux attach eth0") {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("no socket")
	leaveStale(t, dir)
	check("a dead one's socket")
}

// A user who may not open the socket is told that, and not that no daemon runs.
func TestForbiddenSocket(t *testing.T) {
	dir := t.TempDir()
	start(t, quiet(dir), service())
	path := SocketPath(dir, "eth0")
	must(t, os.Chmod(path, 0))
	checked := make(chan struct{})
	go func() {
		defer close(checked)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if os.Geteuid() == 0 {
			_ = unix.Setfsuid(65534) // takes CAP_DAC_OVERRIDE from this thread
		}
		_, err := net.Dial("unix", path)
		if err = NewClient(dir, "eth0").unreachable(err); api.CodeOf(err) != api.CodePermission {
			t.Errorf("got %v", err)
		}
		if !listens(path) {
			t.Error("the daemon counts as dead")
		}
	}()
	<-checked
}

func TestDaemonThatHangsUp(t *testing.T) {
	dir := t.TempDir()
	s, err := Listen(quiet(dir))
	must(t, err)
	defer s.Shutdown(t.Context())
	go func() {
		if c, err := s.socket.listener.AcceptUnix(); err == nil {
			c.Close()
		}
	}()
	c := NewClient(dir, "eth0")
	defer c.Close()
	if err := c.Delete(t.Context(), []string{"a"}); api.CodeOf(err) != api.CodeFailed || !strings.Contains(err.Error(), "did not answer") {
		t.Errorf("got %v", err)
	}
}
