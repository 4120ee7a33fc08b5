package demux

import (
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// TestMeter is what makes a port slow: frames that are dear each time, and so
// many of them that they take more than a fifth of the worker's time.
func TestMeter(t *testing.T) {
	const us = 1000
	type call struct{ gap, cost, frames, bytes int64 }
	rep := func(n int, c ...call) (out []call) {
		for range n {
			out = append(out, c...)
		}
		return out
	}
	for _, c := range []struct {
		name  string
		calls []call
		over  bool
	}{
		{"busy and cheap", rep(5000, call{0, 64 * 3 * us, 64, 6400}), false},
		{"dear and busy", rep(50, call{10 * us, 166 * us, 1, 100}), true},
		{"dear and rare", rep(500, call{5000 * us, 166 * us, 1, 100}), false},
		{"dear now and then", rep(500, call{0, 500 * us, 1, 100}, call{0, 3 * us, 1, 100}), false},
		{"every second one dear", rep(5000, call{0, 100 * us, 1, 1500}, call{0, 8 * us, 4, 6000}), false},
		{"four of five dear", rep(500, append(rep(4, call{0, 166 * us, 1, 100}), call{0, 3 * us, 1, 100})...), true},
		{"twenty dear ones", append(rep(20, call{0, 2000 * us, 1, 100}), rep(100, call{0, 3 * us, 1, 100})...), false},
		{"three dear ones", append(rep(3, call{0, 2000 * us, 1, 100}), rep(100, call{0, 3 * us, 1, 100})...), false},
		{"super-frames cost what their bytes cost", rep(500, call{0, 100 * us, 1, 64000}), false},
		{"small frames may not", rep(500, call{0, 100 * us, 1, 640}), true},
		{"many at once", rep(50, call{0, 64 * 30 * us, 64, 6400}), true},
	} {
		m, now, over := meter{}, int64(1), false
		for _, k := range c.calls {
			now += k.gap + k.cost
			over = over || m.charge(now, k.cost, int(k.frames), uint64(k.bytes))
		}
		if over != c.over {
			t.Errorf("%s: over its budget: %v", c.name, over)
		}
	}
}

// TestMeterChunks is how many frames are risked before the clock is read again.
func TestMeterChunks(t *testing.T) {
	for cost, want := range map[int64]int{0: chunkUnknown, 1: batch, 3000: batch, 20_000: 10, 166_000: 1, 9_000_000: 1} {
		if got := (&meter{cost: cost}).chunk(); got != want {
			t.Errorf("at %d ns a frame %d are delivered at once, want %d", cost, got, want)
		}
	}
}

// TestDearTogether is what a call for several lanes may take.
func TestDearTogether(t *testing.T) {
	const us = 1000
	of := func(lanes, each, size int) (d []frame.Delivery) {
		for range lanes {
			f := make([]frame.Frame, each)
			for i := range f {
				f[i].Data = make([]byte, size)
			}
			d = append(d, frame.Delivery{Frames: f})
		}
		return d
	}
	for _, c := range []struct {
		name string
		took int64
		d    []frame.Delivery
		dear bool
	}{
		{"cheap ones", 64 * 3 * us, of(64, 1, 60), false},
		{"cold ones", 64 * 9 * us, of(64, 1, 60), false},
		{"one dear of two", 170 * us, of(2, 1, 60), true},
		{"five dear of 64", 59*3*us + 5*166*us, of(64, 1, 60), true},
		{"super-frames", 4 * 100 * us, of(2, 2, 64000), false},
	} {
		if got := dear(c.took, c.d); got != c.dear {
			t.Errorf("%s: dear is %v", c.name, got)
		}
	}
}

// TestLookedAtAlone is how often a lane is delivered to by itself.
func TestLookedAtAlone(t *testing.T) {
	m, alone := meter{}, 0
	for range 10 * jointCalls {
		if m.alone() {
			alone++
		}
	}
	if alone != 10 {
		t.Errorf("%d times of %d", alone, 10*jointCalls)
	}
	m.suspect = true
	for range 3 {
		if !m.alone() {
			t.Error("who is suspect is delivered to together with others")
		}
	}
}
