package main

import (
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

func TestOwnShareTakesOffWhatOthersHad(t *testing.T) {
	for _, c := range []struct{ busy, wall, cpu, want time.Duration }{
		{80, 100, 100, 80},
		{80, 100, 120, 80}, // the clocks differ by less than they resolve
		{80, 100, 50, 40},
		{80, 0, 0, 80},
	} {
		if got := ownShare(c.busy, c.wall, c.cpu); got != c.want {
			t.Errorf("of %v in %v with %v of the processor: %v, want %v", c.busy, c.wall, c.cpu, got, c.want)
		}
	}
}

// scripted is a link that yields what it is told.
type scripted struct {
	demux.Link
	yields []int
}

func (s *scripted) Recv([]frame.Frame) int {
	n := s.yields[0]
	s.yields = s.yields[1:]
	return n
}

// TestMeterCountsFramesOfBusyBreathsOnce: also over the end of a period, and a
// pause in between.
func TestMeterCountsFramesOfBusyBreathsOnce(t *testing.T) {
	m := newMeter()
	m.resume()
	script := &scripted{}
	want := int64(0)
	for i := range 3*periodBreaths + 7 {
		n := i % 5
		script.yields = append(script.yields, n)
		want += int64(n)
	}
	l := metered{script, m}
	for i := range len(script.yields) {
		l.Recv(nil)
		if i%50 == 49 {
			polite{m}.Wait(nil, -1)
		}
	}
	m.pause()
	got := m.read()
	if got.frames != want || got.nanos <= 0 {
		t.Errorf("%d frames in %d ns, want %d in some", got.frames, got.nanos, want)
	}
	if ns := got.perFrame(reading{}); ns <= 0 {
		t.Errorf("%v ns a frame", ns)
	}
	if ns := got.perFrame(got); ns != 0 {
		t.Errorf("%v ns a frame without frames", ns)
	}
}
