package main

import (
	"runtime"
	"runtime/debug"
	"time"
)

// The garbage that is collected while the data path runs: so many pointers, as
// often as that.
const (
	garbagePointers = 1 << 20
	garbagePause    = 10 * time.Millisecond
)

func garbageContenders() []contender {
	return []contender{{name: "memif-gc", about: "memif, while the Go runtime collects a heap of a million pointers every 10 ms; without, it never does",
		refuses: memifRefuses, perPort: 2 * time.Millisecond, open: openLittered}}
}

// openLittered is memif with a garbage collector that is always at work.
func openLittered(b *bed, c *testCase) *stage {
	s := openMemifs(b, c)
	start, stop := s.start, s.stop
	var quit, done chan struct{}
	s.start = func() error {
		quit, done = make(chan struct{}), make(chan struct{})
		go litter(quit, done)
		return start()
	}
	s.stop = func() error {
		if quit != nil {
			close(quit)
			<-done
			quit = nil
		}
		return stop()
	}
	var before debug.GCStats
	s.tell = func(out *sample, begin bool) {
		var now debug.GCStats
		debug.ReadGCStats(&now)
		if begin {
			before = now
			return
		}
		if n := now.NumGC - before.NumGC; n > 0 && out.More != nil {
			out.More["collections"] = float64(n)
			out.More["mean pause µs"] = float64(now.PauseTotal-before.PauseTotal) / float64(n) / 1e3
		}
	}
	return s
}

func litter(quit, done chan struct{}) {
	defer close(done)
	heap := make([]*int, garbagePointers)
	for i := range heap {
		heap[i] = new(int)
	}
	for {
		select {
		case <-quit:
			runtime.KeepAlive(heap)
			return
		case <-time.After(garbagePause):
			runtime.GC()
		}
	}
}
