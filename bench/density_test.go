package main

import "testing"

// TestKernelMemoryIsWhatNobodyElseHas: neither free, nor of files, nor of
// processes.
func TestKernelMemoryIsWhatNobodyElseHas(t *testing.T) {
	const text = "MemTotal:       1000 kB\nMemFree:         300 kB\nMemAvailable:    999 kB\nBuffers:          10 kB\n" +
		"Cached:          200 kB\nSwapCached:        0 kB\nAnonPages:       150 kB\nHugePages_Total:       0\n"
	if got := kernelMemory([]byte(text)); got != 340 {
		t.Errorf("%d KiB, want 340", got)
	}
	if got := kibibytes([]byte("VmRSS:\t  27692 kB\nThreads:\t7\n"))["VmRSS"]; got != 27692 {
		t.Errorf("%d KiB are resident, want 27692", got)
	}
}
