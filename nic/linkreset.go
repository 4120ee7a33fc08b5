package nic

import "slices"

// ResetsLink says that the device's driver is known to take the device or its
// link down for a moment, up to ten seconds, when the first XDP program comes
// or the last one goes: it allocates its rings anew. The kernel does not tell,
// so this is a list of drivers whose XDP set-up closes and opens the device or
// resets it. A driver that is not on it may do so too.
func (f Facts) ResetsLink() bool {
	return slices.Contains([]string{"i40e", "igb", "igc", "ixgbe", "ixgbevf", "mlx5_core"}, f.Driver)
}
