// Package shm is the shared memory of a memif connection: regions, the rings
// that lie in them, and the descriptors of the rings.
//
// A ring is a view over bytes that somebody else brings, so everything about
// rings runs without a kernel. The peer may write any of these bytes at any
// time. A view therefore checks where it lies once, when it is opened, and
// yields what it reads as values: whoever uses one bounds that value, and never
// reads it a second time.
//
// The layout is the one of builds with cache lines of 64 bytes, which is every
// x86-64 build of DPDK, VPP and libmemif; the protocol does not announce it.
// The reference is DPDK's drivers/net/memif/memif.h.
package shm
