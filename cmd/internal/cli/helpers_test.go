package cli

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"log"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/api/apitest"
	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
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

// shell runs commands in a world of its own.
type shell struct {
	dir      string // run directory, and state under it
	env      map[string]string
	files    map[string]string
	stdin    string
	terminal bool
	machine  Machine
}

func newShell(t *testing.T) *shell {
	return &shell{dir: t.TempDir(), env: map[string]string{}, files: map[string]string{}}
}

// result is how a command ended.
type result struct {
	code     int
	out, err string
}

func (s *shell) run(t *testing.T, args ...string) result {
	t.Helper()
	return s.runIn(t.Context(), t, args...)
}

func (s *shell) runIn(ctx context.Context, t *testing.T, args ...string) result {
	t.Helper()
	var out, err bytes.Buffer
	code := Run(ctx, Env{
		Args: args, Stdin: strings.NewReader(s.stdin), Stdout: &out, Stderr: &err, Terminal: s.terminal,
		Getenv: s.getenv, ReadFile: s.readFile, Machine: s.machine,
	})
	r := result{code, out.String(), err.String()}
	checkForm(t, args, r)
	return r
}

// checkForm holds for every command that was ever run: an error is one line on
// standard error, and a success is silent there.
func checkForm(t *testing.T, args []string, r result) {
	t.Helper()
	oneLine := strings.HasPrefix(r.err, "xdpdemux: ") && strings.Count(r.err, "\n") == 1 && strings.HasSuffix(r.err, "\n")
	if (r.code == ExitOK) != (r.err == "") || r.code != ExitOK && !oneLine {
		t.Errorf("%q ended with %d and said %q", args, r.code, r.err)
	}
}

func (s *shell) getenv(key string) string {
	if key == "XDPDEMUX_RUN_DIR" {
		return s.dir
	}
	if key == "XDPDEMUX_STATE_DIR" {
		return s.dir + "/state"
	}
	return s.env[key]
}

func (s *shell) readFile(path string) ([]byte, error) {
	if text, ok := s.files[path]; ok {
		return []byte(text), nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

// ok runs a command that must succeed and returns what it printed.
func (s *shell) ok(t *testing.T, args ...string) string {
	t.Helper()
	r := s.run(t, args...)
	if r.code != ExitOK {
		t.Fatalf("%q ended with %d: %s", args, r.code, r.err)
	}
	return r.out
}

// anyStderr is ok for cobra's own completion, which explains itself on
// standard error.
func (s *shell) anyStderr(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if code := Run(t.Context(), Env{Args: args, Stdout: &out, Stderr: io.Discard, Getenv: s.getenv, ReadFile: s.readFile}); code != ExitOK {
		t.Fatalf("%q ended with %d", args, code)
	}
	return out.String()
}

// fails runs a command that must end in a certain way.
func (s *shell) fails(t *testing.T, code int, want string, args ...string) {
	t.Helper()
	r := s.run(t, args...)
	if r.code != code || !strings.Contains(r.err, want) {
		t.Errorf("%q ended with %d and said %q, want %d and %q", args, r.code, r.err, code, want)
	}
}

// daemon serves a fake one for nic until the test ends.
func (s *shell) daemon(t *testing.T, nic string) *apitest.Service {
	t.Helper()
	fake := &apitest.Service{NIC: nic}
	server, err := control.Listen(control.Config{RunDir: s.dir, NIC: nic, Log: log.New(io.Discard, "", 0)})
	must(t, err)
	served, leave := make(chan error, 1), make(chan struct{})
	fake.Detached = func() { close(leave) }
	go func() { served <- server.Serve(fake) }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-leave:
		case <-t.Context().Done():
		}
		if err := server.Shutdown(context.Background()); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	}()
	t.Cleanup(func() {
		<-done
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return fake
}

// strict reads JSON that holds nothing but what v has.
func strict(t *testing.T, text string, v any) {
	t.Helper()
	if err := api.DecodeStrict([]byte(text), v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// golden compares with a file in testdata; -update writes it.
func golden(t *testing.T, path, got string, update bool) {
	t.Helper()
	if update {
		must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if got != string(want) {
		t.Errorf("%s is not what is printed; go generate ./cmd/... writes it anew. Got:\n%s", path, got)
	}
}
