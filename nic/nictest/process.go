package nictest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a program that runs inside a namespace beside the test. Its
// methods may be called by any goroutine.
type Process struct {
	// Cmd is the running command; Cmd.Process.Pid is the program's own.
	Cmd *exec.Cmd

	out  lockedBuffer
	done chan struct{}
	err  error // written before done is closed
}

// Start starts a program inside the namespace. It is stopped when the test
// ends, if it still runs then.
func (n *NS) Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	return n.StartWith(t, nil, name, args...)
}

// StartWith is Start for a program that reads standard input, which stays the
// caller's; nil is an empty one.
func (n *NS) StartWith(t testing.TB, stdin *os.File, name string, args ...string) *Process {
	t.Helper()
	p := &Process{Cmd: n.Command(name, args...), done: make(chan struct{})}
	if stdin != nil {
		p.Cmd.Stdin = stdin
	}
	p.Cmd.Stdout, p.Cmd.Stderr = &p.out, &p.out
	p.Cmd.WaitDelay = 5 * time.Second
	if err := p.Cmd.Start(); err != nil {
		t.Fatalf("start %s %s in %s: %v", name, strings.Join(args, " "), n.Name, err)
	}
	go func() {
		p.err = p.Cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() { _ = p.Stop(syscall.SIGTERM) })
	return p
}

// Output is what the program has printed so far, on both outputs.
func (p *Process) Output() string { return p.out.String() }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the program's end and returns its error, as exec.Cmd.Wait.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Signal sends a signal to the program. After its end that is os.ErrProcessDone.
func (p *Process) Signal(s os.Signal) error { return p.Cmd.Process.Signal(s) }

// stopLimit is how long a program may take to end. That is long because ending
// may wait for the kernel's lock over all interfaces, which the removal of a
// thousand namespaces by an earlier test holds for many seconds.
const stopLimit = 30 * time.Second

// Stop sends sig, waits for the program's end, and kills it if that takes more
// than half a minute, which is an error. How the program ended otherwise is left
// to Wait.
func (p *Process) Stop(sig os.Signal) error {
	_ = p.Signal(sig)
	select {
	case <-p.done:
		return nil
	case <-time.After(stopLimit):
	}
	_ = p.Cmd.Process.Kill()
	<-p.done
	return fmt.Errorf("%s did not end after %v and was killed; it printed:\n%s", p.Cmd, sig, p.Output())
}

// patience is how long a test waits for what must happen. A machine on which
// others make and remove interfaces by the thousand needs that much.
const patience = time.Minute

// Eventually waits until cond holds, for up to a minute, and fails the test with
// what was waited for otherwise. cond is called about every 5 ms.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !poll(cond) {
		t.Fatalf("waited %v in vain: %s", patience, what)
	}
}

func poll(cond func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if cond() {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return cond()
}

// lockedBuffer is a bytes.Buffer that is written by a command and read by the
// test at the same time.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
