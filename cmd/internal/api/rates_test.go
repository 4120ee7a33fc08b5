package api_test

import (
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

func TestRatesBetween(t *testing.T) {
	start := time.Unix(1000, 0)
	was := api.Stats{NIC: "eth0", Time: start,
		Total: api.Flow{Received: 100, Delivered: 90, Drops: map[string]uint64{"full": 10}}, Wire: api.Flow{Received: 40},
		Ports: []api.PortStats{
			{Name: "a", RxFrames: 10, RxBytes: 1000, RxDrops: map[string]uint64{"full": 1}, Tx: api.Flow{Received: 5, Bytes: 500, ToWire: 1, ToHost: 2, Delivered: 2}},
			{Name: "gone", RxFrames: 1},
			{Name: "restarted", RxFrames: 1000},
		}}
	is := api.Stats{NIC: "eth0", Time: start.Add(2 * time.Second),
		Total: api.Flow{Received: 300, Delivered: 280, Drops: map[string]uint64{"full": 14}}, Wire: api.Flow{Received: 60, Drops: map[string]uint64{"no_port": 2}},
		Ports: []api.PortStats{
			{Name: "a", RxFrames: 30, RxBytes: 3000, RxDrops: map[string]uint64{"full": 3},
				Tx: api.Flow{Received: 25, Bytes: 700, ToWire: 5, ToHost: 8, Delivered: 10, Drops: map[string]uint64{"spoofed": 4}}},
			{Name: "new", RxFrames: 9},
			{Name: "restarted", RxFrames: 10},
		}}
	got := api.RatesBetween(&was, &is)
	want := api.PortRates{Name: "a", RxFrames: 10, RxBits: 8000, TxFrames: 10, TxBits: 800, TxWire: 2, TxHost: 3, TxLocal: 4, Dropped: 3}
	if len(got.Ports) != 2 || got.Ports[0] != want || got.Ports[1] != (api.PortRates{Name: "restarted"}) {
		t.Errorf("ports: %+v", got.Ports)
	}
	if got.NIC != "eth0" || got.Time != is.Time || got.Seconds != 2 || got.Frames != 100 || got.Dropped != 2 || got.WireFrames != 10 || got.WireDropped != 1 || got.Unaccounted != 6 {
		t.Errorf("%+v", got)
	}
	if got := api.RatesBetween(&is, &is); got.Frames != 0 || len(got.Ports) != 3 {
		t.Errorf("at one time: %+v", got)
	}
}
