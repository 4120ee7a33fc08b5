package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// status is what the puppet's daemon says of itself.
func (p *puppet) status() api.Status {
	p.t.Helper()
	return p.must(order{Do: "status"}).Status
}

// becomes waits until the NIC is in this state.
func (p *puppet) becomes(state string) api.Status {
	p.t.Helper()
	var s api.Status
	nictest.Eventually(p.t, "the NIC to be "+state, func() bool {
		s = p.status()
		return s.NICState == state
	})
	return s
}

// says waits until the daemon has told this.
func (p *puppet) says(what string) {
	p.t.Helper()
	nictest.Eventually(p.t, "the daemon to say "+what, func() bool {
		return slices.ContainsFunc(p.must(order{Do: "status"}).Notices, func(line string) bool { return strings.Contains(line, what) })
	})
}

// answers waits until the wire reaches an address.
func answers(t *testing.T, rig *nictest.Rig, addr string) {
	t.Helper()
	nictest.Eventually(t, "the wire to reach "+addr, func() bool {
		_, err := rig.Wire.Try("ping", "-n", "-q", "-c", "1", "-W", "1", addr)
		return err == nil
	})
}

// requireConserved waits until what the program redirected is accounted for, over
// all sockets that there ever were, and returns how many frames were received.
func (p *puppet) requireConserved(what string) (received uint64) {
	p.t.Helper()
	var k api.KernelStats
	nictest.Eventually(p.t, "every frame to be accounted for "+what, func() bool {
		k = p.must(order{Do: "stats"}).Stats.Kernel
		var redirected, there uint64
		for _, n := range k.Redirected {
			redirected += n
		}
		received = 0
		for _, s := range k.Sockets {
			there += s.Received + s.Unread + s.RxDropped + s.RxRingFull
			received += s.Received
		}
		return redirected == there
	})
	return received
}

// TestRescuedQueueComesBack: sockets that the watchdog took from their workers are
// opened anew, again and again, and what they have counted is not lost.
func TestRescuedQueueComesBack(t *testing.T) {
	nictest.Require(t, "ping")
	rig := stepsRig(t)
	pup := newPuppets(t, rig).start()
	pup.must(order{Do: "attach"})
	pup.must(order{Do: "add", Specs: specs(rig)[:1]})
	before := uint64(0)
	for round := range 3 {
		answers(t, rig, "10.9.1.1")
		if now := pup.requireConserved("before a rescue"); now <= before {
			t.Fatalf("round %d: %d frames were received, %d before", round, now, before)
		} else {
			before = now
		}
		pup.must(order{Do: "rescue"})
		nictest.Eventually(t, "the queue to be served again", func() bool { return pup.status().NICReason == "" })
	}
	answers(t, rig, "10.9.1.1")
	if now := pup.requireConserved("at the end"); now <= before {
		t.Errorf("%d frames were received, %d before", now, before)
	}
	if s := pup.status(); s.NICState != api.NICUp || s.Queues != 1 {
		t.Errorf("%+v", s)
	}
	pup.must(order{Do: "detach"})
}

// TestNoFramesWithoutWorkers: frames go to the sockets once the workers run, and
// not before.
func TestNoFramesWithoutWorkers(t *testing.T) {
	pup := newPuppets(t, nictest.New(t, nictest.Config{Queues: 2})).start()
	steps := pup.must(order{Do: "attach"}).Steps
	workers, first := slices.Index(steps, "attach: workers"), slices.Index(steps, "uplink: slot")
	if n := len(steps); workers < 0 || first < workers || n-first < 2 || steps[first+1] != "uplink: slot" {
		t.Errorf("the steps were %v", steps)
	}
	pup.must(order{Do: "detach"})
}

// TestHeldQueueIsTriedAgain: while somebody else holds the queue, the status says
// who; when he lets go, it is served again.
func TestHeldQueueIsTriedAgain(t *testing.T) {
	nictest.Require(t, "ping")
	rig := stepsRig(t)
	pup := newPuppets(t, rig).start()
	pup.must(order{Do: "attach"})
	pup.must(order{Do: "add", Specs: specs(rig)[:1]})
	answers(t, rig, "10.9.1.1")
	thief := steal(t, rig, pup)
	s := pup.becomes(api.NICUnserved)
	if !strings.Contains(s.NICReason, "another AF_XDP socket") || !strings.Contains(s.NICReason, "holds it") {
		t.Errorf("the reason is %q", s.NICReason)
	}
	if err := thief.Close(); err != nil {
		t.Fatal(err)
	}
	pup.becomes(api.NICUp)
	answers(t, rig, "10.9.1.1")
	pup.requireConserved("after all")
	pup.must(order{Do: "detach"})
}

// steal takes the queue away when a rescue has freed it. The daemon may be faster,
// but waits longer each time.
func steal(t *testing.T, rig *nictest.Rig, pup *puppet) (thief *xdp.Socket) {
	t.Helper()
	index := rig.Host.Index(t, rig.NIC)
	for range 8 {
		pup.must(order{Do: "rescue"})
		err := rig.Host.Do(func() (err error) {
			thief, err = xdp.OpenSocket(xdp.SocketConfig{IfIndex: index, Frames: 128, Patience: 50 * time.Millisecond})
			return err
		})
		if err == nil {
			return thief
		}
		nictest.Eventually(t, "the queue to be served again", func() bool { return pup.status().NICReason == "" })
	}
	t.Fatal("the queue could not be taken")
	return nil
}

// TestQueueHeldAtAttach: an attach that finds a queue held fails with who may hold
// it, and leaves nothing.
func TestQueueHeldAtAttach(t *testing.T) {
	rig := stepsRig(t)
	index := rig.Host.Index(t, rig.NIC)
	var holder *xdp.Socket
	err := rig.Host.Do(func() (err error) {
		holder, err = xdp.OpenSocket(xdp.SocketConfig{IfIndex: index, Frames: 128})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	p := newPuppets(t, rig)
	before := take(t, rig)
	a := p.start().try(order{Do: "attach"})
	if !strings.Contains(a.Err, "AF_XDP socket") || !strings.Contains(a.Err, "queue 0") || !strings.Contains(a.Err, "end its program") {
		t.Errorf("it says %q", a.Err)
	}
	requireSame(t, rig, "refused", before, false)
	requireNone(t, "refused", p.cfg.StateDir)
}

// TestReturnsAsMember: a device that comes back as a member of a bridge is left
// alone, the status says why, and it is served once the bridge lets it go.
func TestReturnsAsMember(t *testing.T) {
	nictest.Require(t, "ping")
	rig := stepsRig(t)
	if out, err := rig.Host.Try("ip", "link", "add", "br0", "type", "bridge"); err != nil {
		nictest.Missing(t, "a kernel with bridges (CONFIG_BRIDGE): "+out)
	}
	pup := newPuppets(t, rig).start()
	pup.must(order{Do: "attach"})
	pup.must(order{Do: "add", Specs: specs(rig)[:1]})
	answers(t, rig, "10.9.1.1")
	rig.RemoveNIC(t)
	pup.becomes(api.NICGone)
	for _, line := range []string{
		"link add other0 type veth peer name " + rig.WireNIC + " netns " + rig.Wire.Name,
		"link set other0 master br0", "link set other0 name " + rig.NIC, "link set " + rig.NIC + " up",
	} {
		rig.Host.Run(t, "ip", strings.Fields(line)...)
	}
	s := pup.becomes(api.NICUnserved)
	if want := rig.NIC + " is a member of the bridge br0"; !strings.Contains(s.NICReason, want) {
		t.Errorf("the reason is %q, want %q", s.NICReason, want)
	}
	if link := rig.Host.Run(t, "ip", "link", "show", rig.NIC); strings.Contains(link, "xdp") {
		t.Errorf("there is a program on it: %s", link)
	}
	rig.Host.Run(t, "ip", "link", "set", rig.NIC, "nomaster")
	rig.Wire.Run(t, "ip", "link", "set", rig.WireNIC, "up")
	rig.Wire.Run(t, "ip", "addr", "add", "10.9.0.1/16", "dev", rig.WireNIC)
	pup.becomes(api.NICUp)
	answers(t, rig, "10.9.1.1")
	pup.must(order{Do: "detach"})
}

// TestCountersSurviveTheNIC: what the sockets of a removed device have counted is
// still there when it has returned, and everything adds up.
func TestCountersSurviveTheNIC(t *testing.T) {
	nictest.Require(t, "ping")
	rig := stepsRig(t)
	pup := newPuppets(t, rig).start()
	pup.must(order{Do: "attach"})
	pup.must(order{Do: "add", Specs: specs(rig)[:1]})
	answers(t, rig, "10.9.1.1")
	before := pup.requireConserved("at first")
	rig.RemoveNIC(t)
	pup.becomes(api.NICGone)
	if away := pup.requireConserved("while it is away"); away < before {
		t.Errorf("%d frames were received, and %d are remembered", before, away)
	}
	rig.ReturnNIC(t)
	pup.becomes(api.NICUp)
	answers(t, rig, "10.9.1.1")
	if after := pup.requireConserved("in the end"); after <= before {
		t.Errorf("%d frames, %d before", after, before)
	}
	pup.must(order{Do: "detach"})
}

// TestStatusIsRememberedFromTheStart: there is something to show from the moment of
// attach on, however busy the daemon is.
func TestStatusIsRememberedFromTheStart(t *testing.T) {
	rig := nictest.New(t, nictest.Config{})
	pup := newPuppets(t, rig).start()
	pup.must(order{Do: "attach"})
	if s := pup.must(order{Do: "status while busy"}).Status; s.NIC != rig.NIC || len(s.Warnings) == 0 {
		t.Errorf("%+v", s)
	}
	pup.must(order{Do: "detach"})
}

// TestHungWorkerDoesNotHoldUpDetach: the NIC's queues are given back and the fault
// is reported; what cannot be undone under a worker is left to a later clean-up.
func TestHungWorkerDoesNotHoldUpDetach(t *testing.T) {
	rig := stepsRig(t)
	p := newPuppets(t, rig)
	before := take(t, rig)
	pup := p.start()
	pup.must(order{Do: "attach"})
	pup.must(order{Do: "add", Specs: specs(rig)})
	pup.must(order{Do: "hang"})
	a := pup.try(order{Do: "detach"})
	if !strings.Contains(a.Err, errHung.Error()) || !strings.Contains(a.Err, "run xdpdemux detach "+rig.NIC) {
		t.Errorf("it says %q", a.Err)
	}
	if link := rig.Host.Run(t, "ip", "link", "show", rig.NIC); strings.Contains(link, "xdp") {
		t.Errorf("the program is left: %s", link)
	}
	pup.kill()
	p.start().must(order{Do: "clean up"})
	requireSame(t, rig, "cleaned up", before, false)
}

// TestBusyPollReachesEverySocket, also those that are opened later, as the kernel
// says.
func TestBusyPollReachesEverySocket(t *testing.T) {
	rig := nictest.New(t, nictest.Config{Queues: 2})
	p := newPuppets(t, rig)
	p.cfg.BusyPoll, p.cfg.BusyPollBudget = 30, 16
	pup := p.start()
	pup.must(order{Do: "attach"})
	want := []xdp.BusyPoll{{Micros: 30, Budget: 16}, {Micros: 30, Budget: 16}}
	if got := pup.must(order{Do: "busy poll"}).Sockets; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if s := pup.status(); s.BusyPoll != 30 {
		t.Errorf("the status says %d", s.BusyPoll)
	}
	pup.must(order{Do: "rescue"})
	nictest.Eventually(t, "the queues to be served again", func() bool { return pup.status().NICReason == "" })
	if got := pup.must(order{Do: "busy poll"}).Sockets; !slices.Equal(got, want) {
		t.Errorf("after a rescue: %+v", got)
	}
	pup.must(order{Do: "detach"})
}

// TestHostGetsAPortsAddress: a port whose address the host gets says so, and the
// status and the log do; a new port cannot have an address of the host's, of
// whatever scope.
func TestHostGetsAPortsAddress(t *testing.T) {
	rig := stepsRig(t)
	rig.Host.Run(t, "ip", "addr", "add", "169.254.9.9/16", "dev", rig.NIC)
	pup := newPuppets(t, rig).start()
	pup.must(order{Do: "attach"})
	spec := specs(rig)[0]
	spec.Name, spec.IPs = "linklocal", prefixes("169.254.9.9/16")
	if a := pup.try(order{Do: "add", Specs: []api.PortSpec{spec}}); !strings.Contains(a.Err, "the host, which has 169.254.9.9") {
		t.Errorf("a link-local address of the host's: %q", a.Err)
	}
	pup.must(order{Do: "add", Specs: specs(rig)[:1]})
	fault := func() string { return pup.must(order{Do: "ports"}).Ports[0].Error }
	for range 2 {
		rig.Host.Run(t, "ip", "addr", "add", "10.9.1.1/32", "dev", "lo")
		nictest.Eventually(t, "the port to say so", func() bool { return strings.Contains(fault(), "the host has got 10.9.1.1 as well") })
		if s := pup.status(); !slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.HasPrefix(w, "port a: the host has got") }) {
			t.Errorf("the status warns of %q", s.Warnings)
		}
		pup.says("port a: the host has got 10.9.1.1 as well")
		rig.Host.Run(t, "ip", "addr", "del", "10.9.1.1/32", "dev", "lo")
		nictest.Eventually(t, "the port to be well again", func() bool { return fault() == "" })
		if s := pup.status(); len(s.Warnings) != 0 {
			t.Errorf("the status warns of %q", s.Warnings)
		}
	}
	pup.must(order{Do: "detach"})
}

// TestOffloadsAreWatched: what somebody switches on while the daemon runs is
// switched off again, and given back at the end.
func TestOffloadsAreWatched(t *testing.T) {
	rig := nictest.New(t, nictest.Config{})
	rig.Host.Run(t, "ethtool", "-K", rig.NIC, "rxvlan", "off")
	pup := newPuppets(t, rig).start()
	pup.must(order{Do: "attach"})
	is := func(want string) func() bool {
		return func() bool {
			return strings.Contains(rig.Host.Run(t, "ethtool", "-k", rig.NIC), "rx-vlan-offload: "+want)
		}
	}
	rig.Host.Run(t, "ethtool", "-K", rig.NIC, "rxvlan", "on")
	nictest.Eventually(t, "the offload to be off", is("off"))
	pup.says("somebody switched rx-vlan-hw-parse on")
	pup.must(order{Do: "detach"})
	if !is("on")() {
		t.Error("it is not given back")
	}
}

// TestChannelsAreWatched: queues that the device gets later are served.
func TestChannelsAreWatched(t *testing.T) {
	rig := nictest.New(t, nictest.Config{Queues: 2})
	rig.Wire.Run(t, "ethtool", "-L", rig.WireNIC, "tx", "1")
	rig.Host.Run(t, "ethtool", "-L", rig.NIC, "rx", "1")
	pup := newPuppets(t, rig).start()
	pup.must(order{Do: "attach"})
	if s := pup.status(); s.Queues != 1 {
		t.Fatalf("%d queues", s.Queues)
	}
	rig.Host.Run(t, "ethtool", "-L", rig.NIC, "rx", "2")
	nictest.Eventually(t, "two queues to be served", func() bool { return pup.status().Queues == 2 })
	if s := pup.status(); len(s.Warnings) != 0 {
		t.Errorf("%q", s.Warnings)
	}
	pup.says(fmt.Sprintf("2 queues of %s are served now", rig.NIC))
	pup.must(order{Do: "detach"})
}

// TestRequestsThatReadDoNotWaitForever: while a request is worked on, a status is
// what was so before it, and others that read end with their contexts.
func TestRequestsThatReadDoNotWaitForever(t *testing.T) {
	d := newDaemon(config.Defaults(), &listener{}, nil)
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.Status(t.Context()); api.CodeOf(err) != api.CodeBusy {
		t.Errorf("a status of which nothing is known: %v", err)
	}
	d.seen.Store(&api.Status{NIC: "nic0", Ports: 7, Warnings: []string{"one"}})
	for range 2 { // what is remembered does not grow
		s, err := d.Status(t.Context())
		if err != nil || s.Ports != 7 || len(s.Warnings) != 2 || !strings.Contains(s.Warnings[1], "another request is being worked on") {
			t.Errorf("%+v, %v", s, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.Ports(ctx); api.CodeOf(err) != api.CodeBusy {
		t.Errorf("ports: %v", err)
	}
	if _, err := d.Stats(ctx, []string{"a"}); api.CodeOf(err) != api.CodeBusy {
		t.Errorf("stats of a port: %v", err)
	}
}
