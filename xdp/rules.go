package xdp

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/xdpdemux/xdpdemux/xdp/bpf"
)

// RuleKind says what a rule's address is and which frames it therefore catches.
type RuleKind uint8

// The values of RuleKind.
const (
	// RuleMAC: a MAC identity's MAC; every unicast frame to it.
	RuleMAC RuleKind = iota
	// RuleIPIdentity: addresses of a container that shares the NIC's MAC;
	// frames to them under that MAC, ARP and neighbour solicitations for them.
	RuleIPIdentity
	// RuleMACIdentityIP: addresses of a container with a MAC of its own; only
	// ARP and neighbour solicitations for them.
	RuleMACIdentityIP
)

// Rule gives the frames for one address, or one prefix, to the sockets.
type Rule struct {
	Kind RuleKind
	// VLAN is the tag that the frames bear, 1 to 4094, or 0 for none.
	VLAN uint16
	// MAC is the address of a RuleMAC.
	MAC [6]byte
	// Prefix holds the addresses of the other kinds. A /32 or /128 stands
	// alone, and before every shorter prefix; of those the longest counts.
	Prefix netip.Prefix
}

// ruleKey is what may stand in the maps once: the VLAN with the MAC or the prefix.
type ruleKey struct {
	vlan   uint16
	mac    [6]byte
	prefix netip.Prefix
}

func (r Rule) key() ruleKey {
	if r.Kind == RuleMAC {
		return ruleKey{vlan: r.VLAN, mac: r.MAC}
	}
	return ruleKey{vlan: r.VLAN, prefix: r.Prefix}
}

const maxVLAN = 4094

// check refuses a rule that no frame, or the wrong ones, would match.
func (r Rule) check() error {
	switch {
	case r.VLAN > maxVLAN:
		return fmt.Errorf("%w: VLAN %d: choose 1 to %d, or 0 for untagged", ErrConfig, r.VLAN, maxVLAN)
	case r.Kind > RuleMACIdentityIP:
		return fmt.Errorf("%w: rule kind %d is none", ErrConfig, r.Kind)
	case r.Kind == RuleMAC:
		return checkMAC(r.MAC)
	case !r.Prefix.IsValid():
		return fmt.Errorf("%w: a rule of kind %d needs a prefix", ErrConfig, r.Kind)
	case r.Prefix != r.Prefix.Masked() || r.Prefix.Addr().Is4In6():
		return fmt.Errorf("%w: prefix %v: write it without host bits, and IPv4 as IPv4", ErrConfig, r.Prefix)
	}
	return nil
}

func checkMAC(mac [6]byte) error {
	if mac == [6]byte{} || mac[0]&1 != 0 {
		return fmt.Errorf("%w: MAC % x: an identity's is neither zero nor a group address", ErrConfig, mac)
	}
	return nil
}

// The program's tables.
type table uint8

const (
	tableMAC table = iota
	tableExact4
	tableExact6
	tablePrefix4
	tablePrefix6
	tables
)

func (k ruleKey) table() table {
	switch {
	case !k.prefix.IsValid():
		return tableMAC
	case k.prefix.Addr().Is4() && k.prefix.IsSingleIP():
		return tableExact4
	case k.prefix.Addr().Is4():
		return tablePrefix4
	case k.prefix.IsSingleIP():
		return tableExact6
	}
	return tablePrefix6
}

// flag is the table's bit in the program's settings: whether it is worth a look.
func (t table) flag() uint16 { return 1 << t }

// crowded is the bit that says of a table whose entries stand in lines that some
// found theirs full.
func (t table) crowded() uint16 { return 1 << (tables + t) }

// inLines tells whether the table's entries stand in lines.
func (t table) inLines() bool { return t == tableMAC || t == tableExact4 }

// The owners' kinds, as in steer.bpf.c.
const (
	ownerMAC = 1
	ownerIP  = 2
)

func (r Rule) owner() uint32 {
	if r.Kind == RuleIPIdentity {
		return ownerIP
	}
	return ownerMAC
}

// word is the key of a table in lines as they have it.
func (k ruleKey) word() uint64 {
	vlan := uint64(k.vlan) << wordVLAN
	if k.prefix.IsValid() {
		a := k.prefix.Addr().As4()
		return uint64(binary.BigEndian.Uint32(a[:])) | vlan | wordIP4
	}
	return uint64(binary.BigEndian.Uint16(k.mac[:]))<<32 | uint64(binary.BigEndian.Uint32(k.mac[2:])) | vlan
}

// vlanBits is what the VLAN in front of the address adds to a prefix's length.
const vlanBits = 32

func (k ruleKey) macKey() bpf.SteerMacKey {
	return bpf.SteerMacKey{Mac: macWords(k.mac), Vlan: k.vlan}
}

func (k ruleKey) exact4() bpf.SteerIp4Key {
	return bpf.SteerIp4Key{Addr: ip4Word(k.prefix.Addr()), Vlan: k.vlan}
}

func (k ruleKey) exact6() (v bpf.SteerIp6Key) {
	v.Vlan = k.vlan
	v.Addr.Word = ip6Words(k.prefix.Addr())
	return v
}

func (k ruleKey) prefix4() bpf.SteerPrefix4Key {
	return bpf.SteerPrefix4Key{Bits: vlanBits + uint32(k.prefix.Bits()), Addr: ip4Word(k.prefix.Addr()), Vlan: k.vlan}
}

func (k ruleKey) prefix6() (v bpf.SteerPrefix6Key) {
	v.Bits, v.Vlan = vlanBits+uint32(k.prefix.Bits()), k.vlan
	v.Addr.Word = ip6Words(k.prefix.Addr())
	return v
}

// The words of addresses as the program reads them: bytes as on the wire.

func macWords(m [6]byte) [3]uint16 {
	n := binary.NativeEndian
	return [3]uint16{n.Uint16(m[0:]), n.Uint16(m[2:]), n.Uint16(m[4:])}
}

func ip4Word(a netip.Addr) uint32 {
	b := a.As4()
	return binary.NativeEndian.Uint32(b[:])
}

func ip6Words(a netip.Addr) [4]uint32 {
	b, n := a.As16(), binary.NativeEndian
	return [4]uint32{n.Uint32(b[0:]), n.Uint32(b[4:]), n.Uint32(b[8:]), n.Uint32(b[12:])}
}
