package nic

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// fdb is how many of the addresses stand in an interface's filter.
func fdb(t *testing.T, r *nictest.Rig, ifname string, addrs [][6]byte) int {
	t.Helper()
	table := r.Host.Run(t, "bridge", "fdb", "show", "dev", ifname)
	n := 0
	for _, a := range addrs {
		if strings.Contains(table, fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x ", a[0], a[1], a[2], a[3], a[4], a[5])) {
			n++
		}
	}
	return n
}

// linkField is the word behind another one in "ip -d link", such as promiscuity.
func linkField(t *testing.T, r *nictest.Rig, ifname, field string) string {
	t.Helper()
	words := strings.Fields(r.Host.Run(t, "ip", "-d", "link", "show", ifname))
	i := slices.Index(words, field)
	if i < 0 || i+1 == len(words) {
		t.Fatalf("no %s of %s in %q", field, ifname, words)
	}
	return words[i+1]
}

func unicastMACs(n int) [][6]byte {
	list := macs(0, n)
	for i := range list {
		list[i][0] = 0x02
	}
	return list
}

func unchanged(t *testing.T, r *nictest.Rig, before map[string]string) {
	t.Helper()
	if d := nictest.Diff(before, nictest.Snapshot(t, r.Host)); len(d) != 0 {
		t.Errorf("not as before:\n%s", strings.Join(d, "\n"))
	}
}

// A macvlan has a unicast filter; a veth has none, and the kernel makes it
// promiscuous in its stead.
func TestUnicastFilter(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	r.Host.Run(t, "ip", "link", "add", "link", r.NIC, "name", "mv0", "type", "macvlan")
	r.Host.Run(t, "ip", "link", "set", "mv0", "up")
	for ifname, promiscuity := range map[string]string{"mv0": "0", r.NIC: "1"} {
		t.Run(ifname, func(t *testing.T) {
			n := openIn(t, r, Config{Name: ifname, MaxUnicast: 10})
			before := nictest.Snapshot(t, r.Host)
			own := unicastMACs(12)
			mustDo(t, n.AddMACs(own[:10]...))
			if got := fdb(t, r, ifname, own); got != 10 {
				t.Errorf("%d of 10 addresses are in the filter", got)
			}
			if got := linkField(t, r, ifname, "promiscuity"); got != promiscuity {
				t.Errorf("promiscuity %s, want %s", got, promiscuity)
			}
			mustDo(t, n.AddMACs(own[10:]...)) // beyond the limit
			if got, want := n.Accepted(), (Accepted{MACs: 12, Promiscuous: true}); got != want {
				t.Errorf("accepted %+v, want %+v", got, want)
			}
			if !facts(t, n).Promiscuous {
				t.Error("not promiscuous beyond the limit")
			}
			mustDo(t, n.RemoveMACs(own[:2]...))
			if got := fdb(t, r, ifname, own); got != 10 || n.Accepted().Promiscuous {
				t.Errorf("back at the limit: %d in the filter, %+v", got, n.Accepted())
			}
			mustDo(t, n.RemoveMACs(own...))
			unchanged(t, r, before)
		})
	}
}

func TestGroups(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	n := openIn(t, r, Config{Name: r.NIC, MaxGroups: 20})
	before := nictest.Snapshot(t, r.Host)
	groups := macs(0, 30)
	mustDo(t, n.JoinGroups(groups[:20]...))
	if got := fdb(t, r, r.NIC, groups); got != 20 {
		t.Errorf("%d of 20 groups are joined", got)
	}
	mustDo(t, n.JoinGroups(groups[20:]...))
	if got := linkField(t, r, r.NIC, "allmulti"); got != "1" {
		t.Errorf("allmulti is %s beyond the limit", got)
	}
	mustDo(t, n.LeaveGroups(groups[:10]...))
	if got := fdb(t, r, r.NIC, groups); got != 20 || linkField(t, r, r.NIC, "allmulti") != "0" {
		t.Errorf("back at the limit: %d groups, %+v", got, n.Accepted())
	}
	mustDo(t, n.LeaveGroups(groups...))
	unchanged(t, r, before)
}

// What somebody else joined is theirs: we take only ours back.
func TestOthersMembershipsStay(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	n := openIn(t, r, Config{Name: r.NIC, MaxUnicast: 1, MaxGroups: 1})
	r.Host.Run(t, "ip", "maddr", "add", "33:33:ff:00:00:00", "dev", r.NIC)
	r.Host.Run(t, "ip", "link", "set", r.NIC, "promisc", "on", "allmulticast", "on")
	before := nictest.Snapshot(t, r.Host)
	mustDo(t, n.JoinGroups(macs(0, 5)...))
	mustDo(t, n.AddMACs(unicastMACs(5)...))
	mustDo(t, n.LeaveGroups(macs(0, 5)...))
	mustDo(t, n.RemoveMACs(unicastMACs(5)...))
	unchanged(t, r, before)
}

func TestTenThousandAddresses(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	n := openIn(t, r, Config{Name: r.NIC})
	before := nictest.Snapshot(t, r.Host)
	for _, m := range unicastMACs(10000) { // one by one, as ports come
		mustDo(t, n.AddMACs(m))
	}
	for _, g := range macs(0, 10000) {
		mustDo(t, n.JoinGroups(g))
	}
	if got, want := n.Accepted(), (Accepted{MACs: 10000, Groups: 10000, Promiscuous: true, AllMulti: true}); got != want {
		t.Errorf("accepted %+v, want %+v", got, want)
	}
	for i, m := range unicastMACs(10000) {
		mustDo(t, n.RemoveMACs(m))
		mustDo(t, n.LeaveGroups(macs(i, i+1)...))
	}
	unchanged(t, r, before)
}

// Memberships end with the process that holds them, however it ends.
func TestKilledHolderLeavesNothing(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	before := nictest.Snapshot(t, r.Host)
	holder := r.Host.Command(os.Args[0])
	stdin, err := holder.StdinPipe() // keeps it waiting
	mustDo(t, err)
	defer stdin.Close()
	holder.Env = append(os.Environ(), "NIC_TEST_HOLD="+r.NIC)
	out, err := holder.StdoutPipe()
	mustDo(t, err)
	mustDo(t, holder.Start())
	t.Cleanup(func() { _ = holder.Process.Kill() })
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "holding") {
	}
	if got := fdb(t, r, r.NIC, macs(0, 3)); got != 3 {
		t.Fatalf("the holder joined %d of 3 groups", got)
	}
	if got := linkField(t, r, r.NIC, "allmulti"); got != "1" {
		t.Fatalf("the holder's allmulti is %s", got)
	}
	mustDo(t, holder.Process.Signal(unix.SIGKILL))
	_ = holder.Wait()
	unchanged(t, r, before)
}

// hold is the process that TestKilledHolderLeavesNothing kills.
func hold(name string) error {
	n, err := OpenConfig(Config{Name: name, MaxGroups: 3})
	if err != nil {
		return err
	}
	if err := join(n.AddMACs(unicastMACs(3)...), n.JoinGroups(macs(0, 6)...)); err != nil {
		return err
	}
	fmt.Println("holding")
	_, err = os.Stdin.Read(make([]byte, 1)) // for ever
	return err
}

func TestMain(m *testing.M) {
	if name := os.Getenv("NIC_TEST_HOLD"); name != "" {
		fmt.Println(hold(name))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestRebind(t *testing.T) {
	r := nictest.New(t, nictest.Config{})
	n := openIn(t, r, Config{Name: r.NIC, MaxGroups: 4})
	before := nictest.Snapshot(t, r.Host)
	mustDo(t, n.AddMACs(unicastMACs(2)...))
	mustDo(t, n.JoinGroups(macs(0, 3)...))
	mustDo(t, n.Rebind(n.Index())) // it never left
	mustDo(t, n.RemoveMACs(unicastMACs(2)...))
	mustDo(t, n.LeaveGroups(macs(0, 3)...))
	unchanged(t, r, before)

	mustDo(t, n.AddMACs(unicastMACs(2)...))
	mustDo(t, n.JoinGroups(macs(0, 3)...))
	r.RemoveNIC(t)
	mustDo(t, n.JoinGroups(macs(3, 9)...)) // noted
	mustDo(t, n.RemoveMACs(unicastMACs(1)...))
	r.ReturnNIC(t)
	before = nictest.Snapshot(t, r.Host)
	mustDo(t, n.Rebind(r.Host.Index(t, r.NIC)))
	if got := fdb(t, r, r.NIC, unicastMACs(2)); got != 1 {
		t.Errorf("%d unicast addresses are back, want 1", got)
	}
	if got := linkField(t, r, r.NIC, "allmulti"); got != "1" {
		t.Errorf("allmulti is %s", got)
	}
	mustDo(t, n.LeaveGroups(macs(0, 9)...))
	mustDo(t, n.RemoveMACs(unicastMACs(2)...))
	unchanged(t, r, before)
}

// Without privilege everything can be asked and nothing be changed.
func TestWithoutPrivilege(t *testing.T) {
	n := &NIC{packet: &packetSocket{fd: -1, refused: unix.EPERM}, unicast: newFilter(one, all, 0, 1)}
	if err := n.AddMACs(macA); err == nil {
		t.Error("an address was accepted without a socket")
	} else {
		oneLine(t, err)
	}
	if got := n.Accepted(); got != (Accepted{}) {
		t.Errorf("left behind: %+v", got)
	}
}
