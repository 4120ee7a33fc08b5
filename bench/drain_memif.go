package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

// memifSink is the client of every container's memif.
type memifSink struct {
	rings []*client.Ring
	conns []*client.Conn
	check *checker
	page  *page
	bufs  [][]byte
	sends bool // the bufs, to the first ring; else they are read into

	// Where it blocks, each ring has a goroutine, and these belong to sweep.
	ended chan struct{} // closed by wake
	renew sync.Mutex
}

// memifBuffer is the size of a slot, what every other client takes too.
const memifBuffer = 2048

func openMemif(o orders, p *page) (s *memifSink, err error) {
	s = &memifSink{check: newChecker(o.Traffic), page: p, bufs: client.Buffers(burst, memifBuffer)}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for i, place := range o.Places {
		conn, err := client.Dial(ctx, client.Config{Socket: place, Name: "bench", RingSize: o.Slots, BufferSize: memifBuffer})
		if err != nil {
			s.close()
			return nil, fmt.Errorf("container %d: %w", i, err)
		}
		s.conns = append(s.conns, conn)
		s.rings = append(s.rings, conn.Ring(0))
	}
	s.ended = make(chan struct{})
	if s.sends = o.Sends; s.sends {
		for i := range s.bufs {
			s.bufs[i] = o.Traffic.frame(0, o.Traffic.Sizes[i%len(o.Traffic.Sizes)])
		}
	}
	return s, nil
}

// sweep is described at sink.
func (s *memifSink) sweep(block bool) error {
	switch {
	case s.sends:
		return s.send()
	case block:
		return s.attend()
	}
	for i, r := range s.rings {
		n, err := r.Read(s.bufs)
		if err != nil {
			return fmt.Errorf("container %d: %w", i, err)
		}
		if n > 0 {
			s.judge(i, s.bufs[:n])
		}
	}
	return nil
}

func (s *memifSink) send() error {
	for i, r := range s.rings {
		n, err := r.Write(s.bufs)
		if err != nil {
			return fmt.Errorf("container %d: %w", i, err)
		}
		s.page.counter(countSent).Add(uint64(n))
	}
	return nil
}

// judge counts frames that container i has read.
func (s *memifSink) judge(i int, frames [][]byte) {
	good := uint64(0)
	for _, f := range frames {
		if s.check.frame(i, f) {
			good++
		}
	}
	s.page.counter(countFrames).Add(good)
	s.page.counter(countBad).Add(uint64(len(frames)) - good)
}

// attend reads all rings by one goroutine each, which sleep, until wake.
func (s *memifSink) attend() error {
	s.renew.Lock()
	ended := s.ended
	s.renew.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	errs := make([]error, len(s.rings))
	var done sync.WaitGroup
	for i := range s.rings {
		done.Go(func() {
			if errs[i] = s.serve(ctx, i); errs[i] != nil {
				cancel()
			}
		})
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
	cancel()
	done.Wait()
	return errors.Join(errs...)
}

func (s *memifSink) serve(ctx context.Context, i int) error {
	bufs := client.Buffers(16, memifBuffer)
	for {
		n, err := s.rings[i].ReadContext(ctx, bufs)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("container %d: %w", i, err)
		}
		s.judge(i, bufs[:n])
	}
}

// wake is described at sink.
func (s *memifSink) wake() {
	s.renew.Lock()
	close(s.ended)
	s.ended = make(chan struct{})
	s.renew.Unlock()
}

// close is described at sink.
func (s *memifSink) close() {
	for _, c := range s.conns {
		_ = c.Close()
	}
}
