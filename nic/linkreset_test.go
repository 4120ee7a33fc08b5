package nic

import "testing"

func TestResetsLink(t *testing.T) {
	for driver, want := range map[string]bool{"ixgbe": true, "mlx5_core": true, "veth": false, "virtio_net": false, "": false} {
		if got := (Facts{Driver: driver}).ResetsLink(); got != want {
			t.Errorf("%q: %v, want %v", driver, got, want)
		}
	}
}
