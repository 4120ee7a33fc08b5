package client_test

import (
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

const printed = `{
  "ports": [
    {"name": "tap1", "kind": "tap", "ips": ["10.0.0.2/24"], "state": "up"},
    {
      "name": "fast1", "kind": "memif", "ips": ["10.0.0.8/24", "2001:db8::8/64"], "gateways": ["10.0.0.1"], "rings": 2,
      "endpoint": {
        "socketPath": "/run/xdpdemux/eth0/fast1/memif.sock", "abstract": false, "id": 5, "secretRequired": true,
        "mac": "02:00:00:00:00:08", "ips": ["10.0.0.8/24", "2001:db8::8/64"], "prefixes": ["10.8.0.0/16"],
        "linkLocal": "fe80::8", "gateway": "10.0.0.1", "gateways": ["10.0.0.1", "fe80::1"],
        "mtu": 9000, "rings": 2, "ringSize": 512, "bufferSize": 4096
      }
    }
  ]
}
{"ports": [{"name": "fast2", "endpoint": {"socketPath": "two", "abstract": true, "mac": "02:00:00:00:00:09", "mtu": 1500}}]}
{"ports": []}`

func TestReadEndpoints(t *testing.T) {
	got, err := client.ReadEndpoints(strings.NewReader(printed))
	if err != nil {
		t.Fatal(err)
	}
	want := []client.Endpoint{
		{
			Name: "fast1", Socket: "/run/xdpdemux/eth0/fast1/memif.sock", ID: 5, SecretRequired: true,
			MAC:       net.HardwareAddr{2, 0, 0, 0, 0, 8},
			IPs:       []netip.Prefix{netip.MustParsePrefix("10.0.0.8/24"), netip.MustParsePrefix("2001:db8::8/64")},
			Prefixes:  []netip.Prefix{netip.MustParsePrefix("10.8.0.0/16")},
			LinkLocal: netip.MustParseAddr("fe80::8"),
			Gateways:  []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1")},
			MTU:       9000, Rings: 2, RingSize: 512, BufferSize: 4096,
		},
		{Name: "fast2", Socket: "@two", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, MTU: 1500},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%+v, want\n%+v", got, want)
	}
	cfg := client.Config{Socket: want[0].Socket, ID: 5, Secret: "s", Rings: 2, RingSize: 512, BufferSize: 4096}
	if got[0].Config("s") != cfg || got[0].MaxFrame() != 9014 {
		t.Errorf("configuration %+v, frames of %d", got[0].Config("s"), got[0].MaxFrame())
	}
}

func TestNoEndpoints(t *testing.T) {
	if got, err := client.ReadEndpoints(strings.NewReader(" \n")); len(got) != 0 || err != nil {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	for text, why := range map[string]string{
		`NAME  STATE`:    "not what xdpdemux prints",
		`{"ports": [`:    "not what xdpdemux prints",
		`{"ports": "x"}`: "not what xdpdemux prints",
		`{"ports": [{"endpoint": {"mac": "02:00"}}]}`:                                       `"02:00" is no Ethernet address`,
		`{"ports": [{"endpoint": {"mac": "02:00:00:00:00:09", "ips": ["10.0.0.300/24"]}}]}`: "10.0.0.300",
	} {
		if got, err := client.ReadEndpoints(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}
