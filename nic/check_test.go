package nic

import (
	"errors"
	"strings"
	"testing"
)

func TestFactsCheck(t *testing.T) {
	fit := Facts{Name: "n0", LinkType: "ether"}
	with := func(change func(*Facts)) Facts {
		f := fit
		change(&f)
		return f
	}
	for name, c := range map[string]struct {
		facts Facts
		want  Unfit
		words []string // in the message
	}{
		"fit":      {fit, 0, nil},
		"down":     {with(func(f *Facts) { f.Up = false }), 0, nil},
		"in a VRF": {with(func(f *Facts) { f.Master, f.MasterKind = "red", "vrf" }), 0, nil},
		"loopback": {with(func(f *Facts) { f.Name, f.Loopback, f.LinkType = "lo", true, "loopback" }), UnfitLoopback, []string{"lo is the loopback interface", "choose"}},
		"tun":      {with(func(f *Facts) { f.LinkType = "none" }), UnfitLinkType, []string{"n0 carries none", "choose"}},
		"bridge":   {with(func(f *Facts) { f.Master, f.MasterKind = "br0", "bridge" }), UnfitMember, []string{"bridge br0", "ip link set n0 nomaster"}},
		"bond":     {with(func(f *Facts) { f.Master, f.MasterKind = "bond0", "bond" }), UnfitMember, []string{"bond bond0", "ip link set n0 nomaster"}},
		"team":     {with(func(f *Facts) { f.Master, f.MasterKind = "t0", "team" }), UnfitMember, []string{"team t0"}},
		"OVS":      {with(func(f *Facts) { f.Master, f.MasterKind = "ovs-system", "openvswitch" }), UnfitMember, []string{"Open vSwitch datapath ovs-system", "ovs-vsctl del-port n0"}},
		"unknown":  {with(func(f *Facts) { f.Master = "x0" }), UnfitMember, []string{"device x0"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.facts.Check()
			if c.want == 0 {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var unfit *UnfitError
			if !errors.As(err, &unfit) || unfit.Reason != c.want {
				t.Fatalf("got %v, want reason %d", err, c.want)
			}
			oneLine(t, err, c.words...)
		})
	}
}

// oneLine fails unless an error is one line with all of the words.
func oneLine(t *testing.T, err error, words ...string) {
	t.Helper()
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %q", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in %q", w, err)
		}
	}
}

func TestNotFoundError(t *testing.T) {
	oneLine(t, &NotFoundError{Name: "nic9"}, `no interface "nic9"`, "ip link")
	oneLine(t, &NotFoundError{Index: 7}, "index 7")
	oneLine(t, &NotFoundError{}, `""`)
}

// Opening and asking needs no root: this is the test's own namespace.
func TestOpenUnknown(t *testing.T) {
	for _, name := range []string{"", "no-such-nic", "a-name-that-is-longer-than-fifteen", strings.Repeat("x", 300), "a/b", "."} {
		var missing *NotFoundError
		if _, err := Open(name); !errors.As(err, &missing) {
			t.Errorf("Open(%.20q): %v", name, err)
		}
	}
}

func TestLoopbackIsRefused(t *testing.T) {
	n, err := Open("lo")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	var unfit *UnfitError
	if err := n.Check(); !errors.As(err, &unfit) || unfit.Reason != UnfitLoopback {
		t.Errorf("loopback: %v", err)
	}
}
