package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestPinned has many goroutines take turns on one processor: afterwards every
// thread of the program may run where it could before.
func TestPinned(t *testing.T) {
	before := allowed(t, "/proc/thread-self/status")
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			err := pinned(workerCPU%runtime.NumCPU(), func() error {
				for end := time.Now().Add(20 * time.Millisecond); time.Now().Before(end); {
					runtime.Gosched()
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var bound []string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if bound = boundThreads(t, before); len(bound) == 0 {
			return // what an earlier test had bound has ended, too
		}
	}
	t.Errorf("threads are bound to %v, of %s", bound, before)
}

// boundThreads are the processors of each thread that may not run on all of these.
func boundThreads(t *testing.T, all string) (bound []string) {
	threads, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(threads) == 0 {
		t.Fatal("no threads: ", err)
	}
	for _, status := range threads {
		if cpus := allowed(t, status); cpus != all && cpus != "" {
			bound = append(bound, cpus)
		}
	}
	return bound
}

// allowed is which processors a thread may run on, or nothing if it has ended.
func allowed(t *testing.T, status string) string {
	t.Helper()
	text, err := os.ReadFile(status)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			return strings.TrimSpace(list)
		}
	}
	t.Fatalf("%s does not say", status)
	return ""
}

// needProcessors ends a test for which there are too few.
func needProcessors(t *testing.T) {
	t.Helper()
	if runtime.NumCPU() < leastCPUs {
		nictest.Missing(t, fmt.Sprintf("%d processors", leastCPUs))
	}
}
