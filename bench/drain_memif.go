package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

// memifSink is the client of every container's memif.
type memifSink struct {
	rings []*client.Ring
	conns []*client.Conn
	check *checker
	page  *page
	bufs  [][]byte
	mode  string
	out   [][][]byte // in modeSend and modePass, what each container sends
	want  [][]byte   // in modePass, what each container gets
	poll  *poller    // over the doorbells of all rings, where it blocks

	emptied bool
}

// memifBuffer is the size of a slot, what every other client takes too.
const memifBuffer = 2048

func openMemif(o orders, p *page) (s *memifSink, err error) {
	s = &memifSink{check: newChecker(o.Traffic), page: p, bufs: client.Buffers(burst, memifBuffer), mode: o.Mode}
	if s.poll, err = newPoller(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for i, place := range o.Places {
		conn, err := client.Dial(ctx, client.Config{Socket: place, Name: "bench", RingSize: o.Slots, BufferSize: memifBuffer})
		if err == nil {
			s.conns = append(s.conns, conn)
			s.rings = append(s.rings, conn.Ring(0))
			err = s.watch(i, o.Blocking)
		}
		if err != nil {
			s.close()
			return nil, fmt.Errorf("container %d: %w", i, err)
		}
	}
	switch s.mode {
	case modeSend:
		s.out = outwardFrames(o.Traffic)
	case modePass:
		s.out, s.want = passedFrames(o.Traffic)
	}
	return s, nil
}

// watch has the doorbell of a ring rung, if anybody sleeps on it.
func (s *memifSink) watch(i int, blocking bool) error {
	if !blocking {
		return nil
	}
	return errors.Join(s.poll.add(s.rings[i].Fd(), uint32(i), edge), s.rings[i].Arm(true))
}

// sweep is described at sink.
func (s *memifSink) sweep(block bool) error {
	switch {
	case s.mode == modeSend:
		return s.send()
	case s.mode == modePass:
		if err := s.send(); err != nil {
			return err
		}
	case block:
		return s.sleep()
	}
	for i := range s.rings {
		if _, err := s.read(i); err != nil {
			return err
		}
	}
	return nil
}

// sleep waits until doorbells ring, and empties their rings; the first time it
// empties all, for what came before they were armed.
func (s *memifSink) sleep() error {
	if !s.emptied {
		s.emptied = true
		for i := range s.rings {
			if err := s.empty(i); err != nil {
				return err
			}
		}
	}
	rang, err := s.poll.wait(-1)
	for _, i := range rang {
		err = errors.Join(err, s.empty(int(i)))
	}
	return err
}

func (s *memifSink) empty(i int) error {
	for {
		if n, err := s.read(i); n < len(s.bufs) || err != nil {
			return err
		}
	}
}

// read takes what container i has, as much as goes at once.
func (s *memifSink) read(i int) (n int, err error) {
	n, err = s.rings[i].Read(s.bufs)
	if err == nil && n > 0 {
		err = s.take(i, s.bufs[:n])
	}
	if err != nil {
		return n, fmt.Errorf("container %d: %w", i, err)
	}
	return n, nil
}

// outwardFrames are a batch for each container.
func outwardFrames(t traffic) [][][]byte {
	out := make([][][]byte, t.Containers)
	for i := range out {
		for _, size := range t.Sizes {
			out[i] = append(out[i], t.outward(i, size))
		}
		for n := len(out[i]); n < sendBatch; n++ {
			out[i] = append(out[i], out[i][n%len(t.Sizes)])
		}
	}
	return out
}

// passedFrames are a batch for each container to send to the next one, and what
// that one is to get.
func passedFrames(t traffic) (out [][][]byte, want [][]byte) {
	out, want = make([][][]byte, t.Containers), make([][]byte, t.Containers)
	for i := range out {
		f, to := t.between(i, t.Sizes[0])
		out[i], want[to] = slices.Repeat([][]byte{f}, sendBatch), f
	}
	return out, want
}

// sendBatch is how many frames a container sends before the next one does.
const sendBatch = 32

func (s *memifSink) send() error {
	for i, r := range s.rings {
		n, err := r.Write(s.out[i])
		if err != nil {
			return fmt.Errorf("container %d: %w", i, err)
		}
		s.page.counter(countSent).Add(uint64(n))
	}
	return nil
}

// take counts frames that container i has read, and sends them back if it is to.
func (s *memifSink) take(i int, frames [][]byte) error {
	s.judge(i, frames)
	for from, to := 0, 0; from < len(frames); from = to + 1 {
		for to = from; to < len(frames) && goesBack(s.mode, len(frames[to])); to++ {
			reflect(frames[to])
		}
		if to == from {
			continue
		}
		if _, err := s.rings[i].Write(frames[from:to]); err != nil {
			return err
		}
	}
	return nil
}

// judge counts frames that container i has read.
func (s *memifSink) judge(i int, frames [][]byte) {
	good := uint64(0)
	for _, f := range frames {
		if s.want != nil && bytes.Equal(f, s.want[i]) || s.want == nil && s.check.frame(i, f) {
			good++
		}
	}
	s.page.counter(countFrames).Add(good)
	s.page.counter(countBad).Add(uint64(len(frames)) - good)
}

// wake is described at sink.
func (s *memifSink) wake() { s.poll.wake() }

// close is described at sink.
func (s *memifSink) close() {
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.poll.close()
}
