package nic

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// These tests run on a veth NIC in namespaces of their own and need root.

// openIn opens an interface of the rig's host.
func openIn(t *testing.T, r *nictest.Rig, cfg Config) *NIC {
	t.Helper()
	var n *NIC
	err := r.Host.Do(func() (err error) {
		n, err = OpenConfig(cfg)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func facts(t *testing.T, n *NIC) Facts {
	t.Helper()
	f, err := n.Facts()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFactsOfVeth(t *testing.T) {
	r := nictest.New(t, nictest.Config{Queues: 2, MTU: 9000, HostAddrs: []string{"10.9.0.1/16", "fd09::1/64"}})
	n := openIn(t, r, Config{Name: r.NIC})
	f := facts(t, n)
	if f.Name != r.NIC || f.Index != r.Host.Index(t, r.NIC) || f.MAC != r.Host.MAC(t, r.NIC) || f.MTU != 9000 {
		t.Errorf("identity: %+v", f)
	}
	if f.Kind != "veth" || f.Driver != "veth" || f.LinkType != "ether" || f.Loopback || f.PermanentMAC != [6]byte{} {
		t.Errorf("kind: %+v", f)
	}
	if !f.Up || !f.Carrier || f.Promiscuous || f.Master != "" || f.XDPProgram != 0 || f.XDPMode != "" {
		t.Errorf("state: %+v", f)
	}
	if want := (Channels{Rx: 2, Tx: 2, MaxRx: 2, MaxTx: 2, Exact: true}); f.Channels != want {
		t.Errorf("channels: %+v, want %+v", f.Channels, want)
	}
	if on, known := f.Features["rx-vlan-hw-parse"]; !on || !known {
		t.Errorf("features: %v", f.Features)
	}
	if f.XDP == nil || !f.XDP.Native || !f.XDP.Redirect || !f.XDP.Fragments || f.XDP.ZeroCopy {
		t.Errorf("XDP: %+v", f.XDP)
	}
	for _, want := range []string{"10.9.0.1/16", "fd09::1/64", r.Host.LinkLocal(t, r.NIC).String() + "/64"} {
		if !slices.Contains(f.Addrs, netip.MustParsePrefix(want)) {
			t.Errorf("no %s in %v", want, f.Addrs)
		}
	}
	mustDo(t, n.Check())
}

func TestFactsFollow(t *testing.T) {
	r := nictest.New(t, nictest.Config{Queues: 4})
	n := openIn(t, r, Config{Name: r.NIC})
	// RX queues must not be fewer than the peer sends on; the peer's go first.
	r.Wire.Run(t, "ethtool", "-L", r.WireNIC, "tx", "2")
	r.Host.Run(t, "ethtool", "-L", r.NIC, "rx", "3")
	r.Host.Run(t, "ip", "link", "set", r.NIC, "promisc", "on")
	r.Host.Run(t, "ip", "link", "set", r.NIC, "down")
	r.Host.Run(t, "ip", "link", "set", r.NIC, "name", "renamed0")
	f := facts(t, n)
	if f.Name != "renamed0" || f.Up || f.Carrier || !f.Promiscuous {
		t.Errorf("after a rename: %+v", f)
	}
	if f.Channels.Rx != 3 || f.Channels.Tx != 4 || f.Channels.MaxRx != 4 {
		t.Errorf("channels: %+v", f.Channels)
	}
	r.Host.Run(t, "ip", "link", "del", "renamed0")
	var missing *NotFoundError
	for _, err := range []error{errOf(n.Facts()), n.Check(), errOf(n.Plan(PrepareConfig{}))} {
		if !errors.As(err, &missing) {
			t.Errorf("of a removed NIC: %v", err)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

// A driver that does not tell its channels leaves the link's own numbers.
func TestChannelsOfADriverThatDoesNotTell(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	r.Host.Run(t, "ip", "link", "add", "br0", "type", "bridge")
	f := facts(t, openIn(t, r, Config{Name: "br0"}))
	if f.Channels.Exact || f.Channels.Rx < 1 || f.Channels.Tx < 1 {
		t.Errorf("channels: %+v", f.Channels)
	}
}

func TestAlternativeName(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	const long = "a-name-that-is-longer-than-fifteen"
	r.Host.Run(t, "ip", "link", "property", "add", "dev", r.NIC, "altname", long)
	if n := openIn(t, r, Config{Name: long}); n.Index() != r.Host.Index(t, r.NIC) {
		t.Errorf("opened interface %d", n.Index())
	}
}

// Bonds and Open vSwitch are not in every kernel; TestFactsCheck has them.
func TestMemberIsRefusedByName(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	n := openIn(t, r, Config{Name: r.NIC})
	r.Host.Run(t, "ip", "link", "add", "br0", "type", "bridge")
	r.Host.Run(t, "ip", "link", "set", r.NIC, "master", "br0")
	var unfit *UnfitError
	err := n.Check()
	if !errors.As(err, &unfit) || unfit.Reason != UnfitMember || unfit.Master != "br0" || unfit.MasterKind != "bridge" {
		t.Fatalf("a member of a bridge: %v", err)
	}
	oneLine(t, err, r.NIC, "bridge br0", "nomaster")
	r.Host.Run(t, "ip", "link", "set", r.NIC, "nomaster")
	mustDo(t, n.Check())
}

func TestTunIsRefused(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	r.Host.Run(t, "ip", "tuntap", "add", "t0", "mode", "tun")
	var unfit *UnfitError
	if err := openIn(t, r, Config{Name: "t0"}).Check(); !errors.As(err, &unfit) || unfit.Reason != UnfitLinkType {
		t.Errorf("a tun: %v", err)
	}
}

func TestPrepareAndRestore(t *testing.T) {
	r := nictest.New(t, nictest.Config{NICGRO: true})
	n := openIn(t, r, Config{Name: r.NIC})
	before := nictest.Snapshot(t, r.Host)

	native, err := n.Plan(PrepareConfig{})
	mustDo(t, err)
	if want := []string{"rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"}; !slices.Equal(native.Off, want) || native.Stuck != nil {
		t.Fatalf("plan: %+v, want %q off", native, want)
	}
	if d := nictest.Diff(before, nictest.Snapshot(t, r.Host)); len(d) != 0 {
		t.Errorf("planning changed\n%s", strings.Join(d, "\n"))
	}
	native, err = n.Prepare(native)
	mustDo(t, err)
	generic, err := n.Plan(PrepareConfig{Generic: true})
	mustDo(t, err)
	if want := []string{"rx-gro"}; !slices.Equal(generic.Off, want) {
		t.Errorf("second plan: %q off, want %q", generic.Off, want)
	}
	generic, err = n.Prepare(generic)
	mustDo(t, err)
	f := facts(t, n)
	record := native.Merge(generic)
	for _, name := range record.Off {
		if f.Features[name] {
			t.Errorf("%s is still on", name)
		}
	}
	if len(record.Off) != 3 || len(record.Stuck) != 0 {
		t.Errorf("record: %+v", record)
	}
	if _, err := n.Prepare(record); err != nil {
		t.Errorf("again: %v", err)
	}
	mustDo(t, n.Restore(record))
	mustDo(t, n.Restore(record)) // nothing is left to do
	if d := nictest.Diff(before, nictest.Snapshot(t, r.Host)); len(d) != 0 {
		t.Errorf("not restored:\n%s", strings.Join(d, "\n"))
	}
}

// What somebody switched off before stays off after.
func TestRestoreLeavesWhatWasOff(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	r.Host.Run(t, "ethtool", "-K", r.NIC, "rxvlan", "off")
	n := openIn(t, r, Config{Name: r.NIC})
	before := nictest.Snapshot(t, r.Host)
	record, err := n.Plan(PrepareConfig{})
	mustDo(t, err)
	record, err = n.Prepare(record)
	mustDo(t, err)
	mustDo(t, n.Restore(record))
	if d := nictest.Diff(before, nictest.Snapshot(t, r.Host)); len(d) != 0 {
		t.Errorf("not as before:\n%s", strings.Join(d, "\n"))
	}
}

// A later process restores from the record alone, though the NIC was renamed.
func TestRestoreByRecord(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	n := openIn(t, r, Config{Name: r.NIC})
	before := nictest.Snapshot(t, r.Host)
	record, err := n.Plan(PrepareConfig{})
	mustDo(t, err)
	record, err = n.Prepare(record)
	mustDo(t, err)
	kept, err := json.Marshal(record)
	mustDo(t, err)
	mustDo(t, n.Close())

	var later Record
	mustDo(t, json.Unmarshal(kept, &later))
	r.Host.Run(t, "ip", "link", "set", r.NIC, "name", "renamed0")
	mustDo(t, r.Host.Do(func() error { return Restore(later) }))
	r.Host.Run(t, "ip", "link", "set", "renamed0", "name", r.NIC)
	if d := nictest.Diff(before, nictest.Snapshot(t, r.Host)); len(d) != 0 {
		t.Errorf("not restored:\n%s", strings.Join(d, "\n"))
	}
	r.RemoveNIC(t)
	var missing *NotFoundError
	if err := r.Host.Do(func() error { return Restore(later) }); !errors.As(err, &missing) {
		t.Errorf("of a NIC that is gone: %v", err)
	}
	r.ReturnNIC(t) // another index, the same name: what is on there is left alone
	mustDo(t, r.Host.Do(func() error { return Restore(later) }))
}

// The device is pulled out while it is held.
func TestRestoreOfANICThatIsGone(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	n := openIn(t, r, Config{Name: r.NIC})
	record, err := n.Plan(PrepareConfig{})
	mustDo(t, err)
	record, err = n.Prepare(record)
	mustDo(t, err)
	r.RemoveNIC(t)
	var gone *NotFoundError
	if err := n.Restore(record); !errors.As(err, &gone) || gone.Index != record.Index {
		t.Errorf("got %v", err)
	}
}

// An index that another device took meanwhile is not the NIC.
func TestRestoreMistakesNobody(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	r.Host.Run(t, "ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1")
	r.Host.Run(t, "ethtool", "-K", "other0", "rxvlan", "off")
	record := Record{Index: r.Host.Index(t, "other0"), Name: "gone0", MAC: "02:00:00:00:00:99", Off: []string{"rx-vlan-hw-parse"}}
	before := nictest.Snapshot(t, r.Host)
	var missing *NotFoundError
	if err := r.Host.Do(func() error { return Restore(record) }); !errors.As(err, &missing) {
		t.Errorf("got %v", err)
	}
	if d := nictest.Diff(before, nictest.Snapshot(t, r.Host)); len(d) != 0 {
		t.Errorf("changed:\n%s", strings.Join(d, "\n"))
	}
}

// Neither offloads nor address filters cost the host a frame, on a driver that
// does not reset its link for them.
func TestHostLosesNothing(t *testing.T) {
	nictest.Require(t, "ping")
	r := nictest.New(t, nictest.Config{HostAddrs: []string{"10.9.0.1/16"}, WireAddrs: []string{"10.9.0.2/16"}})
	n := openIn(t, r, Config{Name: r.NIC, MaxUnicast: 2, MaxGroups: 2})
	ping := r.Wire.Start(t, "ping", "-q", "-i", "0.002", "-c", "500", "-W", "10", "10.9.0.1")
	plan, err := n.Plan(PrepareConfig{Generic: true})
	mustDo(t, err)
	cycles := 0
	for running := true; running; cycles++ {
		_, err := n.Prepare(plan)
		mustDo(t, err)
		mustDo(t, n.AddMACs(unicastMACs(4)...))
		mustDo(t, n.JoinGroups(macs(0, 4)...))
		mustDo(t, n.RemoveMACs(unicastMACs(4)...))
		mustDo(t, n.LeaveGroups(macs(0, 4)...))
		mustDo(t, n.Restore(plan))
		select {
		case <-ping.Done():
			running = false
		default:
		}
	}
	if err := ping.Wait(); err != nil || !strings.Contains(ping.Output(), " 0% packet loss") {
		t.Errorf("over %d cycles: %v\n%s", cycles, err, ping.Output())
	}
}
