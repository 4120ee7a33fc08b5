package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// The kinds of a consumer's queues.
const (
	kindUDP   = "udp"   // a socket in each container's network namespace
	kindMemif = "memif" // a client of each container's memif
)

// What a consumer does.
const (
	modeRead  = "read"  // reads every byte of what comes, and counts
	modeSend  = "send"  // sends to the wire, as much as goes
	modeEcho  = "echo"  // sends back what comes
	modePass  = "pass"  // each container sends to the next, and all read
	modeProbe = "probe" // reads, and sends back what is a probe
)

// orders is what the consumer process is told when it starts.
type orders struct {
	Kind     string
	Traffic  traffic
	Places   []string // network namespaces or memif sockets, one for each container
	Blocking bool     // sleep when there is nothing to read
	Slots    int      // of a memif ring
	Mode     string   // what it does
	CPU      int      // where it runs
}

// consumer is the one process that stands in for all containers: it drains
// their queues, reads every byte, and counts. It is this program once more.
type consumer struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr strings.Builder
	page   *page
}

// drainCommand is the argument by which the program knows that it is the consumer.
const drainCommand = "drain"

// startLimit is how long a consumer may take to open all its queues.
const startLimit = 2 * time.Minute

// startConsumer starts the process on its processor and waits until
// all its queues are open. It reads nothing before resume.
func startConsumer(b *bed, o orders) *consumer {
	p, err := newPage()
	b.check(err)
	b.Cleanup(p.close)
	c := &consumer{page: p, cmd: exec.Command("/proc/self/exe", drainCommand)}
	c.cmd.ExtraFiles = []*os.File{p.file}
	c.cmd.Stderr = &c.stderr
	c.stdin, err = c.cmd.StdinPipe()
	b.check(err)
	out, err := c.cmd.StdoutPipe()
	b.check(err)
	c.stdout = bufio.NewReader(out)
	b.check(<-onCPU(o.CPU, c.cmd.Start)) // a child keeps to its parent's processor
	b.Cleanup(c.end)
	b.check(json.NewEncoder(c.stdin).Encode(o))
	b.check(c.await("ready", startLimit))
	return c
}

// await reads the next line, which must be what is wanted.
func (c *consumer) await(want string, limit time.Duration) error {
	got := make(chan string, 1)
	go func() {
		line, _ := c.stdout.ReadString('\n')
		got <- strings.TrimSpace(line)
	}()
	select {
	case line := <-got:
		if line == want {
			return nil
		}
		_ = c.cmd.Wait()
		return fmt.Errorf("the consumer said %q in place of %q: %s", line, want, c.stderr.String())
	case <-time.After(limit):
		_ = c.cmd.Process.Kill()
		return fmt.Errorf("the consumer did not say %q within %v", want, limit)
	}
}

// order tells the consumer to do something and waits until it does.
func (c *consumer) order(word string) error {
	if _, err := io.WriteString(c.stdin, word+"\n"); err != nil {
		return fmt.Errorf("the consumer is gone: %w", err)
	}
	return c.await(word, time.Minute)
}

func (c *consumer) resume() error { return c.order("resume") }
func (c *consumer) pause() error  { return c.order("pause") }

// end closes the consumer's input, which ends it.
func (c *consumer) end() {
	_ = c.stdin.Close()
	ended := make(chan struct{})
	go func() {
		_ = c.cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = c.cmd.Process.Kill()
		<-ended
	}
}

// attend has the consumer run while the stage is started, and count for it.
func (c *consumer) attend(s *stage) {
	start, stop := s.start, s.stop
	s.count = c.page.arrivals
	s.start = func() error {
		if err := c.resume(); err != nil || start == nil {
			return err
		}
		return start()
	}
	s.stop = func() (err error) {
		if stop != nil {
			err = stop()
		}
		return errors.Join(err, c.pause())
	}
}
