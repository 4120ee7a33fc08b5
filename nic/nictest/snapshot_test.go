package nictest

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDiff(t *testing.T) {
	before := map[string]string{"same": "1", "changed": "1", "gone": "x"}
	after := map[string]string{"same": "1", "changed": "2", "new": "y"}
	want := []string{"+ new: y", "- gone: x", "~ changed: 1 -> 2"}
	if got := Diff(before, after); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Diff(before, before); len(got) != 0 {
		t.Errorf("a snapshot differs from itself: %q", got)
	}
}

func TestParseEthtool(t *testing.T) {
	got := parseEthtool("e", "Channel parameters for nic0:\nPre-set maximums:\nRX:\t\t2\nTX: n/a\nCurrent hardware settings:\nRX:\t\t1\nnoise\n")
	want := map[string]string{
		"e [Pre-set maximums] RX":          "2",
		"e [Pre-set maximums] TX":          "n/a",
		"e [Current hardware settings] RX": "1",
	}
	if d := Diff(want, got); len(d) != 0 {
		t.Errorf("%q", d)
	}
}

func TestDecodeObjects(t *testing.T) {
	for in, want := range map[string]int{"": 0, " \n": 0, "[]": 0, "[{},{}]": 0, `[{"a":1},{}]`: 1} {
		got, err := decodeObjects([]byte(in))
		if err != nil || len(got) != want {
			t.Errorf("%q: %d objects, %v; want %d", in, len(got), err, want)
		}
	}
	if _, err := decodeObjects([]byte("{")); err == nil {
		t.Error("broken JSON was accepted")
	}
}

// What is there must not differ from itself while the machine goes on.
func TestSnapshotIsStable(t *testing.T) {
	Require(t, "ping")
	r := New(t, Config{HostAddrs: []string{"10.9.0.1/16", "fd09::1/64"}, WireAddrs: []string{"10.9.0.2/16", "fd09::2/64"}})
	before := Snapshot(t, r.Host)
	r.Host.Run(t, "ping", "-c2", "-i0.01", "-W5", "10.9.0.2")
	r.Host.Run(t, "ping", "-c2", "-i0.01", "-W5", "fd09::2")
	time.Sleep(1100 * time.Millisecond) // the kernel reports carriers once a second
	if d := Diff(before, Snapshot(t, r.Host)); len(d) != 0 {
		t.Errorf("changed by itself:\n%s", strings.Join(d, "\n"))
	}
	if len(before) < 300 {
		t.Errorf("a snapshot of only %d values", len(before))
	}
	for key := range before {
		if strings.Contains(key, "eth0") {
			t.Errorf("the machine's own NIC is in it: %s", key)
		}
	}
}

// Each change that attaching could leave behind is seen, and its undoing too.
func TestSnapshotSees(t *testing.T) {
	Require(t, "sysctl")
	r := New(t, Config{HostAddrs: []string{"10.9.0.1/16", "fd09::1/64"}, WireAddrs: []string{"10.9.0.2/16"}})
	for _, c := range []struct{ name, do, undo, key string }{
		{"mtu", "ip link set nic0 mtu 1400", "ip link set nic0 mtu 1500", "link nic0 mtu"},
		{"promiscuous", "ip link set nic0 promisc on", "ip link set nic0 promisc off", "link nic0 promiscuity"},
		{"allmulti", "ip link set nic0 allmulticast on", "ip link set nic0 allmulticast off", "link nic0 allmulti"},
		{"address", "ip addr add 10.9.3.3/32 dev nic0", "ip addr del 10.9.3.3/32 dev nic0", "addr nic0"},
		{"route", "ip route add 10.77.0.0/16 via 10.9.0.2 table 77", "ip route del 10.77.0.0/16 table 77", "route4"},
		{"route6", "ip route add fd77::/64 dev nic0", "ip route del fd77::/64 dev nic0", "route6"},
		{"rule", "ip rule add from 10.77.0.1 table 77", "ip rule del from 10.77.0.1 table 77", "rule4"},
		{"neighbour", "ip neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 dev nic0", "ip neigh del 10.9.0.77 dev nic0", "neigh4"},
		{"proxy", "ip neigh add proxy 10.9.0.78 dev nic0", "ip neigh del proxy 10.9.0.78 dev nic0", "proxy4"},
		{"unicast filter", "bridge fdb add 02:00:00:00:00:99 dev nic0 self", "bridge fdb del 02:00:00:00:00:99 dev nic0 self", "fdb"},
		{"multicast", "ip maddr add 33:33:ff:12:34:56 dev nic0", "ip maddr del 33:33:ff:12:34:56 dev nic0", "group"},
		{"feature", "ethtool -K nic0 rxvlan off", "ethtool -K nic0 rxvlan on", "ethtool -k nic0"},
		{"sysctl", "sysctl -qw net.ipv4.conf.nic0.proxy_arp=1", "sysctl -qw net.ipv4.conf.nic0.proxy_arp=0", "sysctl net/ipv4/conf/nic0/proxy_arp"},
		{"channels", "ip link add t0 type veth peer name t1", "ip link del t0", "ethtool -l t0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := Snapshot(t, r.Host)
			do := strings.Fields(c.do)
			r.Host.Run(t, do[0], do[1:]...)
			d := Diff(before, Snapshot(t, r.Host))
			if !slices.ContainsFunc(d, func(line string) bool { return strings.HasPrefix(line[2:], c.key) }) {
				t.Errorf("%s is not seen, only\n%s", c.do, strings.Join(d, "\n"))
			}
			undo := strings.Fields(c.undo)
			r.Host.Run(t, undo[0], undo[1:]...)
			if d := Diff(before, Snapshot(t, r.Host)); len(d) != 0 {
				t.Errorf("after %s:\n%s", c.undo, strings.Join(d, "\n"))
			}
		})
	}
}
