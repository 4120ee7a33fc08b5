package hostroute

import (
	"net/netip"
	"testing"
)

func TestSourcePrefersTheSubnetOfTheDestination(t *testing.T) {
	nic := []netip.Prefix{
		netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("192.0.2.1/24"),
		netip.MustParsePrefix("10.0.0.1/8"), netip.MustParsePrefix("fd00::1/64"),
	}
	for dst, want := range map[string]string{
		"10.1.2.3/32": "10.0.0.1", "192.0.2.9/32": "192.0.2.1", "198.51.100.1/32": "192.0.2.1",
		"fd00::9/128": "fd00::1", "2001:db8::1/128": "fd00::1",
	} {
		if got := Source(nic)(netip.MustParsePrefix(dst)); got != netip.MustParseAddr(want) {
			t.Errorf("toward %s: %v, want %s", dst, got, want)
		}
	}
	if got := Source(nil)(netip.MustParsePrefix("10.0.0.1/32")); got.IsValid() {
		t.Errorf("a NIC without addresses is the source %v", got)
	}
}

// A source that is still the host's is kept, whatever came before it.
func TestSourceIsKept(t *testing.T) {
	source := Source([]netip.Prefix{netip.MustParsePrefix("fd00::77/64"), netip.MustParsePrefix("fd00::2/64"), netip.MustParsePrefix("10.0.0.2/8")})
	for addr, want := range map[string]bool{"fd00::77": true, "fd00::2": true, "10.0.0.2": true, "fd00::3": false, "10.0.0.3": false} {
		if got := source.has(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
	if source.has(netip.Addr{}) {
		t.Error("no address is among them")
	}
}
