package daemon

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// memifSpecs are two ports of kind memif, one of each identity.
func memifSpecs() []api.PortSpec {
	list := []api.PortSpec{
		{Name: "s", IPs: prefixes("10.9.2.1/16", "fd09::2a/64"), MemifSpec: api.MemifSpec{UID: 65534, GID: 65534, Secret: "s3cret"},
			Gateways: []netip.Addr{netip.MustParseAddr("fd09::1"), netip.MustParseAddr("10.9.0.1")}},
		{Name: "t:@+-.", IPs: prefixes("10.9.2.2/32"), MAC: api.MAC{2, 0, 0, 0, 9, 7}},
	}
	for i := range list {
		list[i].Kind = api.KindMemif
		list[i] = list[i].WithDefaults()
	}
	return list
}

// tree is everything under a directory: kind, mode and owner by path.
func tree(t *testing.T, dir string) (lines []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%s %o %d:%d", strings.TrimPrefix(path, dir), st.Mode, st.Uid, st.Gid))
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return lines
}

func (p *puppets) tree() []string { return tree(p.t, p.cfg.RunDir) }

func (p *puppets) requireTree(what string, want []string) {
	p.t.Helper()
	if got := p.tree(); !slices.Equal(got, want) {
		p.t.Fatalf("%s: in the run directory is\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestMemifEndpoint: what add and ls tell of a memif port is what a program
// needs, and not the secret.
func TestMemifEndpoint(t *testing.T) {
	rig := stepsRig(t)
	p := newPuppets(t, rig)
	pup := p.start()
	pup.must(order{Do: "attach"})
	pup.must(order{Do: "add", Specs: memifSpecs()})
	ports := pup.must(order{Do: "ports"}).Ports
	s, other := ports[0], ports[1]
	if s.Secret != "" || s.NetNS != "" || s.IfName != "" || s.Client != nil || s.LastDisconnect != "" {
		t.Errorf("%+v", s)
	}
	e := s.Endpoint
	if want := filepath.Join(p.cfg.RunDir, rig.NIC, "s", "memif.sock"); e.SocketPath != want || e.Abstract || e.ID != 0 || !e.SecretRequired {
		t.Errorf("%+v, want %s", e, want)
	}
	if e.MAC != api.MAC(rig.Host.MAC(t, rig.NIC)) || fmt.Sprint(e.IPs) != "[10.9.2.1/16 fd09::2a/64]" || e.Gateway.String() != "10.9.0.1" || len(e.Gateways) != 2 ||
		!e.LinkLocal.IsLinkLocalUnicast() || e.MTU != 1500 || e.Rings != 1 || e.RingSize != 1024 || e.BufferSize != 2048 {
		t.Errorf("%+v", e)
	}
	if e := other.Endpoint; e.MAC != other.MAC || e.Gateway.IsValid() || e.SecretRequired {
		t.Errorf("%+v", e)
	}
	mtu, ips := 1400, prefixes("10.9.2.9/16")
	pup.must(order{Do: "set", Name: "s", Patch: api.Patch{MTU: &mtu, IPs: &ips, Gateways: &[]netip.Addr{}}})
	rig.Host.Run(t, "ip", "link", "set", rig.NIC, "address", "02:00:00:00:77:77")
	nictest.Eventually(t, "the endpoint to have the NIC's new MAC", func() bool {
		e = pup.must(order{Do: "ports"}).Ports[0].Endpoint
		return e.MAC == api.MAC{2, 0, 0, 0, 0x77, 0x77}
	})
	if e.MTU != 1400 || fmt.Sprint(e.IPs) != "[10.9.2.9/16]" || e.Gateway.IsValid() {
		t.Errorf("after set: %+v", e)
	}
	pup.must(order{Do: "detach"})
	p.requireTree("after detach", nil)
}

// TestMemifRefusals: what cannot be is refused with one line, and nothing is left.
func TestMemifRefusals(t *testing.T) {
	rig := stepsRig(t)
	p := newPuppets(t, rig)
	pup := p.start()
	pup.must(order{Do: "attach"})
	before := p.tree()
	spec := func(change func(*api.PortSpec)) []api.PortSpec {
		s := memifSpecs()[0]
		change(&s)
		return []api.PortSpec{s}
	}
	for want, specs := range map[string][]api.PortSpec{
		"port s: it wants 2 rings, and the daemon has 1 of the workers": spec(func(s *api.PortSpec) { s.Rings = 2 }),
		"is longer than the 107 bytes of a Unix socket; choose a short": spec(func(s *api.PortSpec) { s.Name = strings.Repeat("n", 128) }),
		"port s: netns nowhere": spec(func(s *api.PortSpec) { s.Abstract, s.NetNS = "a", "nowhere" }),
	} {
		if a := pup.try(order{Do: "add", Specs: specs}); !strings.Contains(a.Err, want) || strings.Contains(a.Err, "\n") {
			t.Errorf("%q does not say %q", a.Err, want)
		}
		p.requireTree("after a refusal", before)
	}
	abstract := spec(func(s *api.PortSpec) {
		s.Abstract, s.Name = "xdpdemux-"+filepath.Base(p.cfg.RunDir)+rig.NIC, strings.Repeat("n", 128)
	})
	pup.must(order{Do: "add", Specs: abstract})
	p.requireTree("with an abstract socket", before)
	if a := pup.try(order{Do: "add", Specs: spec(func(s *api.PortSpec) { s.Abstract, s.IPs = abstract[0].Abstract, prefixes("10.9.2.99/16") })}); !strings.Contains(a.Err, "is in use") {
		t.Errorf("an abstract socket twice: %q", a.Err)
	}
	requireReady(t, pup, "with an abstract socket", abstract[0].Name)
	pup.must(order{Do: "detach"})
}

// memifChanges are made one after the other, on top of the second of the specs.
func memifChanges() []change {
	ips, mtu := prefixes("10.9.2.7/16"), 1400
	return []change{
		{order{Do: "add", Specs: memifSpecs()[:1]}, [2][]string{{"t:@+-."}, {"s", "t:@+-."}}},
		{order{Do: "set", Name: "s", Patch: api.Patch{IPs: &ips, MTU: &mtu}}, [2][]string{{"s", "t:@+-."}, {"s", "t:@+-."}}},
		{order{Do: "delete", Name: "s"}, [2][]string{{"s", "t:@+-."}, {"t:@+-."}}},
	}
}

// TestMemifChangeFailsAtEachStep: an add or set of a memif port that fails at
// any step leaves no trace; a delete is carried out as far as it can be.
func TestMemifChangeFailsAtEachStep(t *testing.T) {
	rig := stepsRig(t)
	p := newPuppets(t, rig)
	pup := p.start()
	pup.must(order{Do: "attach"})
	pup.must(order{Do: "add", Specs: memifSpecs()[1:]})
	for _, c := range memifChanges() {
		before, files := take(t, rig), p.tree()
		idle := pup.must(order{Do: "count"})
		for at := 1; ; at++ {
			o := c.order
			o.At = at
			a := pup.try(o)
			if !a.failed(o) || o.Do == "delete" {
				requireReady(t, pup, o.Do, c.ports[1]...)
				break
			}
			what := fmt.Sprintf("%s %s that failed at %q", o.Do, o.Name, a.Steps[at-1])
			if !strings.Contains(a.Err, errStep.Error()) {
				t.Fatalf("%s says %q", what, a.Err)
			}
			requireReady(t, pup, what, c.ports[0]...)
			requireSame(t, rig, what, before, true)
			p.requireTree(what, files)
			if now := pup.must(order{Do: "count"}); now.Descriptors > idle.Descriptors {
				t.Errorf("%s: %d descriptors were open, now %d", what, idle.Descriptors, now.Descriptors)
			}
		}
	}
	pup.must(order{Do: "detach"})
	p.requireTree("after detach", nil)
}

// TestMemifKilledAtEachStep: a daemon that dies at any step of a change of a
// memif port is followed by one that completes it or undoes it, and whose
// clean-up leaves nothing.
func TestMemifKilledAtEachStep(t *testing.T) {
	rig := stepsRig(t)
	p := newPuppets(t, rig)
	before := take(t, rig)
	first := p.start()
	first.must(order{Do: "attach"})
	first.must(order{Do: "add", Specs: memifSpecs()[1:]})
	first.leave()
	for _, c := range memifChanges() {
		for at := 1; ; at++ {
			victim := p.start()
			victim.must(order{Do: "attach"})
			was := p.tree()
			o := c.order
			o.At = at
			died, _ := victim.kills(o)
			heir := victim
			what := fmt.Sprintf("%s %s killed at step %d", o.Do, o.Name, at)
			if died {
				heir = p.start()
				heir.must(order{Do: "attach"})
			}
			after := isDone(heir, o)
			requireReady(t, heir, what, c.ports[after]...)
			if after == 0 || c.order.Do == "set" {
				p.requireTree(what, was)
			}
			if !died {
				heir.leave()
				break
			}
			undoMemif(heir, c.order, after)
			heir.leave()
		}
	}
	if c := p.start().must(order{Do: "clean up"}); c.Err != "" {
		t.Error(c.Err)
	}
	p.requireTree("after a clean-up", nil)
	requireSame(t, rig, "after a clean-up", before, false)
}

// undoMemif makes everything as it was before a change, if it was made.
func undoMemif(pup *puppet, o order, made int) {
	s := memifSpecs()[0]
	switch {
	case made == 0:
	case o.Do == "add":
		pup.must(order{Do: "delete", Name: "s"})
	case o.Do == "delete":
		pup.must(order{Do: "add", Specs: []api.PortSpec{memifChanges()[1].order.Patch.Apply(s)}})
	case o.Do == "set":
		pup.must(order{Do: "set", Name: "s", Patch: api.PatchBetween(o.Patch.Apply(s), s)})
	}
}

// TestMemifAttachFailsAtEachStep: an attach that fails leaves no socket, and no
// descriptor or goroutine; the next one has both ports again.
func TestMemifAttachFailsAtEachStep(t *testing.T) {
	rig := stepsRig(t)
	p := newPuppets(t, rig)
	pup := p.start()
	pup.must(order{Do: "attach"})
	pup.must(order{Do: "add", Specs: memifSpecs()})
	files := p.tree()
	idle := pup.must(order{Do: "detach"})
	p.requireTree("after detach", nil)
	for at := 1; ; at++ {
		o := order{Do: "attach", At: at}
		a := pup.try(o)
		if a.Err == "" {
			if !a.failed(o) {
				requireReady(t, pup, "attached again", "s", "t:@+-.")
				p.requireTree("attached again", files)
			}
			pup.must(order{Do: "detach"})
		}
		if !a.failed(o) {
			return
		}
		step := a.Steps[at-1]
		p.requireTree("after a failure at "+step, nil)
		nictest.Eventually(t, "all to be given back after "+step, func() bool {
			now := pup.must(order{Do: "count"})
			return now.Descriptors <= idle.Descriptors && now.Goroutines <= idle.Goroutines
		})
	}
}

// TestMemifDirectoryIsHostile: what a client puts into its directory, or in the
// place of its socket, is no way out of it and keeps nobody away.
func TestMemifDirectoryIsHostile(t *testing.T) {
	rig := stepsRig(t)
	p := newPuppets(t, rig)
	pup := p.start()
	pup.must(order{Do: "attach"})
	pup.must(order{Do: "add", Specs: memifSpecs()})
	dir := filepath.Join(p.cfg.RunDir, rig.NIC, "s")
	precious := filepath.Join(t.TempDir(), "precious")
	must := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	must(os.WriteFile(precious, []byte("x"), 0o600), os.Remove(filepath.Join(dir, "memif.sock")),
		os.Symlink(precious, filepath.Join(dir, "memif.sock")), os.Symlink(filepath.Dir(precious), filepath.Join(dir, ".memif-x")))
	pup.must(order{Do: "delete", Name: "s t:@+-."})
	var st unix.Stat_t
	must(unix.Lstat(precious, &st))
	if st.Uid != uint32(os.Geteuid()) || st.Mode&0o777 != 0o600 {
		t.Errorf("what a link led to is %o of %d now", st.Mode, st.Uid)
	}
	pup.must(order{Do: "detach"})
	must(unix.Lstat(precious, &st))
}
