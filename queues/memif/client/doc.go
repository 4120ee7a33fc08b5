// Package client is the client side of memif 2.0: packets through shared
// memory, to and from any server that speaks it, such as xdpdemux, DPDK's
// net_memif with role=server, or VPP. It needs no privilege and no network
// device, only the server's socket.
//
// Dial connects. A Conn has one Ring or several; a Ring carries whole Ethernet
// frames both ways, in batches:
//
//	conn, err := client.Dial(ctx, client.Config{Socket: "/run/xdpdemux/eth0/web/memif.sock"})
//	if err != nil {
//		return err
//	}
//	defer conn.Close()
//	bufs := client.Buffers(64, 2048)
//	for {
//		n, err := conn.Ring(0).ReadContext(ctx, bufs)
//		if err != nil {
//			return err
//		}
//		answer(bufs[:n]) // in place
//		if _, err := conn.Ring(0).WriteContext(ctx, bufs[:n]); err != nil {
//			return err
//		}
//	}
//
// # Bytes
//
// Frames are copied both ways: the buffers are always the caller's, and no
// method keeps them. Nothing is allocated per frame or batch. A frame that is
// larger than the buffers of the shared memory (Config.BufferSize) travels as a
// chain of them, in either direction, and neither side of this API notices.
//
// # Waiting
//
// Read and Write never wait: with nothing to read, or no room, they return 0.
// Whoever calls only them polls, and the server never interrupts. ReadContext
// asks the server for an interrupt before it sleeps, and for none as long as
// there is something to read, as the kernel's NAPI does. Memif does not tell a
// client that there is room again, so WriteContext looks again, in growing
// intervals of at most a millisecond.
//
// # Concurrency
//
// Rings are independent of each other, and so are the two directions of a
// ring. One goroutine at a time should read a ring and one should write it:
// more are safe, but they wait for each other, and one that sleeps may be woken
// late. Close may be called by any goroutine at any moment.
//
// # The end of a connection
//
// When the server leaves, frames that it delivered can still be read; then Read
// and Write return the server's reason, a *DisconnectedError. The shared memory
// stays until Close, which ends whoever reads or writes with ErrClosed. A
// Session keeps a connection up: it connects again, with growing pauses.
//
// # Trust
//
// What the server writes into the shared memory is checked, and cannot make the
// client read or write outside of its buffers. A server can drop, forge or
// change frames, as any network can. It also shares the eventfds: one that
// means harm could make a write to them wait.
package client
