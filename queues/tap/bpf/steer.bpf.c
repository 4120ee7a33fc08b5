//go:build ignore

// SPDX-License-Identifier: Apache-2.0

// Chooses the queue of a TAP for each frame that the container sends. The
// kernel takes the result modulo the number of queues.
//
// A flow never moves. TCP spreads by addresses and ports; it is not fragmented
// by its sender. All else goes by its addresses alone, as most NICs do with
// UDP by default: a fragment bears no ports, and it must go with its flow.
// Frames that are not IP (ARP) go to queue 0.

// These are all the types that the helpers' headers need; <linux/bpf.h> would
// need the headers of one architecture.
typedef unsigned char __u8;
typedef unsigned short __u16, __be16, __sum16;
typedef int __s32;
typedef unsigned int __u32, __be32, __wsum;
typedef long long __s64;
typedef unsigned long long __u64;
struct __sk_buff;
enum bpf_map_type;

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_TYPE 12
#define ETH_LEN 14
#define ETH_IPV4 0x0800
#define ETH_IPV6 0x86dd

#define IPV4_FRAGMENT 0x3fff // more fragments, or an offset
#define IPV6_LEN 40
#define PROTO_TCP 6

// mix is the finalizer of MurmurHash3: every bit of h reaches every other.
static __always_inline __u32 mix(__u32 h)
{
	h ^= h >> 16;
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	return h ^ h >> 16;
}

static __always_inline __u32 mix_ports(struct __sk_buff *skb, __u32 offset, __u32 h)
{
	__u32 ports;

	if (bpf_skb_load_bytes(skb, offset, &ports, sizeof(ports)))
		return h;
	return mix(h ^ ports);
}

static __always_inline __u32 steer_ipv4(struct __sk_buff *skb)
{
	struct {
		__u8 version_ihl, tos;
		__be16 length, id, fragment;
		__u8 ttl, protocol;
		__be16 checksum;
		__be32 src, dst;
	} ip;
	__u32 h;

	if (bpf_skb_load_bytes(skb, ETH_LEN, &ip, sizeof(ip)))
		return 0;
	h = mix(mix(ip.src) ^ ip.dst);
	if (ip.protocol != PROTO_TCP || ip.fragment & bpf_htons(IPV4_FRAGMENT))
		return h;
	return mix_ports(skb, ETH_LEN + (ip.version_ihl & 0xf) * 4, h);
}

static __always_inline __u32 steer_ipv6(struct __sk_buff *skb)
{
	struct {
		__be32 flow;
		__be16 length;
		__u8 next, hops;
		__be32 addrs[8]; // source and destination
	} ip;
	__u32 h = 0;

	if (bpf_skb_load_bytes(skb, ETH_LEN, &ip, sizeof(ip)))
		return 0;
#pragma unroll
	for (int i = 0; i < 8; i++)
		h = mix(h ^ ip.addrs[i]);
	if (ip.next != PROTO_TCP)
		return h;
	return mix_ports(skb, ETH_LEN + IPV6_LEN, h);
}

SEC("socket")
int steer(struct __sk_buff *skb)
{
	__u16 type;

	if (bpf_skb_load_bytes(skb, ETH_TYPE, &type, sizeof(type)))
		return 0;
	if (type == bpf_htons(ETH_IPV4))
		return steer_ipv4(skb);
	if (type == bpf_htons(ETH_IPV6))
		return steer_ipv6(skb);
	return 0;
}

char _license[] SEC("license") = "Apache-2.0";
