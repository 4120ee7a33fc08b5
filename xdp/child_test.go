package xdp

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// Processes that a test starts, uses and kills: the test binary in another role.

const childVariable = "XDP_TEST_CHILD"

// The roles of a child.
const (
	childEcho = "echo" // restores descriptors 3 and 4, receives and sends
	childRing = "ring" // the same on rings that the parent plays the kernel of
)

func TestMain(m *testing.M) {
	role := os.Getenv(childVariable)
	if role != "" {
		go endWithParent()
	}
	switch role {
	case childEcho:
		os.Exit(echo())
	case childRing:
		os.Exit(ringWorker())
	}
	os.Exit(m.Run())
}

// endWithParent ends a child whose parent has ended without killing it: the
// parent holds the other end of standard input.
func endWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}

type child struct {
	cmd    *exec.Cmd
	output bytes.Buffer
}

func startChild(t testing.TB, role string, files ...*os.File) *child {
	t.Helper()
	c := &child{cmd: exec.Command("/proc/self/exe")}
	c.cmd.Env = append(os.Environ(), childVariable+"="+role)
	c.cmd.ExtraFiles = files
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	if _, err := c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill() }) // no error if it was killed before
	return c
}

// kill ends the child, which must not have ended by itself.
func (c *child) kill(t testing.TB) {
	t.Helper()
	_ = c.cmd.Process.Kill()
	err := c.cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ProcessState.String() != "signal: killed" {
		t.Fatalf("the child ended by itself: %v\n%s", err, c.output.String())
	}
}

// echo is a child that works on a real socket until it is killed.
func echo() int {
	s, err := Restore(Handover{Socket: 3, Memory: 4})
	if err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	f := make([]frame.Frame, 64)
	for {
		n := s.Recv(f)
		s.Release()
		n = s.Reserve(f[:n/2], 60)
		for i := range f[:n] {
			copy(f[i].Data, udp4(broadcast, "10.0.0.1"))
		}
		s.Commit(f[:n])
	}
}
