// Package e2e holds the tests that drive the built program as its user would:
// attach to a NIC, add ports, and let real programs talk through them. It has
// no code beside its tests.
package e2e
