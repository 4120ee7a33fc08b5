//go:build !amd64

package shm

// prefetch does nothing here.
func prefetch(at **byte, n int) {}
