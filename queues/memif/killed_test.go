package memif

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// What a child process of these tests is told.
const (
	childPath  = "MEMIF_TEST_SOCKET"
	childStage = "MEMIF_TEST_STAGE"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		child(path, os.Getenv(childStage))
	}
	goleak.VerifyTestMain(m)
}

// stages are how far a child comes before it says so and waits for its death.
func stages() []string {
	return []string{"dialled", "greeted", "admitted", "region", "one ring", "rings", "connected", "under load"}
}

// child is a client in a process of its own, which does not end by itself while
// its parent lives: that holds the other end of standard input.
func child(path, stage string) {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	if err := goTo(path, stage); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	select {}
}

func goTo(path, stage string) error {
	r, err := newRaw(shm.Layout{Rings: 1, Log2: 8, BufferSize: 256})
	if err != nil {
		return err
	}
	if r.conn, err = dial(path); err != nil {
		return err
	}
	steps := map[string]func() error{
		"greeted":  func() error { _, err := r.hear(); return err },
		"admitted": r.sayInit,
		"region":   r.sayRegion,
		"one ring": func() error { return r.ask(r.ringMessage(shm.C2S, 0), r.c2s[0].bell) },
		"rings":    func() error { return r.ask(r.ringMessage(shm.S2C, 0), r.s2c[0].bell) },
		"connected": func() error {
			defer r.lend(0, r.s2c[0].Size())
			return r.sayConnect()
		},
		"under load": func() error { go load(r); return nil },
	}
	for _, name := range stages() {
		if step := steps[name]; step != nil {
			if err := step(); err != nil {
				return err
			}
		}
		if name == stage {
			break
		}
	}
	fmt.Println("ready")
	return nil
}

// load sends and receives without end.
func load(r *raw) {
	frame := make([]byte, 600)
	for {
		_ = r.send(0, frame) // full: the worker will take some
		r.take(0)
	}
}

// TestKilledClient: a client dies in each state, and under load.
func TestKilledClient(t *testing.T) {
	before := countAll(t)
	t.Run("clients", func(t *testing.T) {
		s := newTestServer(t)
		v := newVictim(t, s)
		q := openQueue(t, s, Config{})
		w := startWorker(t, q)
		for _, stage := range stages() {
			t.Run(stage, func(t *testing.T) {
				cmd := startChild(t, q, stage)
				if stage == "under load" {
					seen := w.collected.Load()
					eventually(t, "frames of the child come", func() bool { return w.collected.Load() > seen+100 })
				}
				v.passes(t, 20)
				kill(t, cmd)
				eventually(t, "the server has noticed", func() bool { return q.connections() == 0 })
				v.passes(t, 20)
			})
			serves(t, q)
		}
		w.end()
		v.end(t)
	})
	before.settle(t)
}

// connections counts those that have not ended.
func (q *Queue) connections() int {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	return len(q.sessions)
}

func startChild(t *testing.T, q *Queue, stage string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childPath+"="+q.SocketPath(), childStage+"="+stage)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(generous, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready" {
		rest, _ := io.ReadAll(out)
		kill(t, cmd)
		t.Fatalf("the child says %q (%v)%s", line, err, rest)
	}
	return cmd
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
}
