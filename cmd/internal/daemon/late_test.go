package daemon

import (
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestRequestsAfterDetach: a request that comes too late, since it waited while
// the daemon detached, makes nothing and reads nothing.
func TestRequestsAfterDetach(t *testing.T) {
	rig := stepsRig(t)
	p := newPuppets(t, rig)
	pup := p.start()
	pup.must(order{Do: "attach"})
	pup.must(order{Do: "add", Specs: specs(rig)[1:]})
	pup.must(order{Do: "detach"})
	after := take(t, rig)
	for _, late := range []order{
		{Do: "add", Specs: specs(rig)[:1]}, {Do: "delete", Name: "m"}, {Do: "set", Name: "m", Patch: portChanges(rig)[2].order.Patch}, {Do: "ports"},
	} {
		if a := pup.try(late); !strings.Contains(a.Err, "has detached") {
			t.Errorf("%s says %q", late.Do, a.Err)
		}
	}
	requireSame(t, rig, "after late requests", after, false)
}

// TestFailedAttachEndsItsThreads: an attach that fails late leaves no goroutine
// that would follow the NIC.
func TestFailedAttachEndsItsThreads(t *testing.T) {
	rig := stepsRig(t)
	p := newPuppets(t, rig)
	remembered(p)
	pup := p.start()
	pup.must(order{Do: "attach"})
	idle := pup.must(order{Do: "detach"}).Goroutines
	for at := 1; ; at++ {
		o := order{Do: "attach", At: at}
		a := pup.try(o)
		if a.Err == "" {
			pup.must(order{Do: "detach"})
		}
		if !a.failed(o) {
			return
		}
		nictest.Eventually(t, "the goroutines to end after "+a.Steps[at-1], func() bool { return pup.must(order{Do: "count"}).Goroutines <= idle })
	}
}
