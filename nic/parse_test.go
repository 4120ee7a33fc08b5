package nic

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func flat(attrs ...*nl.RtAttr) []byte {
	var b []byte
	for _, a := range attrs {
		b = append(b, a.Serialize()...)
	}
	return b
}

// bitset builds the verbose form: the named bits, each with its value if there
// is a mask.
func bitset(kind int, masked bool, bits map[string]bool) *nl.RtAttr {
	set := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	if !masked {
		set.AddRtAttr(unix.ETHTOOL_A_BITSET_NOMASK, nil)
	}
	list := set.AddRtAttr(unix.ETHTOOL_A_BITSET_BITS|unix.NLA_F_NESTED, nil)
	for name, on := range bits {
		bit := list.AddRtAttr(unix.ETHTOOL_A_BITSET_BITS_BIT|unix.NLA_F_NESTED, nil)
		bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_INDEX, nl.Uint32Attr(1))
		bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_NAME, nl.ZeroTerminated(name))
		if masked && on {
			bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_VALUE, nil)
		}
	}
	return set
}

func TestParseFeatures(t *testing.T) {
	reply := flat(
		ethtoolHeader(unix.ETHTOOL_A_FEATURES_HEADER, 3),
		bitset(unix.ETHTOOL_A_FEATURES_HW, true, map[string]bool{"rx-lro": true, "rx-gro": true, "tx": false, "never": true}),
		bitset(unix.ETHTOOL_A_FEATURES_WANTED, false, map[string]bool{"rx-lro": true, "never": true}),
		bitset(unix.ETHTOOL_A_FEATURES_ACTIVE, false, map[string]bool{"rx-lro": true, "tx": true}),
		bitset(unix.ETHTOOL_A_FEATURES_NOCHANGE, true, map[string]bool{"never": true, "rx-lro": false}),
	)
	got, err := parseFeatures(reply)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]feature{
		"rx-lro": {active: true, wanted: true, changeable: true},
		"rx-gro": {changeable: true},
		"tx":     {active: true},
		"never":  {wanted: true},
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseChannels(t *testing.T) {
	u32 := func(kind int, v uint32) *nl.RtAttr { return nl.NewRtAttr(kind, nl.Uint32Attr(v)) }
	for name, c := range map[string]struct {
		reply []byte
		want  Channels
	}{
		"combined": {flat(u32(unix.ETHTOOL_A_CHANNELS_COMBINED_MAX, 8), u32(unix.ETHTOOL_A_CHANNELS_COMBINED_COUNT, 4)),
			Channels{Rx: 4, Tx: 4, Combined: 4, MaxRx: 8, MaxTx: 8, Exact: true}},
		"separate": {flat(u32(unix.ETHTOOL_A_CHANNELS_RX_MAX, 8), u32(unix.ETHTOOL_A_CHANNELS_TX_MAX, 6),
			u32(unix.ETHTOOL_A_CHANNELS_RX_COUNT, 2), u32(unix.ETHTOOL_A_CHANNELS_TX_COUNT, 3)),
			Channels{Rx: 2, Tx: 3, MaxRx: 8, MaxTx: 6, Exact: true}},
		"both": {flat(u32(unix.ETHTOOL_A_CHANNELS_RX_COUNT, 1), u32(unix.ETHTOOL_A_CHANNELS_COMBINED_COUNT, 2)),
			Channels{Rx: 3, Tx: 2, Combined: 2, Exact: true}},
		"a later kernel's": {flat(u32(99, 7), u32(unix.ETHTOOL_A_CHANNELS_RX_COUNT, 1)), Channels{Rx: 1, Exact: true}},
	} {
		got, err := parseChannels(c.reply)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func TestParseXDPSupport(t *testing.T) {
	bits := make([]byte, 8)
	binary.NativeEndian.PutUint64(bits, xdpActBasic|xdpActRxSG)
	got, err := parseXDPSupport(flat(nl.NewRtAttr(netdevXDPFeatures, bits), nl.NewRtAttr(netdevZCMaxSegs, nl.Uint32Attr(5))))
	if want := (XDPSupport{Native: true, Fragments: true, ZeroCopySegments: 5}); err != nil || *got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func addrMessage(index, bits int, attrs ...*nl.RtAttr) []byte {
	msg := nl.NewIfAddrmsg(unix.AF_INET)
	msg.Index, msg.Prefixlen = uint32(index), uint8(bits)
	return append(msg.Serialize(), flat(attrs...)...)
}

func TestParseAddr(t *testing.T) {
	ip := func(kind int, s string) *nl.RtAttr { return nl.NewRtAttr(kind, netip.MustParseAddr(s).AsSlice()) }
	for name, c := range map[string]struct {
		msg  []byte
		want string
	}{
		"v4":             {addrMessage(2, 16, ip(unix.IFA_ADDRESS, "10.0.0.1"), ip(unix.IFA_LOCAL, "10.0.0.1"), ip(unix.IFA_BROADCAST, "10.0.255.255")), "10.0.0.1/16"},
		"point to point": {addrMessage(2, 32, ip(unix.IFA_ADDRESS, "10.0.0.2"), ip(unix.IFA_LOCAL, "10.0.0.1")), "10.0.0.1/32"},
		"other order":    {addrMessage(2, 32, ip(unix.IFA_LOCAL, "10.0.0.1"), ip(unix.IFA_ADDRESS, "10.0.0.2")), "10.0.0.1/32"},
		"v6":             {addrMessage(2, 64, ip(unix.IFA_ADDRESS, "fd00::1")), "fd00::1/64"},
		"no address":     {addrMessage(2, 64), ""},
		"bad length":     {addrMessage(2, 64, ip(unix.IFA_ADDRESS, "10.0.0.1")), ""},
		"short":          {[]byte{2, 0}, ""},
	} {
		got, ok := parseAddr(c.msg)
		if ok != (c.want != "") || (ok && (got.Prefix.String() != c.want || got.Index != 2)) {
			t.Errorf("%s: %+v, %v; want %q", name, got, ok, c.want)
		}
	}
}

// A bridge reports a port that leaves it as a deleted link.
func TestBridgeMessagesAreNotOfTheLink(t *testing.T) {
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = 7
	if _, ok, err := parseLink(msg.Serialize()); ok || err != nil {
		t.Errorf("taken for a link: %v, %v", ok, err)
	}
	msg.Family = unix.AF_UNSPEC
	if l, ok, err := parseLink(msg.Serialize()); !ok || err != nil || l.index != 7 {
		t.Errorf("a link's message: %+v, %v, %v", l, ok, err)
	}
}

func FuzzParseAttrs(f *testing.F) {
	f.Add(flat(ethtoolHeader(1, 3), nl.NewRtAttr(2, []byte("x"))))
	f.Add([]byte{3, 0, 1, 0})
	f.Add([]byte{255, 255, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		attrs, err := parseAttrs(b)
		total := 0
		for _, a := range attrs {
			total += unix.SizeofNlAttr + len(a.value)
		}
		if total > len(b) {
			t.Errorf("%d bytes of attributes in %d", total, len(b))
		}
		if err != nil {
			return
		}
		// None of these may panic, whatever the bytes.
		_, _ = parseFeatures(b)
		_, _ = parseChannels(b)
		_, _ = parseXDPSupport(b)
		_, _ = parseAddr(b)
	})
}

func TestPlan(t *testing.T) {
	on, fixed := feature{active: true, wanted: true, changeable: true}, feature{active: true, wanted: true}
	off := feature{changeable: true}
	for name, c := range map[string]struct {
		features   map[string]feature
		cfg        PrepareConfig
		off, stuck []string
	}{
		"nothing known":     {nil, PrepareConfig{}, nil, nil},
		"all well":          {map[string]feature{"rx-lro": off, "rx-gro": on, "tx-tcp-segmentation": on}, PrepareConfig{}, nil, nil},
		"some on":           {map[string]feature{"rx-vlan-hw-parse": on, "rx-lro": on, "rx-fcs": on}, PrepareConfig{}, []string{"rx-fcs", "rx-lro", "rx-vlan-hw-parse"}, nil},
		"fixed on":          {map[string]feature{"rx-gro-hw": fixed}, PrepareConfig{}, nil, []string{"rx-gro-hw"}},
		"forced by another": {map[string]feature{"rx-lro": {active: true, changeable: true}}, PrepareConfig{}, nil, []string{"rx-lro"}},
		"wanted, not on":    {map[string]feature{"rx-lro": {wanted: true, changeable: true}}, PrepareConfig{}, nil, nil},
		"generic":           {map[string]feature{"rx-gro": on}, PrepareConfig{Generic: true}, []string{"rx-gro"}, nil},
	} {
		off, stuck := plan(c.features, c.cfg)
		if !slices.Equal(off, c.off) || !slices.Equal(stuck, c.stuck) {
			t.Errorf("%s: off %q, stuck %q; want %q, %q", name, off, stuck, c.off, c.stuck)
		}
		for _, f := range slices.Concat(off, stuck) {
			if Why(f) == "" {
				t.Errorf("%s: no reason for %s", name, f)
			}
		}
	}
}

func TestRecordMerge(t *testing.T) {
	first := Record{Index: 3, Name: "a", Off: []string{"rx-lro", "rx-vlan-hw-parse"}}
	later := Record{Index: 3, Name: "b", Off: []string{"rx-gro", "rx-lro"}, Stuck: []string{"rx-fcs"}}
	got := first.Merge(later)
	if got.Name != "b" || !slices.Equal(got.Off, []string{"rx-gro", "rx-lro", "rx-vlan-hw-parse"}) || !slices.Equal(got.Stuck, later.Stuck) {
		t.Errorf("got %+v", got)
	}
}
