// Package nic knows the one network device that the containers share: what it
// is, whether it is fit, which of its offloads would break the data path, which
// addresses it must accept, and what happens to it while it is in use.
//
// A NIC is held by its interface index, so a rename does not matter. It
// belongs to the network namespace of the thread that called Open; nothing
// here reads /sys, which shows the namespace of whoever mounted it.
//
// What is changed is undone in one of two ways. Addresses that the device must
// accept are memberships of a packet socket: the kernel counts them beside
// everybody else's and takes them back when the socket closes, even by SIGKILL.
// Offloads stay as they are set; so what they were is in a Record, which the
// caller keeps where a later process finds it.
package nic
