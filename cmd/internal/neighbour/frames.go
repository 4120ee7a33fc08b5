package neighbour

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// MAC is an Ethernet address.
type MAC = [6]byte

// Identity is who speaks: an address and the MAC that it is reached by, in a
// VLAN (0 = untagged).
type Identity struct {
	VLAN uint16
	MAC  MAC
	IP   netip.Addr
}

var broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Announcement is the frame that tells everybody on the wire where id is: a
// gratuitous ARP request (RFC 5227, section 3) or an unsolicited Neighbour
// Advertisement to all nodes (RFC 4861, section 7.2.6).
func Announcement(id Identity) ([]byte, error) {
	if id.IP.Is4() {
		return arp(id, broadcast, MAC{}, id.IP)
	}
	return icmp6(id, MAC{0x33, 0x33, 0, 0, 0, 1}, netip.IPv6LinkLocalAllNodes(), layers.ICMPv6TypeNeighborAdvertisement,
		&layers.ICMPv6NeighborAdvertisement{
			Flags:         0x20, // override
			TargetAddress: id.IP.AsSlice(),
			Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: id.MAC[:]}},
		})
}

// Question is the frame with which id asks for the MAC of target: to everybody,
// or, where known is set, to the one who had the address last (RFC 826; RFC
// 4861, section 7.2.2).
func Question(id Identity, target netip.Addr, known MAC) ([]byte, error) {
	if id.IP.Is4() {
		to := broadcast
		if known != (MAC{}) {
			to = known
		}
		return arp(id, to, MAC{}, target)
	}
	to, group := known, target
	if known == (MAC{}) {
		group, to = solicitedNode(target)
	}
	return icmp6(id, to, group, layers.ICMPv6TypeNeighborSolicitation, &layers.ICMPv6NeighborSolicitation{
		TargetAddress: target.AsSlice(),
		Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: id.MAC[:]}},
	})
}

// solicitedNode is the group that the owner of ip listens to, and the MAC of
// that group (RFC 4291, section 2.7.1; RFC 2464, section 7).
func solicitedNode(ip netip.Addr) (netip.Addr, MAC) {
	a := ip.As16()
	group := [16]byte{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]}
	return netip.AddrFrom16(group), MAC{0x33, 0x33, 0xff, a[13], a[14], a[15]}
}

func arp(id Identity, to, targetMAC MAC, target netip.Addr) ([]byte, error) {
	return serialize(id, to, layers.EthernetTypeARP, &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
		HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPRequest,
		SourceHwAddress: id.MAC[:], SourceProtAddress: id.IP.AsSlice(),
		DstHwAddress: targetMAC[:], DstProtAddress: target.AsSlice(),
	})
}

func icmp6(id Identity, to MAC, dst netip.Addr, kind uint8, body gopacket.SerializableLayer) ([]byte, error) {
	ip := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolICMPv6, HopLimit: 255,
		SrcIP: id.IP.AsSlice(), DstIP: dst.AsSlice()}
	head := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	if err := head.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, fmt.Errorf("building a neighbour message: %w", err)
	}
	return serialize(id, to, layers.EthernetTypeIPv6, ip, head, body)
}

func serialize(id Identity, to MAC, kind layers.EthernetType, rest ...gopacket.SerializableLayer) ([]byte, error) {
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr(id.MAC[:]), DstMAC: net.HardwareAddr(to[:]), EthernetType: kind}
	all := []gopacket.SerializableLayer{eth}
	if id.VLAN != 0 {
		eth.EthernetType = layers.EthernetTypeDot1Q
		all = append(all, &layers.Dot1Q{VLANIdentifier: id.VLAN, Type: kind})
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, append(all, rest...)...); err != nil {
		return nil, fmt.Errorf("building a neighbour message: %w", err)
	}
	return buf.Bytes(), nil
}
