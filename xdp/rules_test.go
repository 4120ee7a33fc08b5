package xdp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/xdpdemux/xdpdemux/xdp/bpf"
)

func TestRulesThatAreRefused(t *testing.T) {
	bad := map[string]Rule{
		"VLAN":           macRule(4095, ownMAC),
		"rule kind":      {Kind: 9, Prefix: netip.MustParsePrefix("10.0.0.2/32")},
		"zero nor":       macRule(0, zeroMAC),
		"group":          macRule(0, broadcast),
		"needs a prefix": {Kind: RuleIPIdentity},
		"host bits":      prefixRule(RuleIPIdentity, 0, "10.0.0.1/24"),
		"IPv4 as IPv4":   prefixRule(RuleIPIdentity, 0, "::ffff:10.0.0.1/128"),
		"without host":   prefixRule(RuleMACIdentityIP, 0, "fd00::1/64"),
	}
	for want, r := range bad {
		err := r.check()
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v, want one line with %q", r, err, want)
		}
	}
}

func TestRuleKeysTellRulesApart(t *testing.T) {
	rules := append(steerRules(),
		macRule(1, ownMAC), exactRule(RuleIPIdentity, 1, "10.0.0.2"), prefixRule(RuleIPIdentity, 0, "10.1.0.0/17"),
		prefixRule(RuleIPIdentity, 0, "0.0.0.0/0"), prefixRule(RuleIPIdentity, 0, "::/0"))
	seen := make(map[ruleKey]Rule)
	for _, r := range rules {
		if other, double := seen[r.key()]; double {
			t.Errorf("%+v and %+v have one key", r, other)
		}
		seen[r.key()] = r
	}
	a, b := exactRule(RuleIPIdentity, 3, "10.0.0.2"), exactRule(RuleMACIdentityIP, 3, "10.0.0.2")
	if a.key() != b.key() {
		t.Error("one address of one VLAN has two keys")
	}
}

func TestRuleTables(t *testing.T) {
	for want, r := range []Rule{
		tableMAC:     macRule(0, ownMAC),
		tableExact4:  exactRule(RuleIPIdentity, 0, "10.0.0.2"),
		tableExact6:  exactRule(RuleIPIdentity, 0, "fd00::2"),
		tablePrefix4: prefixRule(RuleIPIdentity, 0, "10.0.0.0/31"),
		tablePrefix6: prefixRule(RuleIPIdentity, 0, "fd00::/127"),
	} {
		if got := r.key().table(); got != table(want) {
			t.Errorf("%+v: table %d, want %d", r, got, want)
		}
	}
}

// held counts the entries of the six tables in the kernel.
func held(t testing.TB, p *Program) (n int) {
	t.Helper()
	o := &p.objects
	for i := range o.Lines.MaxEntries() {
		var line bpf.SteerLine
		if err := o.Lines.Lookup(i, &line); err != nil {
			t.Fatal(err)
		}
		for _, w := range line.Word {
			if w != 0 {
				n++
			}
		}
	}
	for _, m := range []*ebpf.Map{o.Macs, o.Exact4, o.Exact6, o.Prefixes4, o.Prefixes6} {
		key := make([]byte, m.KeySize())
		value := make([]byte, m.ValueSize())
		entries := m.Iterate()
		for entries.Next(&key, &value) {
			n++
		}
		if err := entries.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// manyRules is count ports with a MAC, a v4 and two v6 addresses, and a prefix each.
func manyRules(count int) (rules []Rule) {
	for i := range count {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(i))
		v4 := netip.AddrFrom4([4]byte{10, n[1], n[2], n[3]})
		v6 := netip.AddrFrom16([16]byte{0xfd, 14: n[2], 15: n[3]})
		ll := netip.AddrFrom16([16]byte{0xfe, 0x80, 14: n[2], 15: n[3]})
		rules = append(rules, macRule(0, mac{2, 1, n[0], n[1], n[2], n[3]}),
			Rule{Kind: RuleMACIdentityIP, Prefix: netip.PrefixFrom(v4, 32)},
			Rule{Kind: RuleMACIdentityIP, Prefix: netip.PrefixFrom(v6, 128)},
			Rule{Kind: RuleMACIdentityIP, Prefix: netip.PrefixFrom(ll, 128)},
			Rule{Kind: RuleMACIdentityIP, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{11, n[2], n[3], 0}), 24)})
	}
	return rules
}

func TestInsertAndRemoveThousands(t *testing.T) {
	p := loadProgram(t, ProgramConfig{})
	rules := manyRules(4000)
	if err := p.Insert(rules...); err != nil {
		t.Fatal(err)
	}
	if n := held(t, p); n != len(rules) {
		t.Errorf("the maps hold %d entries, want %d", n, len(rules))
	}
	if err := p.Remove(rules[:10000]...); err != nil {
		t.Fatal(err)
	}
	if err := p.Remove(rules[5000:15000]...); err != nil {
		t.Errorf("removing what is gone in part: %v", err)
	}
	if n := held(t, p); n != len(rules)-15000 || len(p.rules) != n {
		t.Errorf("the maps hold %d entries and we remember %d, want %d", n, len(p.rules), len(rules)-15000)
	}
	if err := p.Remove(rules...); err != nil {
		t.Fatal(err)
	}
	if n := held(t, p); n != 0 || p.flags != 0 || p.held != [tables]int{} {
		t.Errorf("%d entries, flags %#x, counts %v are left", n, p.flags, p.held)
	}
}

func TestInsertIsAllOrNothing(t *testing.T) {
	p := loadProgram(t, ProgramConfig{MaxExact: 64, MaxPrefixes: 64, MaxMACs: 64})
	first := exactRule(RuleIPIdentity, 0, "10.0.0.1")
	if err := p.Insert(first); err != nil {
		t.Fatal(err)
	}
	// MACs fit, addresses do not; one of them replaces what stands.
	batch := append(manyRules(60), exactRule(RuleMACIdentityIP, 0, "10.0.0.1"))
	for i := range 200 {
		batch = append(batch, Rule{Kind: RuleIPIdentity, VLAN: 9, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 3, 0, byte(i)}), 32)})
	}
	err := p.Insert(batch...)
	if err == nil || !strings.Contains(err.Error(), "holds 64 entries and is full") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a batch that does not fit: %v", err)
	}
	if n := held(t, p); n != 1 || len(p.rules) != 1 {
		t.Errorf("the maps hold %d entries and we remember %d, want the first one", n, len(p.rules))
	}
	if w := p.lines.find(first.key().word()); w == nil || *w>>wordOwner != ownerIP {
		t.Errorf("the first rule is %v, want it as it was", w)
	}
	if err := p.Insert(exactRule(RuleIPIdentity, 0, "10.0.0.2"), macRule(0, broadcast)); err == nil || len(p.rules) != 1 {
		t.Errorf("a batch with a bad rule: %v, %d rules", err, len(p.rules))
	}
}

// TestLimitsOfLines: lines have room for more than was asked for, and take no more
// than that; what stands is replaced also when all are taken.
func TestLimitsOfLines(t *testing.T) {
	const most = 20
	for name, nth := range map[string]func(i int) Rule{
		"addresses": func(i int) Rule {
			return Rule{Kind: RuleIPIdentity, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32)}
		},
		"MACs": func(i int) Rule { return macRule(0, mac{2, 0, 0, 0, 0, byte(i)}) },
	} {
		p := loadProgram(t, ProgramConfig{MaxExact: most, MaxMACs: most})
		for i := range most {
			if err := p.Insert(nth(i)); err != nil {
				t.Fatalf("%s: %d of %d: %v", name, i, most, err)
			}
		}
		if err := p.Insert(nth(most)); err == nil || !strings.Contains(err.Error(), "holds 20 entries and is full") {
			t.Errorf("%s: one more: %v", name, err)
		}
		if err := p.Insert(nth(0), nth(1)); err != nil {
			t.Errorf("%s: what stands already: %v", name, err)
		}
		if err := p.Remove(nth(3)); err != nil {
			t.Error(err)
		}
		if err := p.Insert(nth(most)); err != nil {
			t.Errorf("%s: one for one: %v", name, err)
		}
		if n := held(t, p); n != most {
			t.Errorf("%s: %d entries, want %d", name, n, most)
		}
	}
}

func TestInsertReplaces(t *testing.T) {
	p := loadProgram(t, ProgramConfig{})
	prefix, exact := prefixRule(RuleIPIdentity, 0, "10.0.0.0/8"), exactRule(RuleIPIdentity, 0, "10.0.0.1")
	for i, kind := range []RuleKind{RuleIPIdentity, RuleMACIdentityIP, RuleIPIdentity} {
		prefix.Kind, exact.Kind = kind, kind
		if err := p.Insert(prefix, exact, prefix, exact); err != nil {
			t.Fatal(err)
		}
		var owner bpf.SteerOwner
		if err := p.objects.Prefixes4.Lookup(prefix.key().prefix4(), &owner); err != nil || owner.Kind != prefix.owner() {
			t.Errorf("%d: the prefix's owner is %+v, %v", i, owner, err)
		}
		if w := p.lines.find(exact.key().word()); w == nil || *w>>wordOwner != uint64(exact.owner()) {
			t.Errorf("%d: the address's word is %v", i, w)
		}
	}
	if n := held(t, p); n != 2 || p.held[tablePrefix4] != 1 || p.held[tableExact4] != 1 {
		t.Errorf("%d entries, %v, want one of each", n, p.held)
	}
}

// The element by element way is taken on kernels without batches; it must do the
// same.
func TestPutEach(t *testing.T) {
	p := loadProgram(t, ProgramConfig{})
	rules := manyRules(3)
	for _, r := range rules {
		if r.key().table() != tableExact4 {
			continue
		}
		if err := putEach(p.objects.Exact4, []any{r.key().exact4()}, []bpf.SteerOwner{{Kind: r.owner()}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := held(t, p); n != 3 {
		t.Errorf("%d entries, want 3", n)
	}
}

func TestClosedProgram(t *testing.T) {
	p := loadProgram(t, ProgramConfig{})
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	_, counters := p.Counters()
	_, attach := p.Attach(1, ModeAuto)
	for name, err := range map[string]error{
		"Close": p.Close(), "Insert": p.Insert(macRule(0, ownMAC)), "Remove": p.Remove(macRule(0, ownMAC)),
		"SetNIC": p.SetNIC(nicMAC), "SetSocket": p.SetSocket(0, nil), "ClearSocket": p.ClearSocket(0),
		"Counters": counters, "Attach": attach,
	} {
		if !errors.Is(err, ErrClosed) || !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s of a closed program: %v", name, err)
		}
	}
	if err := p.Detach(); err != nil {
		t.Errorf("Detach of a closed program: %v", err)
	}
}

func TestProgramConfig(t *testing.T) {
	c, err := ProgramConfig{MaxExact: 5}.Validate()
	if err != nil || c != (ProgramConfig{MaxExact: 5, MaxPrefixes: 4096, MaxMACs: 16384, Queues: 64}) {
		t.Errorf("%+v, %v", c, err)
	}
	for i := range reflect.TypeOf(c).NumField() {
		for _, v := range []int64{-1, maxEntries + 1} {
			bad := ProgramConfig{}
			reflect.ValueOf(&bad).Elem().Field(i).SetInt(v)
			if _, err := bad.Validate(); !errors.Is(err, ErrConfig) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
	}
}
