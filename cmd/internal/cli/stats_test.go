package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/api/apitest"
)

func counters() api.Stats {
	none := map[string]uint64{}
	return api.Stats{
		Time:       apitest.Since(),
		Wire:       api.Flow{Received: 1000, Bytes: 64000, Delivered: 950, Flooded: 3, Answered: 7, Drops: map[string]uint64{"no_port": 30, "malformed": 10, "full": 0}},
		Host:       api.Flow{Received: 20, Delivered: 20, Drops: none},
		Injected:   api.Flow{Drops: none},
		Containers: api.Flow{Received: 500, Bytes: 5000, Delivered: 100, ToHost: 50, ToWire: 340, Answered: 5, InFlight: 1, Drops: map[string]uint64{"spoofed": 4}},
		Total: api.Flow{Received: 1520, Delivered: 1070, Flooded: 3, ToHost: 50, ToWire: 340, Answered: 12, InFlight: 1,
			Drops: map[string]uint64{"no_port": 30, "malformed": 10, "spoofed": 4}},
		Kernel: api.KernelStats{
			Redirected: map[string]uint64{"ip": 990, "arp": 10}, Passed: map[string]uint64{"unknown": 5},
			Sockets: []api.SocketStats{{Queue: 0, Received: 1000, Sent: 340}, {Queue: 1, RxRingFull: 7, FillRingEmpty: 2}},
		},
		Ports: []api.PortStats{
			{Name: "a", RxFrames: 900, RxBytes: 57600, RxDrops: map[string]uint64{"full": 12}, Tx: api.Flow{Received: 400, Bytes: 4000, Drops: map[string]uint64{"spoofed": 4}}, TxRefused: none},
			{Name: "b", RxFrames: 50, RxDrops: none, Tx: api.Flow{Drops: none}, TxRefused: map[string]uint64{"oversize": 3, "malformed": 1}, SlowLane: true},
		},
	}
}

// shellWithPorts has a daemon with ports a and b.
func shellWithPorts(t *testing.T, stats api.Stats) (*shell, *apitest.Service) {
	s := newShell(t)
	fake := s.daemon(t, "eth0")
	fake.Counters = stats
	s.ok(t, "add", "a", "--ip", "10.0.0.1/24", "--netns", "a")
	s.ok(t, "add", "b", "--ip", "10.0.0.2/24", "--netns", "b")
	return s, fake
}

func TestStats(t *testing.T) {
	s, _ := shellWithPorts(t, counters())
	golden(t, "testdata/stats.golden", s.ok(t, "stats"), *update)
	if out := s.ok(t, "stats", "b"); strings.Contains(out, "\na ") || !strings.Contains(out, "\nb ") {
		t.Error(out)
	}
	var got api.Stats
	strict(t, s.ok(t, "stats", "-o", "json", "a"), &got)
	if len(got.Ports) != 1 || got.Ports[0].Tx.Dropped() != 4 || got.Total.Unaccounted() != 0 {
		t.Errorf("%+v", got)
	}
	s.fails(t, ExitFailed, "port x: there is no such port", "stats", "x")
}

func TestConservationSaysWhatIsMissing(t *testing.T) {
	c := counters()
	c.Total.Received += 2
	s, _ := shellWithPorts(t, c)
	if out := s.ok(t, "stats"); !strings.Contains(out, "dropped: off by 2 ") {
		t.Error(out)
	}
}

// advancing adds to the counters at each look, as traffic would.
func advancing(fake *apitest.Service, looks chan<- struct{}) func(context.Context, string) error {
	return func(_ context.Context, method string) error {
		if method == "Stats" {
			c := counters()
			c.Time = fake.Counters.Time.Add(2 * time.Second)
			c.Total.Received = fake.Counters.Total.Received + 3000
			c.Ports[0].RxFrames = fake.Counters.Ports[0].RxFrames + 2000
			c.Ports[0].RxBytes = fake.Counters.Ports[0].RxBytes + 3_000_000
			c.Ports[1].Tx.Received = fake.Counters.Ports[1].Tx.Received + 5000
			c.Ports[1].RxDrops = map[string]uint64{"full": fake.Counters.Ports[1].RxDrops["full"] + 4}
			fake.Counters = c
			looks <- struct{}{}
		}
		return nil
	}
}

func TestTop(t *testing.T) {
	s, fake := shellWithPorts(t, counters())
	fake.Before = advancing(fake, make(chan struct{}, 100))
	golden(t, "testdata/top.golden", s.ok(t, "top", "--interval", "10ms", "--count", "2"), *update)
	if out := s.ok(t, "top", "--interval", "10ms", "--count", "1", "--rows", "1"); !strings.Contains(out, "and 1 quieter ones") || strings.Contains(out, clear) {
		t.Error(out)
	}
	s.terminal = true
	if out := s.ok(t, "top", "--interval", "10ms", "--count", "1"); !strings.HasPrefix(out, clear) {
		t.Error(out)
	}
	out := s.ok(t, "top", "--interval", "10ms", "--count", "3", "--rows", "1", "-o", "json")
	if strings.Count(out, "\n") != 3 {
		t.Errorf("three looks are not three lines: %s", out)
	}
	for line := range strings.Lines(out) {
		var got api.Rates
		strict(t, line, &got)
		if got.NIC != "eth0" || got.Frames != 1500 || len(got.Ports) != 1 || got.Ports[0].Name != "b" || got.Ports[0].TxFrames != 2500 || got.Ports[0].Dropped != 2 {
			t.Errorf("%+v", got)
		}
	}
}

func TestTopEndsWithCtrlC(t *testing.T) {
	s, fake := shellWithPorts(t, counters())
	looks := make(chan struct{}, 1000)
	fake.Before = advancing(fake, looks)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		<-looks
		<-looks
		stop()
	}()
	if r := s.runIn(ctx, t, "top", "--interval", "10ms"); r.code != ExitOK {
		t.Errorf("%+v", r)
	}
}

func TestTopEndsWithTheDaemon(t *testing.T) {
	s, fake := shellWithPorts(t, counters())
	calls := 0
	fake.Before = func(_ context.Context, method string) error {
		if calls++; calls > 1 {
			return api.Errorf(api.CodeGone, "NIC eth0: it is gone")
		}
		return nil
	}
	s.fails(t, ExitFailed, "it is gone", "top", "--interval", "10ms")
}

func TestNumber(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 1: "1", 12.34: "12.3", 999: "999", 1000: "1k", 1234567: "1.23M", 9.87e9: "9.87G"} {
		if got := number(f); got != want {
			t.Errorf("%v is %s, want %s", f, got, want)
		}
	}
}
