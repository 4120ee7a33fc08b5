// Package nictest builds a NIC for tests out of nothing: a veth pair whose two
// ends live in network namespaces of their own, with container namespaces
// beside them.
//
//	namespace Wire              namespace Host              namespaces Containers
//	wire0 ====================> nic0  (the NIC under test)  lo only
//	the network's side          xdpdemux attaches here      ports are added here
//
// Nothing outside these namespaces is touched. They are named
// xdt-PID-N-ROLE under /run/netns and removed when the test ends, whether it
// passed or failed; those of a test that was killed are removed by the next
// rig (see RemoveStale). A killed test is one whose process no longer lives.
//
// The wire is honest by default: what the wire end sends bears finished
// checksums and in-band VLAN tags and is no larger than the MTU, as it would
// from a real cable. Duplicate address detection and router solicitations are
// off, so that IPv6 works at once and tests need not sleep.
//
// Programs are run with nsenter, never with "ip netns exec", which would
// remount /sys.
package nictest
