package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
)

// sink is what a consumer drains: the queues of all containers.
type sink interface {
	// sweep looks at the queues once and reads all that is in them; with block
	// it waits until there is something, or until woken. It may come back with
	// nothing.
	sweep(block bool) error
	// wake ends a sweep that waits. Any goroutine may call it.
	wake()
	close()
}

// drain is the consumer process: it reads its orders, opens the queues, says
// ready, and then resumes and pauses as it is told, until its input ends.
func drain(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	var o orders
	if err := json.Unmarshal(first, &o); err != nil {
		return err
	}
	p, err := openPage(os.NewFile(3, "counters"))
	if err != nil {
		return err
	}
	s, err := openSink(o, p)
	if err != nil {
		return err
	}
	defer s.close()
	runtime.GC()
	debug.SetGCPercent(-1)
	t := &faucet{sink: s, block: o.Blocking}
	t.turned.L = &t.mu
	go t.flow()
	fmt.Fprintln(out, "ready")
	return t.obey(lines, out)
}

func openSink(o orders, p *page) (sink, error) {
	switch o.Kind {
	case kindUDP:
		return openUDP(o, p)
	case kindMemif:
		return openMemif(o, p)
	}
	return nil, fmt.Errorf("no kind of queue is named %q", o.Kind)
}

// goesBack tells whether a frame of size bytes is sent back in that mode.
func goesBack(mode string, size int) bool {
	return mode == modeEcho || mode == modeProbe && size == probeLen
}

// faucet opens and closes the flow out of a sink.
type faucet struct {
	sink  sink
	block bool

	mu     sync.Mutex
	turned sync.Cond
	idle   bool // flow has seen that it is closed
	err    error
	open   atomic.Bool
}

// obey follows the words of the program until there are no more.
func (t *faucet) obey(lines *bufio.Reader, out io.Writer) error {
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		word := strings.TrimSpace(line)
		if err := t.turn(word == "resume"); err != nil {
			return err
		}
		fmt.Fprintln(out, word)
	}
}

// turn opens or closes the flow; closed, it returns when nothing flows.
func (t *faucet) turn(open bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open.Store(open)
	t.turned.Broadcast()
	for !open && !t.idle && t.err == nil {
		t.sink.wake()
		t.turned.Wait()
	}
	return t.err
}

// flow drains while the faucet is open, on a thread of its own.
func (t *faucet) flow() {
	runtime.LockOSThread()
	for {
		t.mu.Lock()
		for !t.open.Load() {
			t.idle = true
			t.turned.Broadcast()
			t.turned.Wait()
		}
		t.idle = false
		t.mu.Unlock()
		if err := t.run(); err != nil {
			t.mu.Lock()
			t.err = err
			t.turned.Broadcast()
			t.mu.Unlock()
			return
		}
	}
}

func (t *faucet) run() error {
	for t.open.Load() {
		if err := t.sink.sweep(t.block); err != nil {
			return err
		}
		if !t.block {
			yield()
		}
	}
	return nil
}
