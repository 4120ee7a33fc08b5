package daemon

import (
	"runtime"
	"testing"
)

// TestRoomForWorkers: others run Go code beside workers that doze, however few
// processors there are; and who has more places keeps them.
func TestRoomForWorkers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, c := range []struct{ workers, before, want int }{{1, 1, 4}, {4, 2, 7}, {1, 16, 16}} {
		runtime.GOMAXPROCS(c.before)
		crew, err := newCrew(nil, c.workers)
		if err != nil {
			t.Fatal(err)
		}
		if got := runtime.GOMAXPROCS(0); got != c.want {
			t.Errorf("%d workers, %d places before: %d, want %d", c.workers, c.before, got, c.want)
		}
		if err := crew.close(); err != nil {
			t.Error(err)
		}
	}
}
