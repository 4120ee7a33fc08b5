// Package xdp is the boundary to the kernel: the program that steers a NIC's
// frames, and the AF_XDP sockets that take them.
//
// # The program
//
// A [Program] is loaded once and attached to one NIC by a bpf_link, so that it
// leaves the NIC by itself when the process dies. Its rules name the addresses
// of containers; a frame for one of them goes to the socket of the queue on
// which it arrived, and every other frame stays with the host (XDP_PASS). So
// does a known one while its queue has no socket. A program of somebody else is
// never replaced.
//
// Every frame that the program looks at increments exactly one counter, after
// its action is known, so that
//
//	Counters.Redirected() = Received + BadFrames + Unread + RxDropped + RxRingFull + in flight
//
// where the five in the middle are those of [SocketStats] over all sockets, closed
// ones included. (In copy mode an empty fill ring is counted by
// the kernel in RxDropped as well as in FillEmpty, which is why the latter is no
// term of the sum.)
//
// # The socket
//
// A [Socket] is one NIC queue: four rings that are shared with the kernel, and
// the UMEM, the memory in which frames stand, cut into chunks. The first half of
// the chunks receives, the second half transmits; no chunk ever changes sides,
// so a received frame is never transmitted in place.
//
//	         fill ring                    receive ring
//	Release ------------> kernel, NIC ------------------> Recv
//	   ^                                                    |
//	   +------------------- lent to the worker -------------+
//
//	         transmit ring                completion ring
//	Commit -------------> kernel, NIC ------------------> Reserve
//	   ^                                                    |
//	   +------------------- lent to the worker -------------+
//
// One goroutine owns Recv, Release, Reserve and Commit. They take no lock,
// allocate nothing and never block. The rings are plain memory to them; the one
// thing that they ask of the kernel is to be woken, and only where the kernel
// says that it sleeps. That call is a raw one, which does not tell the Go
// scheduler: it cannot block, it takes microseconds, and a scheduler that took
// the processor away after 20 of them would cost the worker milliseconds.
//
// Frames larger than a chunk travel as chains of descriptors, both ways; the
// caller sees one piece of memory.
//
// # Survival
//
// The UMEM is a memfd, and in front of its chunks stands the state page: what
// the four rings do not tell about who owns which chunk. So another process that
// holds the two descriptors of a [Handover] goes on where the first one stopped,
// also where that one was killed in the middle of a call; see [Restore].
package xdp
