/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The packet headers that the program reads. MAC addresses are three 16-bit
 * words: a frame's start is aligned to two bytes and no more.
 */
#ifndef XDPDEMUX_HEADERS_H
#define XDPDEMUX_HEADERS_H

#define ETH_P_IP 0x0800    /* RFC 894 */
#define ETH_P_ARP 0x0806   /* RFC 826 */
#define ETH_P_IPV6 0x86dd  /* RFC 2464 */
#define ETH_P_8021Q 0x8100 /* IEEE 802.1Q, customer tag */
#define ETH_P_8021AD 0x88a8 /* IEEE 802.1ad, service tag */
#define VLAN_VID_MASK 0x0fff

#define ARPHRD_ETHER 1
#define ARPOP_REQUEST 1
#define ARPOP_REPLY 2

#define IPPROTO_ICMPV6 58
#define ND_NEIGHBOR_SOLICIT 135
#define ND_HOP_LIMIT 255 /* RFC 4861, section 7.1.1 */

struct eth_header {
	__u16 dst[3];
	__u16 src[3];
	__be16 type;
};

struct vlan_header {
	__be16 tci;
	__be16 type; /* of what follows */
};

struct arp_header { /* RFC 826, over Ethernet, for IPv4 */
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 operation;
	__u16 sender_mac[3];
	__u16 sender_ip[2];
	__u16 target_mac[3];
	__u16 target_ip[2];
};

struct ip4_header { /* RFC 791 */
	__u8 version_ihl;
	__u8 tos;
	__be16 total_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__be32 src;
	__be32 dst;
} __attribute__((packed, aligned(2)));

struct ip6_addr {
	__u32 word[4];
} __attribute__((packed, aligned(2)));

struct ip6_header { /* RFC 8200 */
	__u8 version_class;
	__u8 class_flow[3];
	__be16 payload_len;
	__u8 next_header;
	__u8 hop_limit;
	struct ip6_addr src;
	struct ip6_addr dst;
};

struct nd_solicit { /* RFC 4861, section 4.3 */
	__u8 type;
	__u8 code;
	__u16 check;
	__u16 reserved[2];
	struct ip6_addr target;
};

#endif
