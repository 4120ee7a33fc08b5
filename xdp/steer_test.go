package xdp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// missing ends a test that needs what this machine lacks; in CI, which has all that is
// needed, it fails.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN")
	}
}

func loadProgram(t testing.TB, c ProgramConfig) *Program {
	t.Helper()
	needRoot(t)
	p, err := LoadProgram(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// idleSocket is a descriptor that may stand in a slot, and gets nothing.
func idleSocket(t testing.TB) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_XDP, unix.XDP_RX_RING, 64); err != nil {
		t.Fatal(err)
	}
	return fd
}

var (
	nicMAC    = mac{2, 0, 0, 0, 0, 1}
	ownMAC    = mac{2, 0, 0, 0, 0, 0xaa}
	vlanMAC   = mac{2, 0, 0, 0, 0, 0xab}
	otherMAC  = mac{2, 0, 0, 0, 0, 0xfe}
	senderMAC = mac{2, 0, 0, 0, 0, 0x77}
)

// steerRules is one rule of each kind.
func steerRules() []Rule {
	return []Rule{
		macRule(0, ownMAC), macRule(5, vlanMAC),
		exactRule(RuleIPIdentity, 0, "10.0.0.2"), exactRule(RuleIPIdentity, 0, "fd00::2"),
		exactRule(RuleIPIdentity, 7, "10.0.0.7"), exactRule(RuleIPIdentity, 7, "fd00::7"),
		exactRule(RuleMACIdentityIP, 0, "10.0.0.9"), exactRule(RuleMACIdentityIP, 0, "fd00::9"),
		prefixRule(RuleIPIdentity, 0, "10.1.0.0/16"), prefixRule(RuleIPIdentity, 0, "fd01::/64"),
		prefixRule(RuleIPIdentity, 7, "10.7.0.0/16"), prefixRule(RuleMACIdentityIP, 0, "10.1.8.0/24"),
		exactRule(RuleMACIdentityIP, 0, "10.1.0.5"),
		prefixRule(RuleMACIdentityIP, 0, "fd02:0:0:1::/64"), exactRule(RuleIPIdentity, 0, "169.254.1.1"),
	}
}

func udp4(dst mac, to string) []byte {
	return eth(dst, senderMAC, 0x0800, ip4("10.0.0.100", to, make([]byte, 30)))
}

func udp6(dst mac, to string) []byte {
	return eth(dst, senderMAC, 0x86dd, ip6("fd00::100", to, 17, 64, make([]byte, 30)))
}

func arpFor(dst mac, target string) []byte {
	return eth(dst, senderMAC, 0x0806, arp(1, senderMAC, "10.0.0.100", zeroMAC, target), make([]byte, 18))
}

func solicitFor(dst mac, target string, hops byte) []byte {
	return eth(dst, senderMAC, 0x86dd, ip6("fd00::100", "ff02::1:ff00:2", 58, hops, solicit(target)))
}

func changed(data []byte, at int, b ...byte) []byte {
	out := bytes.Clone(data)
	copy(out[at:], b)
	return out
}

// steerCases: a frame and the one counter that it raises.
func steerCases() map[string]struct {
	data []byte
	want string
} {
	type c = struct {
		data []byte
		want string
	}
	group := mac{0x33, 0x33, 0xff, 0, 0, 2}
	arpReply := eth(broadcast, senderMAC, 0x0806, arp(2, senderMAC, "10.0.0.100", nicMAC, "10.0.0.2"))
	gratuitous := eth(broadcast, senderMAC, 0x0806, arp(1, senderMAC, "10.0.0.100", zeroMAC, "10.0.0.100"))
	return map[string]c{
		"MAC identity, IPv4":                  {udp4(ownMAC, "192.0.2.1"), "RedirectedMAC"},
		"MAC identity, unknown protocol":      {eth(ownMAC, senderMAC, 0x88b5, make([]byte, 46)), "RedirectedMAC"},
		"MAC identity, bare header":           {eth(ownMAC, senderMAC, 0x0800), "RedirectedMAC"},
		"MAC identity of a VLAN":              {tagged(udp4(vlanMAC, "192.0.2.1"), 0x8100, 5), "RedirectedMAC"},
		"MAC identity of a VLAN, priority":    {tagged(udp4(vlanMAC, "192.0.2.1"), 0x8100, 0xe005), "RedirectedMAC"},
		"MAC identity of a VLAN, service tag": {tagged(udp4(vlanMAC, "192.0.2.1"), 0x88a8, 5), "RedirectedMAC"},
		"MAC identity of a VLAN, untagged":    {udp4(vlanMAC, "192.0.2.1"), "PassedUnknown"},
		"MAC identity of a VLAN, another tag": {tagged(udp4(vlanMAC, "192.0.2.1"), 0x8100, 6), "PassedUnknown"},
		"MAC identity, tagged":                {tagged(udp4(ownMAC, "192.0.2.1"), 0x8100, 5), "PassedUnknown"},
		"MAC identity, priority tag":          {tagged(udp4(ownMAC, "192.0.2.1"), 0x8100, 0xe000), "RedirectedMAC"},
		"MAC identity, two tags":              {tagged(tagged(udp4(ownMAC, "192.0.2.1"), 0x8100, 9), 0x88a8, 5), "PassedTags"},
		"MAC identity, unicast ARP":           {arpFor(ownMAC, "10.0.0.9"), "RedirectedMAC"},
		"IP identity":                         {udp4(nicMAC, "10.0.0.2"), "RedirectedIP4"},
		"IP identity, v6":                     {udp6(nicMAC, "fd00::2"), "RedirectedIP6"},
		"IP identity, fragment":               {changed(udp4(nicMAC, "10.0.0.2"), 20, 0x20, 0x10), "RedirectedIP4"},
		"IP identity, options":                {changed(udp4(nicMAC, "10.0.0.2"), 14, 0x4f), "RedirectedIP4"},
		"IP identity, under another MAC":      {udp4(otherMAC, "10.0.0.2"), "PassedUnknown"},
		"IP identity, v6, under another MAC":  {udp6(otherMAC, "fd00::2"), "PassedUnknown"},
		"IP identity, broadcast":              {udp4(broadcast, "10.0.0.2"), "PassedGroup"},
		"IP identity, v6, multicast":          {udp6(group, "fd00::2"), "PassedGroup"},
		"IP identity, priority tag":           {tagged(udp4(nicMAC, "10.0.0.2"), 0x8100, 0), "RedirectedIP4"},
		"IP identity, tagged":                 {tagged(udp4(nicMAC, "10.0.0.2"), 0x8100, 7), "PassedUnknown"},
		"IP identity of a VLAN":               {tagged(udp4(nicMAC, "10.0.0.7"), 0x8100, 7), "RedirectedIP4"},
		"IP identity of a VLAN, v6":           {tagged(udp6(nicMAC, "fd00::7"), 0x8100, 7), "RedirectedIP6"},
		"IP identity of a VLAN, untagged":     {udp4(nicMAC, "10.0.0.7"), "PassedUnknown"},
		"IP identity of a VLAN, two tags":     {tagged(tagged(udp4(nicMAC, "10.0.0.7"), 0x8100, 7), 0x8100, 7), "PassedTags"},
		"IP identity, two tags, outer zero":   {tagged(tagged(udp4(nicMAC, "10.0.0.7"), 0x8100, 7), 0x8100, 0), "PassedTags"},
		"three tags":                          {tagged(tagged(tagged(udp4(nicMAC, "10.0.0.7"), 0x8100, 7), 0x8100, 7), 0x8100, 7), "PassedTags"},
		"nobody's address":                    {udp4(nicMAC, "10.0.0.3"), "PassedUnknown"},
		"nobody's address, v6":                {udp6(nicMAC, "fd00::3"), "PassedUnknown"},
		"IP of a MAC identity, NIC's MAC":     {udp4(nicMAC, "10.0.0.9"), "PassedUnknown"},
		"IP of a MAC identity, v6, NIC's MAC": {udp6(nicMAC, "fd00::9"), "PassedUnknown"},
		"prefix":                              {udp4(nicMAC, "10.1.2.3"), "RedirectedIP4"},
		"prefix, first":                       {udp4(nicMAC, "10.1.0.0"), "RedirectedIP4"},
		"prefix, last":                        {udp4(nicMAC, "10.1.255.255"), "RedirectedIP4"},
		"beyond the prefix":                   {udp4(nicMAC, "10.2.0.0"), "PassedUnknown"},
		"prefix, tagged":                      {tagged(udp4(nicMAC, "10.1.2.3"), 0x8100, 7), "PassedUnknown"},
		"prefix of a VLAN":                    {tagged(udp4(nicMAC, "10.7.2.3"), 0x8100, 7), "RedirectedIP4"},
		"prefix of a VLAN, another tag":       {tagged(udp4(nicMAC, "10.7.2.3"), 0x8100, 8), "PassedUnknown"},
		"prefix of a VLAN, untagged":          {udp4(nicMAC, "10.7.2.3"), "PassedUnknown"},
		"longer prefix of a MAC identity":     {udp4(nicMAC, "10.1.8.1"), "PassedUnknown"},
		"exact address within a prefix":       {udp4(nicMAC, "10.1.0.5"), "PassedUnknown"},
		"prefix, v6":                          {udp6(nicMAC, "fd01::ffff"), "RedirectedIP6"},
		"beyond the prefix, v6":               {udp6(nicMAC, "fd01:0:0:1::1"), "PassedUnknown"},
		"prefix of a MAC identity, v6":        {udp6(nicMAC, "fd02:0:0:1::1"), "PassedUnknown"},
		"ARP request":                         {arpFor(broadcast, "10.0.0.2"), "RedirectedARP"},
		"ARP request for a MAC identity":      {arpFor(broadcast, "10.0.0.9"), "RedirectedARP"},
		"ARP request into a prefix":           {arpFor(broadcast, "10.1.2.3"), "RedirectedARP"},
		"ARP request into a MAC's prefix":     {arpFor(broadcast, "10.1.8.1"), "RedirectedARP"},
		"ARP request, unicast":                {arpFor(nicMAC, "10.0.0.2"), "RedirectedARP"},
		"ARP reply":                           {arpReply, "RedirectedARP"},
		"ARP request without padding":         {arpFor(broadcast, "10.0.0.2")[:42], "RedirectedARP"},
		"ARP request, cut":                    {arpFor(broadcast, "10.0.0.2")[:41], "PassedMalformed"},
		"ARP request of a VLAN":               {tagged(arpFor(broadcast, "10.0.0.7"), 0x8100, 7), "RedirectedARP"},
		"ARP request of another VLAN":         {tagged(arpFor(broadcast, "10.0.0.7"), 0x8100, 8), "PassedGroup"},
		"ARP request of a VLAN, untagged":     {arpFor(broadcast, "10.0.0.7"), "PassedGroup"},
		"ARP request for nobody":              {arpFor(broadcast, "10.0.0.3"), "PassedGroup"},
		"ARP request for nobody, unicast":     {arpFor(nicMAC, "10.0.0.3"), "PassedUnknown"},
		"gratuitous ARP of a stranger":        {gratuitous, "PassedGroup"},
		"ARP of another medium":               {changed(arpFor(broadcast, "10.0.0.2"), 15, 6), "PassedProtocol"},
		"ARP for another protocol":            {changed(arpFor(broadcast, "10.0.0.2"), 16, 0x80), "PassedProtocol"},
		"ARP with long MACs":                  {changed(arpFor(broadcast, "10.0.0.2"), 18, 8), "PassedProtocol"},
		"ARP with long addresses":             {changed(arpFor(broadcast, "10.0.0.2"), 19, 16), "PassedProtocol"},
		"RARP operation":                      {changed(arpFor(broadcast, "10.0.0.2"), 21, 3), "PassedProtocol"},
		"solicitation":                        {solicitFor(group, "fd00::2", 255), "RedirectedND"},
		"solicitation for a MAC identity":     {solicitFor(group, "fd00::9", 255), "RedirectedND"},
		"solicitation into a prefix":          {solicitFor(group, "fd01::77", 255), "RedirectedND"},
		"solicitation into a MAC's prefix":    {solicitFor(group, "fd02:0:0:1::7", 255), "RedirectedND"},
		"solicitation, unicast":               {solicitFor(nicMAC, "fd00::2", 255), "RedirectedND"},
		"solicitation of a VLAN":              {tagged(solicitFor(group, "fd00::7", 255), 0x8100, 7), "RedirectedND"},
		"solicitation of a VLAN, untagged":    {solicitFor(group, "fd00::7", 255), "PassedGroup"},
		"solicitation for nobody":             {solicitFor(group, "fd00::3", 255), "PassedGroup"},
		"solicitation from afar":              {solicitFor(group, "fd00::2", 254), "PassedGroup"},
		"solicitation with a code":            {changed(solicitFor(group, "fd00::2", 255), 55, 1), "PassedGroup"},
		"solicitation, cut":                   {solicitFor(group, "fd00::2", 255)[:77], "PassedGroup"},
		"advertisement to all":                {changed(solicitFor(group, "fd00::2", 255), 54, 136), "PassedGroup"},
		"IPv4 header, cut":                    {udp4(nicMAC, "10.0.0.2")[:33], "PassedMalformed"},
		"IPv4 header alone":                   {udp4(nicMAC, "10.0.0.2")[:34], "RedirectedIP4"},
		"IPv4 of version 5":                   {changed(udp4(nicMAC, "10.0.0.2"), 14, 0x55), "PassedMalformed"},
		"IPv4 with too short a header":        {changed(udp4(nicMAC, "10.0.0.2"), 14, 0x44), "PassedMalformed"},
		"IPv6 header, cut":                    {udp6(nicMAC, "fd00::2")[:53], "PassedMalformed"},
		"IPv6 header alone":                   {udp6(nicMAC, "fd00::2")[:54], "RedirectedIP6"},
		"IPv6 of version 4":                   {changed(udp6(nicMAC, "fd00::2"), 14, 0x40), "PassedMalformed"},
		"tag, cut":                            {tagged(udp4(nicMAC, "10.0.0.2"), 0x8100, 7)[:17], "PassedMalformed"},
		"tag alone":                           {tagged(eth(nicMAC, senderMAC, 0x0800), 0x8100, 7), "PassedMalformed"},
		"LLDP":                                {eth(mac{1, 0x80, 0xc2, 0, 0, 0xe}, senderMAC, 0x88cc, make([]byte, 46)), "PassedGroup"},
		"IEEE 802.3 length":                   {eth(nicMAC, senderMAC, 46, make([]byte, 46)), "PassedProtocol"},
		"bare header":                         {eth(nicMAC, senderMAC, 0x0800), "PassedMalformed"},
		"link-local IPv4":                     {udp4(nicMAC, "169.254.1.1"), "RedirectedIP4"},
		"zero MAC":                            {udp4(mac{}, "10.0.0.2"), "PassedUnknown"},
		"zero address":                        {udp4(nicMAC, "0.0.0.0"), "PassedUnknown"},
		"a MAC with an IPv4 address's bits":   {udp4(mac{0, 0, 10, 0, 0, 2}, "10.0.0.3"), "PassedUnknown"},
		"an IPv4 address with a MAC's bits":   {udp4(nicMAC, "0.0.0.170"), "PassedUnknown"},
	}
}

// raised is the name of the one counter that differs; anything else is an error.
func raised(t *testing.T, before, after Counters) string {
	t.Helper()
	name, sum := "", uint64(0)
	a, b := reflect.ValueOf(before), reflect.ValueOf(after)
	for i := range a.NumField() {
		if d := b.Field(i).Uint() - a.Field(i).Uint(); d != 0 {
			name = a.Type().Field(i).Name
			sum += d
		}
	}
	if sum != 1 {
		t.Fatalf("one frame raised the counters by %d", sum)
	}
	return name
}

const (
	xdpPass     = 2
	xdpRedirect = 4
)

func run(t *testing.T, p *Program, data []byte) (action uint32, counter string) {
	t.Helper()
	before, err := p.Counters()
	if err != nil {
		t.Fatal(err)
	}
	action, err = p.objects.Steer.Run(&ebpf.RunOptions{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	after, err := p.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return action, raised(t, before, after)
}

func TestSteering(t *testing.T) {
	steerAll(t, loadProgram(t, ProgramConfig{}), 0)
}

// TestSteeringCrowded: the same where no address finds a place in its line.
func TestSteeringCrowded(t *testing.T) {
	p := loadProgram(t, ProgramConfig{})
	for i := range p.lines.words {
		p.lines.words[i] = nobodysWord
	}
	steerAll(t, p, tableMAC.crowded()|tableExact4.crowded())
}

// nobodysWord is of no address: an IPv4 address has 32 bits.
const nobodysWord = wordIP4 | 1<<40

func steerAll(t *testing.T, p *Program, flags uint16) {
	t.Helper()
	if err := p.SetNIC(nicMAC); err != nil {
		t.Fatal(err)
	}
	if err := p.Insert(steerRules()...); err != nil {
		t.Fatal(err)
	}
	if got := p.flags &^ (1<<tables - 1); got != flags {
		t.Fatalf("flags %#x say what is crowded, want %#x", got, flags)
	}
	for name, c := range steerCases() {
		action, counter := run(t, p, c.data)
		want := c.want
		if c.want[0] == 'R' {
			want = "PassedNoSocket"
		}
		if action != xdpPass || counter != want {
			t.Errorf("without a socket, %s: action %d, %s; want %d, %s", name, action, counter, xdpPass, want)
		}
	}
	if err := p.objects.Sockets.Put(uint32(0), uint32(idleSocket(t))); err != nil {
		t.Fatal(err)
	}
	for name, c := range steerCases() {
		action, counter := run(t, p, c.data)
		want := uint32(xdpPass)
		if c.want[0] == 'R' {
			want = xdpRedirect
		}
		if action != want || counter != c.want {
			t.Errorf("%s: action %d, %s; want %d, %s", name, action, counter, want, c.want)
		}
	}
}

// Without rules every frame is the host's, whatever it is.
func TestSteeringWithoutRules(t *testing.T) {
	p := loadProgram(t, ProgramConfig{})
	if err := p.objects.Sockets.Put(uint32(0), uint32(idleSocket(t))); err != nil {
		t.Fatal(err)
	}
	if err := p.SetNIC(nicMAC); err != nil {
		t.Fatal(err)
	}
	if err := p.Insert(steerRules()...); err != nil {
		t.Fatal(err)
	}
	if err := p.Remove(steerRules()...); err != nil {
		t.Fatal(err)
	}
	if p.flags != 0 {
		t.Errorf("flags %#x without a rule: tables are looked at for nothing", p.flags)
	}
	for name, c := range steerCases() {
		if action, counter := run(t, p, c.data); action != xdpPass || counter[0] != 'P' {
			t.Errorf("%s: action %d, %s", name, action, counter)
		}
	}
}

// TestCrowdedLine has more addresses for one line than it holds, and takes them
// away in another order: each is known as long as its rule stands, and one that
// came late keeps its place.
func TestCrowdedLine(t *testing.T) {
	p := loadProgram(t, ProgramConfig{})
	if err := p.objects.Sockets.Put(uint32(0), uint32(idleSocket(t))); err != nil {
		t.Fatal(err)
	}
	if err := p.SetNIC(nicMAC); err != nil {
		t.Fatal(err)
	}
	rules := rulesOfOneLine(&p.lines, 3*lineWords)
	standing := make(map[int]bool)
	check := func(what string) {
		t.Helper()
		for i, r := range rules {
			data, want := udp4(r.MAC, "192.0.2.1"), "RedirectedMAC"
			if r.Kind != RuleMAC {
				data, want = udp4(nicMAC, r.Prefix.Addr().String()), "RedirectedIP4"
			}
			if !standing[i] {
				want = "PassedUnknown"
			}
			if _, counter := run(t, p, data); counter != want {
				t.Fatalf("%s: a frame for rule %d raised %s, want %s", what, i, counter, want)
			}
		}
		if n := held(t, p); n != len(standing) {
			t.Fatalf("%s: the maps hold %d entries, want %d", what, n, len(standing))
		}
	}
	for i, r := range rules {
		if err := p.Insert(r); err != nil {
			t.Fatal(err)
		}
		standing[i] = true
	}
	check("all")
	if n := len(p.crowded[tableMAC]) + len(p.crowded[tableExact4]); n != 2*lineWords {
		t.Errorf("%d are crowded out, want %d", n, 2*lineWords)
	}
	for i := range lineWords / 2 {
		if err := p.Remove(rules[i]); err != nil {
			t.Fatal(err)
		}
		delete(standing, i)
	}
	check("four of the line are gone")
	if err := p.Insert(rules...); err != nil { // who is crowded out is not in two places now
		t.Fatal(err)
	}
	for i := range rules {
		standing[i] = true
	}
	check("all again")
	for i := len(rules) - 1; i >= 0; i-- {
		if err := p.Remove(rules[i]); err != nil {
			t.Fatal(err)
		}
		delete(standing, i)
	}
	check("none")
	if p.flags != 0 {
		t.Errorf("flags %#x without a rule", p.flags)
	}
}

// rulesOfOneLine are n rules, of MAC identities and of IPv4 addresses in turn, that
// all belong to one line.
func rulesOfOneLine(l *lines, n int) (rules []Rule) {
	first := exactRule(RuleIPIdentity, 0, "10.0.0.1")
	line := &l.line(first.key().word())[0]
	for i := uint32(0); len(rules) < n; i++ {
		b := binary.BigEndian.AppendUint32(nil, i<<lineNeighbours)
		r := macRule(0, mac{2, 0, b[0], b[1], b[2], b[3]})
		if len(rules)%2 == 1 {
			r = Rule{Kind: RuleIPIdentity, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, b[1], b[2], b[3]}), 32)}
		}
		if &l.line(r.key().word())[0] == line {
			rules = append(rules, r)
		}
	}
	return rules
}

// Every frame cut at every length, and noise: one counter each, and never a
// verdict but these two.
func TestSteeringTruncatedAndRandomFrames(t *testing.T) {
	p := loadProgram(t, ProgramConfig{})
	if err := p.SetNIC(nicMAC); err != nil {
		t.Fatal(err)
	}
	if err := p.Insert(steerRules()...); err != nil {
		t.Fatal(err)
	}
	if err := p.objects.Sockets.Put(uint32(0), uint32(idleSocket(t))); err != nil {
		t.Fatal(err)
	}
	check := func(data []byte) {
		action, counter := run(t, p, data)
		if (action == xdpRedirect) != (counter[0] == 'R') || (action != xdpRedirect && action != xdpPass) {
			t.Errorf("% x: action %d, %s", data, action, counter)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range steerCases() {
		for n := 14; n < len(c.data); n += 1 + random.IntN(4) {
			check(c.data[:n])
		}
		noisy := bytes.Clone(c.data)
		for range 10 {
			noisy[random.IntN(len(noisy))] = byte(random.Uint32())
			check(noisy)
		}
	}
}

func TestNICAddressMayChange(t *testing.T) {
	p := loadProgram(t, ProgramConfig{})
	if err := p.Insert(exactRule(RuleIPIdentity, 0, "10.0.0.2")); err != nil {
		t.Fatal(err)
	}
	if err := p.objects.Sockets.Put(uint32(0), uint32(idleSocket(t))); err != nil {
		t.Fatal(err)
	}
	for _, own := range []mac{nicMAC, otherMAC, nicMAC} {
		if err := p.SetNIC(own); err != nil {
			t.Fatal(err)
		}
		for _, to := range []mac{nicMAC, otherMAC} {
			want := "PassedUnknown"
			if to == own {
				want = "RedirectedIP4"
			}
			if _, counter := run(t, p, udp4(to, "10.0.0.2")); counter != want {
				t.Errorf("NIC % x, frame to % x: %s, want %s", own, to, counter, want)
			}
		}
	}
}

func BenchmarkSteer(b *testing.B) {
	for name, data := range map[string][]byte{
		"mac":     udp4(ownMAC, "192.0.2.1"),
		"ip4":     udp4(nicMAC, "10.0.0.2"),
		"ip6":     udp6(nicMAC, "fd00::2"),
		"unknown": udp4(nicMAC, "10.9.0.3"),
	} {
		b.Run(name, func(b *testing.B) {
			p := loadProgram(b, ProgramConfig{})
			if err := p.SetNIC(nicMAC); err != nil {
				b.Fatal(err)
			}
			if err := p.Insert(steerRules()...); err != nil {
				b.Fatal(err)
			}
			_, each, err := p.objects.Steer.Benchmark(data, max(b.N, 1), b.ResetTimer)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(each.Nanoseconds()), "ns/frame")
		})
	}
}
