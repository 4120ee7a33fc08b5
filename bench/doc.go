// Package bench measures, end to end and on a veth NIC of its own, what the
// pieces cost together. It has no code beside its benchmarks; run them with
//
//	make bench
package bench
