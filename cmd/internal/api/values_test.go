package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

func TestErrorCrossesTheSocket(t *testing.T) {
	e := api.Errorf(api.CodeGone, "netns x: %w", fs.ErrNotExist).WithHint("make it again")
	if got := e.Error(); got != "netns x: file does not exist; make it again" {
		t.Error(got)
	}
	if !errors.Is(e, fs.ErrNotExist) {
		t.Error("what was wrapped is out of reach")
	}
	data, err := json.Marshal(api.ErrorReply{Error: e})
	if err != nil {
		t.Fatal(err)
	}
	var back api.ErrorReply
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if back.Error.Error() != e.Error() || api.CodeOf(back.Error) != api.CodeGone {
		t.Errorf("%s became %v", data, back.Error)
	}
}

func TestCodeOf(t *testing.T) {
	e := api.Errorf(api.CodeLimit, "ports: none left").WithHint("raise it")
	for _, c := range []struct {
		err  error
		code api.Code
		text string
	}{
		{nil, "", ""},
		{errors.New("x"), api.CodeFailed, "x"},
		{e, api.CodeLimit, "ports: none left; raise it"},
		{fmt.Errorf("adding: %w", e), api.CodeLimit, "adding: ports: none left; raise it"},
	} {
		if got := api.CodeOf(c.err); got != c.code {
			t.Errorf("%v has code %q, want %q", c.err, got, c.code)
		}
		as := api.AsError(c.err)
		if (as == nil) != (c.err == nil) || as != nil && (as.Code != c.code || as.Error() != c.text) {
			t.Errorf("%v became %+v", c.err, as)
		}
	}
}

func TestMACText(t *testing.T) {
	m, err := api.ParseMAC("02-00-00-00-00-0A")
	if err != nil || m.String() != "02:00:00:00:00:0a" {
		t.Errorf("%v, %v", m, err)
	}
	for _, bad := range []string{"", "02:00", "02:00:00:00:00:00:00:01", "gg:00:00:00:00:00"} {
		if _, err := api.ParseMAC(bad); api.CodeOf(err) != api.CodeUsage {
			t.Errorf("%q: %v", bad, err)
		}
	}
	var back api.MAC
	if err := back.UnmarshalText([]byte(m.String())); err != nil || back != m {
		t.Errorf("%v, %v", back, err)
	}
	if err := back.UnmarshalText(nil); err != nil || !back.IsZero() || back.String() != "" {
		t.Errorf("%v, %v", back, err)
	}
}

// A spec is written without what was left out, and comes back equal.
func TestSpecJSON(t *testing.T) {
	p := valid()
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"name":"web1","ips":["10.0.0.5/24","2001:db8::5/64"],"netns":"web1"}`; string(data) != want {
		t.Errorf("got  %s\nwant %s", data, want)
	}
	p.MAC, p.Gateways, p.Prefixes = api.MAC{2, 0, 0, 0, 0, 9}, addrs("10.0.0.1"), prefixes("10.1.0.0/24")
	data, _ = json.Marshal(p)
	var back api.PortSpec
	if err := api.DecodeStrict(data, &back); err != nil || !reflect.DeepEqual(p, back) {
		t.Errorf("%v\n%+v\n%+v", err, p, back)
	}
}

func TestDecodeStrict(t *testing.T) {
	for text, want := range map[string]string{
		`{"name":"a"}`:             "",
		`{"name":"a"}  ` + "\n":    "",
		`{"nome":"a"}`:             `unknown field "nome"`,
		`{"name":"a"} x`:           "something stands behind",
		`{"name":"a"}{}`:           "something stands behind",
		`{"name":1}`:               "name: number where a string belongs",
		`{"vlan":70000}`:           "vlan: number 70000 where a whole number below 65536 belongs",
		`{"mtu":"x"}`:              "mtu: string where a whole number belongs",
		`{"ips":"10.0.0.5/24"}`:    "ips: string where a list belongs",
		`{"no_source_check":"no"}`: "no_source_check: string where true or false belongs",
		`{"ips":["10.0.0.5"]}`:     `"10.0.0.5"`,
		`{"mac":"x"}`:              `"x"`,
		`{"name":"a"`:              "ends too early",
		``:                         "ends too early",
		`[]`:                       "array where",
		"\x00":                     "invalid character",
	} {
		var p api.PortSpec
		err := api.DecodeStrict([]byte(text), &p)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestWithDefaults(t *testing.T) {
	p := valid().WithDefaults()
	if p.Kind != api.KindTAP || p.IfName != "eth0" {
		t.Errorf("%+v", p)
	}
	m := api.PortSpec{Name: "m"}.WithDefaults()
	if m.IfName != "" || m.MemifSpec != (api.MemifSpec{}) {
		t.Errorf("%+v", m)
	}
	m = validMemif().WithDefaults()
	if m.IfName != "" || m.Rings != 1 || m.RingSize != 1024 || m.BufferSize != 2048 || !m.Equal(validMemif()) {
		t.Errorf("%+v", m)
	}
	if !valid().Equal(p) {
		t.Error("defaults change what a spec asks for")
	}
}

func TestCloneSharesNothing(t *testing.T) {
	p := valid()
	c := p.Clone()
	c.IPs[0] = netip.MustParsePrefix("10.9.9.9/24")
	if p.IPs[0] == c.IPs[0] {
		t.Error("the clone's address is the original's")
	}
	q := api.Patch{}.Apply(p)
	q.IPs[0] = netip.MustParsePrefix("10.9.9.9/24")
	if p.IPs[0] == q.IPs[0] {
		t.Error("the patched spec's address is the original's")
	}
}

// randomSpec varies everything that a Patch can change.
func randomSpec(r *rand.Rand) api.PortSpec {
	p := valid()
	p.MTU, p.Depth, p.NoSourceCheck = r.IntN(2)*1400, r.IntN(2)*64, r.IntN(2) == 0
	p.IPs = p.IPs[:r.IntN(3)]
	if r.IntN(2) == 0 {
		p.Prefixes = prefixes("10.1.0.0/24")
	}
	if r.IntN(2) == 0 {
		p.Gateways = addrs("10.0.0.1")
	}
	return p
}

func TestPatchBetweenLeadsThere(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		from, to := randomSpec(r), randomSpec(r)
		patch := api.PatchBetween(from, to)
		if patch.Empty() != from.Equal(to) {
			t.Fatalf("an empty patch between %+v and %+v", from, to)
		}
		data, err := json.Marshal(patch)
		if err != nil {
			t.Fatal(err)
		}
		var back api.Patch
		if err := api.DecodeStrict(data, &back); err != nil {
			t.Fatal(err)
		}
		if got := back.Apply(from); !got.Equal(to) {
			t.Fatalf("from %+v by %s to %+v, want %+v", from, data, got, to)
		}
	}
}

func TestDiff(t *testing.T) {
	spec := func(name string, change ...func(*api.PortSpec)) api.PortSpec {
		p := valid()
		p.Name = name
		for _, c := range change {
			c(&p)
		}
		return p
	}
	mtu := func(p *api.PortSpec) { p.MTU = 1400 }
	vlan := func(p *api.PortSpec) { p.VLAN = 7 }
	defaults := func(p *api.PortSpec) { *p = p.WithDefaults() }
	have := []api.PortSpec{spec("same", defaults), spec("changed"), spec("replaced"), spec("gone1"), spec("gone2")}
	want := []api.PortSpec{spec("new"), spec("replaced", vlan, mtu), spec("same"), spec("changed", mtu)}
	d := api.Diff(have, want)
	got := d.Result()
	if w := (api.ApplyResult{Added: []string{"new"}, Changed: []string{"changed"}, Replaced: []string{"replaced"},
		Removed: []string{"gone1", "gone2"}, Unchanged: []string{"same"}}); !reflect.DeepEqual(got, w) {
		t.Errorf("got  %+v\nwant %+v", got, w)
	}
	if p := d.Change[0].Patch; p.MTU == nil || *p.MTU != 1400 || p.IPs != nil {
		t.Errorf("the patch is %+v", p)
	}
	if d.Replace[0].MTU != 1400 {
		t.Errorf("the replacement is %+v", d.Replace[0])
	}
	empty := api.Diff(nil, nil)
	data, _ := json.Marshal(empty.Result())
	if strings.Contains(string(data), "null") {
		t.Errorf("a list is null: %s", data)
	}
}

func TestFlowAddsUp(t *testing.T) {
	f := api.Flow{Received: 28, Delivered: 1, Flooded: 2, ToHost: 3, ToWire: 4, Answered: 5, InFlight: 6,
		Drops: map[string]uint64{"spoofed": 3, "full": 4}}
	if f.Dropped() != 7 || f.Accounted() != 28 || f.Unaccounted() != 0 {
		t.Errorf("%d dropped, %d accounted for, %d not", f.Dropped(), f.Accounted(), f.Unaccounted())
	}
	f.Received--
	if f.Unaccounted() != -1 {
		t.Errorf("%d unaccounted for", f.Unaccounted())
	}
}
