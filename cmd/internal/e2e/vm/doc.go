// Package vm runs the end-to-end tests that need a NIC which does zero-copy, or
// another kernel than the machine's own, in virtual machines: make test-vm.
//
// A test of this package fetches kernels of Debian's as packages, without
// touching the machine's own lists of packages, and boots each under QEMU's plain
// emulation with two virtio NICs on one hub: the first is the NIC under test, the
// second the wire. Nothing is installed in the guest: it has the end-to-end
// tests as a static program (package e2e, with the build tag vm), xdpdemux, and
// the programs of the machine that these need. Process 1 is the program in init.
//
// It needs no root. Everything but this text has the build tag vm.
package vm
