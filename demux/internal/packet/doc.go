// Package packet reads and builds the bytes of Ethernet frames: one look that
// yields what classification and source check need, the answers of ARP and
// Neighbour Discovery, the ICMP messages of path MTU discovery, checksums,
// VLAN tags and segmentation.
//
// Everything here is a function of its arguments. Nothing allocates, blocks,
// keeps a reference or has state, so every function may run on any number of
// goroutines, each with its own Header and buffers.
//
// The bytes come from hostile containers and a hostile wire. No function reads
// beyond the length of the slice that it was given or believes a length field
// before it was compared with that length, and none panics. What cannot be
// parsed is said to be malformed; what can be, but breaks a rule that receivers
// rely on (an ND message that came through a router, say), is said to be bad.
//
// Integers in frames are big-endian (RFC 791, appendix B); Header holds them
// as numbers.
package packet
