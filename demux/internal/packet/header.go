package packet

// MAC is a 48-bit IEEE 802 address.
type MAC = [6]byte

// Kind is what a frame carries, as far as the switch tells frames apart.
type Kind uint8

// The kinds of a frame.
const (
	// KindOther is everything that is not one of the kinds below, also IEEE
	// 802.3 frames with a length in place of the EtherType.
	KindOther Kind = iota
	// KindIPv4 is a datagram whose header and total length are sane (RFC 791).
	KindIPv4
	// KindIPv6 is a packet whose fixed header and payload length are sane (RFC 8200).
	KindIPv6
	// KindARP is ARP of IPv4 over Ethernet (RFC 826).
	KindARP
	// KindMalformed is a frame that claims to be one of the above and is not,
	// or that is too short to be any.
	KindMalformed
)

// NDKind is the role of an IPv6 packet in Neighbour Discovery (RFC 4861) or
// Multicast Listener Discovery (RFC 2710, RFC 3810).
type NDKind uint8

// The roles.
const (
	// NDNone: the packet is neither ND nor an MLD report.
	NDNone NDKind = iota
	// NDSolicit is a valid neighbour solicitation (RFC 4861, section 7.1.1).
	NDSolicit
	// NDAdvert is a valid neighbour advertisement (section 7.1.2).
	NDAdvert
	// NDRouterAdvert is a valid router advertisement (section 6.1.2).
	NDRouterAdvert
	// NDRouterSolicit is a valid router solicitation (section 6.1.1).
	NDRouterSolicit
	// NDRedirect is a valid redirect (section 8.1).
	NDRedirect
	// NDMLDReport is a valid MLDv1 report or done, or a valid MLDv2 report.
	NDMLDReport
	// NDBad is a packet that is one of the above and breaks a rule of its
	// validity, or whose header chain cannot be followed to an upper protocol
	// and that may therefore hide one (RFC 6980, RFC 7112, RFC 7113).
	NDBad
	// NDLook is set by ParseFast alone: the packet may be any of the above;
	// Parse knows.
	NDLook
)

// EtherTypes, IP protocol numbers and lengths in bytes.
const (
	EtherTypeIPv4 uint16 = 0x0800
	EtherTypeARP  uint16 = 0x0806
	EtherTypeIPv6 uint16 = 0x86dd
	EtherTypeVLAN uint16 = 0x8100 // IEEE 802.1Q, customer tag
	EtherTypeQinQ uint16 = 0x88a8 // IEEE 802.1ad, service tag

	ProtoICMP   uint8 = 1
	ProtoTCP    uint8 = 6
	ProtoUDP    uint8 = 17
	ProtoICMPv6 uint8 = 58

	minEtherType uint16 = 0x600 // what is less is a length (IEEE 802.3, section 3.2.6)

	EthernetLen = 14 // an untagged Ethernet header
	TagLen      = 4  // a VLAN tag
)

const (
	ipv4Len = 20 // an IPv4 header without options
	ipv6Len = 40 // the fixed IPv6 header
	tcpLen  = 20 // a TCP header without options
	udpLen  = 8

	tcpChecksum = 16 // offset of the checksum in the header
	udpChecksum = 6
)

// Header is what one look at a frame yields. The caller owns it and uses it
// again for the next frame. It holds values and offsets only, no reference to
// the frame's bytes.
//
// After ParseFast only the fields of the first group count, and of the
// addresses only those of the frame's Kind; the others are left from before.
// After Parse all count, and what does not apply is zero.
type Header struct {
	// Dst and Src are the frame's MAC addresses.
	Dst, Src MAC
	// VLAN is the identifier of the outer tag, 0 for none; a priority tag
	// (identifier 0) is told by Tags.
	VLAN uint16
	// EtherType is the one behind the tags. Of an IEEE 802.3 frame it is the one
	// in its SNAP header, or else the frame's length, below 0x600; its Kind is
	// KindOther whatever it carries.
	EtherType uint16
	// L3 is the offset of the network header.
	L3 uint16
	// Tags is how many VLAN tags stand in the bytes, 0 to 2. A third one makes
	// the frame KindOther, with the tag's EtherType.
	Tags uint8
	// Kind says which of the fields below apply.
	Kind Kind
	// ND is the packet's role; see NDKind.
	ND NDKind
	// SrcIP4 and DstIP4 are IPv4 addresses as numbers, 10.0.0.1 = 0x0a000001;
	// of ARP (after Parse) the sender and target protocol address.
	SrcIP4, DstIP4 uint32
	// SrcIP6 and DstIP6 are the addresses of the fixed IPv6 header.
	SrcIP6, DstIP6 [16]byte

	// Proto is the upper protocol; of IPv6 the one behind the extension
	// headers, or the last next-header value seen where the chain cannot be
	// followed, as behind the fragment header of a later fragment.
	Proto uint8
	// Frag: the packet is a fragment, or an IPv6 packet with a fragment header.
	Frag bool
	// L4 is the offset of the upper protocol's header; 0 where there is none
	// to be read: a later fragment, a header chain that is too long or that
	// ends too early. At L4 less may stand than that protocol's header.
	L4 uint16
	// End is the offset behind the network packet's last byte: the frame's
	// length without Ethernet padding. It counts for IPv4 and IPv6.
	End uint32

	// The fields from here on do not count where ND is NDBad.

	// Target is the target address of a neighbour solicitation, neighbour
	// advertisement or redirect.
	Target [16]byte
	// LLAddr is the source link-layer address option of NDSolicit,
	// NDRouterSolicit and NDRouterAdvert, the target link-layer address option
	// of NDAdvert and NDRedirect, or the sender hardware address of ARP.
	LLAddr MAC
	// HasLLAddr: LLAddr stands in the frame.
	HasLLAddr bool
	// ARPOp is 1 for a request, 2 for a reply; others pass as they are.
	ARPOp uint16
	// ARPTargetMAC is the target hardware address of ARP.
	ARPTargetMAC MAC
	// MLDSolicitedOnly: the packet is an NDMLDReport of at least one group, and
	// all of its groups are solicited-node groups, ff02::1:ff00:0/104 (RFC 4291,
	// section 2.7.1).
	MLDSolicitedOnly bool

	routed bool // an IPv6 routing header with segments left: DstIP6 is not the last destination
}

// IsGroup says whether m is a multicast or the broadcast address.
func IsGroup(m MAC) bool { return m[0]&1 != 0 }

func (h *Header) malformed() bool {
	h.Kind, h.ND = KindMalformed, NDNone
	return false
}
