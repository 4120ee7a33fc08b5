// Package demux joins one NIC to many containers: it classifies each frame,
// checks who may send it, and moves it between the wire, the containers and
// the host.
//
// A Switch has a fixed number of workers. Each runs to completion on one
// thread (Switch.Run), owns its Links and its Lane of every port, and reads
// one immutable Table per breath. Whoever attaches, updates or detaches ports
// makes a new Table and waits for the workers to leave the old one; they never
// wait for him.
//
// # Who gets a frame
//
// The precedence is (VLAN, MAC) exact, then (VLAN, IP) exact, then (VLAN,
// prefix) longest match, then the wire or the host. A port with a MAC is told
// by it alone; its addresses serve the answers to ARP and Neighbour Discovery,
// the source check and the way from its neighbours. A port without shares the
// NIC's MAC, and its addresses match frames to the NIC's MAC only.
//
// # Who owns the bytes
//
// Bytes are lent or copied, never given: a Link lends frames until Release,
// Lane.Deliver copies them, Lane.Collect copies into memory of the worker or
// of the Link. The worker rewrites only its own copies and what it was lent.
//
// # Nothing is lost unseen
//
// Every frame that was taken from the wire, the host, the control plane or a
// port is counted once more as what became of it; see Source.
package demux
