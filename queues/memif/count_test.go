package memif

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// counts is what the test's process holds. Nothing that others on the machine
// do can change it.
type counts struct {
	fds, maps  int
	goroutines goleak.Option
}

func countAll(t testing.TB) counts {
	t.Helper()
	// What the runtime keeps for all descriptors that it polls is made with the
	// first of them.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	return counts{fds: len(descriptors(t)), maps: len(sharedMappings(t)), goroutines: goleak.IgnoreCurrent()}
}

// settle waits until there are no more than before.
func (c counts) settle(t testing.TB) {
	t.Helper()
	var left string
	defer func() {
		if t.Failed() {
			t.Log(left)
		}
	}()
	eventually(t, "descriptors and mappings are as many as before", func() bool {
		fds, maps := descriptors(t), sharedMappings(t)
		left = fmt.Sprintf("%d descriptors before, now %v;\n%d mappings before, now %v", c.fds, fds, c.maps, maps)
		return len(fds) <= c.fds && len(maps) <= c.maps
	})
	if err := goleak.Find(c.goroutines); err != nil {
		t.Error(err)
	}
}

func descriptors(t testing.TB) (list []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil { // the directory's own is closed again
			list = append(list, e.Name()+" "+target)
		}
	}
	return list
}

func sharedMappings(t testing.TB) (list []string) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if perms := strings.Fields(line)[1]; strings.HasSuffix(perms, "s") {
			list = append(list, line)
		}
	}
	return list
}
