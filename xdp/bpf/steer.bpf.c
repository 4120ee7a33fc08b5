/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
//go:build ignore

/*
 * steer: which frames of a NIC go to the AF_XDP socket of their queue, and
 * which stay with the host. It only looks; it changes no byte.
 *
 * A frame is redirected when
 *   - its (VLAN, destination MAC) is that of a MAC identity, or
 *   - it is an ARP for Ethernet and IPv4 whose target protocol address is owned, or
 *   - it is a neighbour solicitation whose target is owned, or
 *   - it is addressed to the NIC's own MAC and its destination is an address
 *     of an IP identity.
 * Everything else is the host's: XDP_PASS. So is a known frame on a queue
 * whose slot of `sockets` is empty.
 *
 * Every run increments exactly one counter, after the action is known; so
 * `redirected` counts the frames that a socket was asked to take, no others.
 */
#include "kernel.h"
#include "headers.h"

/* The reasons; xdp.Counters lists the same ones in the same order. */
enum reason {
	REDIRECTED_MAC,
	REDIRECTED_IP4,
	REDIRECTED_IP6,
	REDIRECTED_ARP,
	REDIRECTED_ND,
	PASSED_UNKNOWN,   /* a unicast IP, ARP or ND frame for nobody whom we know */
	PASSED_GROUP,     /* a broadcast or multicast frame that concerns nobody whom we know */
	PASSED_PROTOCOL,  /* neither IPv4 nor IPv6 nor ARP, for nobody whom we know */
	PASSED_TAGS,      /* two VLAN tags or more: never one of ours */
	PASSED_MALFORMED, /* cut short, or a header that contradicts itself */
	PASSED_NO_SOCKET, /* known, but no socket in the queue's slot */
	REASONS,
};

struct counters {
	__u64 by_reason[REASONS];
};

/* What `settings.flags` says is worth looking up at all. */
#define HAVE_MAC 1u
#define HAVE_IP4 2u
#define HAVE_IP6 4u
#define HAVE_PREFIX4 8u
#define HAVE_PREFIX6 16u
#define CROWDED_MAC 32u
#define CROWDED_IP4 64u

struct settings {
	__u16 mac[3]; /* the NIC's own */
	__u16 flags;
	__u16 line_shift; /* 64 less the binary logarithm of how many `lines` there are */
};

/* Whose address it is. */
enum owner_kind {
	OWNER_NONE,
	OWNER_MAC,
	OWNER_IP, /* an IP identity: matches as a destination too */
};

struct owner {
	__u32 kind;
};

/* MAC and IPv4 addresses that stand alone, eight to a cache line: a look-up of
 * one is a multiplication and a line, where a hash map takes calls and, for many
 * addresses, two or three lines. Which line, the address says, and two that are
 * neighbours share one. What finds its line full is in the hash maps `macs`
 * and `exact4`, which are looked at only while they hold anything.
 *
 * A word is the address in 48 bits, the VLAN in 12, one that tells IPv4 from MAC,
 * and the owner in the upper 3; words are written one by one and whole. */
#define LINE_WORDS 8
#define WORD_VLAN 48
#define WORD_IP4 (1ull << 60)
#define WORD_OWNER 61
#define LINE_NEIGHBOURS 1 /* so many bits of an address do not choose the line */
#define LINE_MIX 0x9e3779b97f4a7c15ull

struct line {
	__u64 word[LINE_WORDS];
};

struct mac_key {
	__u16 mac[3];
	__u16 vlan;
};

struct ip4_key {
	__be32 addr;
	__u16 vlan;
	__u16 zero;
};

struct ip6_key {
	struct ip6_addr addr;
	__u16 vlan;
	__u16 zero;
};

/* The VLAN stands in front of the address and always counts whole: the length
 * of a prefix in `bits` is 32 more than the address's own. */
#define VLAN_BITS 32

struct prefix4_key {
	__u32 bits;
	__u16 vlan;
	__u16 zero;
	__be32 addr;
};

struct prefix6_key {
	__u32 bits;
	__u16 vlan;
	__u16 zero;
	struct ip6_addr addr;
};

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE); /* which aligns it to cache lines, too */
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct line);
} lines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct mac_key);
	__type(value, struct owner);
} macs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct ip4_key);
	__type(value, struct owner);
} exact4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct ip6_key);
	__type(value, struct owner);
} exact6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct prefix4_key);
	__type(value, struct owner);
} prefixes4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct prefix6_key);
	__type(value, struct owner);
} prefixes6 SEC(".maps");

static __always_inline void count(enum reason why)
{
	__u32 zero = 0;
	struct counters *c = bpf_map_lookup_elem(&counts, &zero);

	if (c) /* per CPU, and XDP does not nest: a plain increment is exact */
		c->by_reason[why]++;
}

static __always_inline int pass(enum reason why)
{
	count(why);
	return XDP_PASS;
}

/* The lower bits of the flags are the action for an empty slot. */
static __always_inline int redirect(struct xdp_md *ctx, enum reason why)
{
	int action = bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);

	count(action == XDP_REDIRECT ? why : PASSED_NO_SOCKET);
	return action;
}

static __always_inline int is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

static __always_inline int is_group(const struct eth_header *eth)
{
	return *(const __u8 *)eth->dst & 1;
}

static __always_inline int same_mac(const __u16 *a, const __u16 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

static __always_inline enum owner_kind kind_of(const struct owner *owner)
{
	return owner ? owner->kind : OWNER_NONE;
}

/* Whose the address of key, a word without an owner, is by `lines`. */
static __always_inline enum owner_kind owner_in_line(const struct settings *set, __u64 key)
{
	__u32 at = (key >> LINE_NEIGHBOURS) * LINE_MIX >> (set->line_shift & 63);
	struct line *line = bpf_map_lookup_elem(&lines, &at);

	if (!line)
		return OWNER_NONE;
#pragma unroll
	for (int i = 0; i < LINE_WORDS; i++) {
		__u64 word = *(volatile __u64 *)&line->word[i];

		if ((word ^ key) << (64 - WORD_OWNER) == 0)
			return word >> WORD_OWNER;
	}
	return OWNER_NONE;
}

static __always_inline enum owner_kind owner_of_mac(const struct settings *set, const struct eth_header *eth, __u16 vlan)
{
	__u64 word = (__u64)bpf_ntohs(eth->dst[0]) << 32 | (__u32)bpf_ntohs(eth->dst[1]) << 16 | bpf_ntohs(eth->dst[2]);
	enum owner_kind kind = owner_in_line(set, word | (__u64)vlan << WORD_VLAN);

	if (kind == OWNER_NONE && set->flags & CROWDED_MAC) {
		struct mac_key key = {
			.mac = {eth->dst[0], eth->dst[1], eth->dst[2]},
			.vlan = vlan,
		};

		kind = kind_of(bpf_map_lookup_elem(&macs, &key));
	}
	return kind;
}

static __always_inline enum owner_kind owner_of_ip4(const struct settings *set, __be32 addr, __u16 vlan)
{
	enum owner_kind kind = OWNER_NONE;

	if (set->flags & HAVE_IP4)
		kind = owner_in_line(set, bpf_ntohl(addr) | (__u64)vlan << WORD_VLAN | WORD_IP4);
	if (kind == OWNER_NONE && set->flags & CROWDED_IP4) {
		struct ip4_key key = {.addr = addr, .vlan = vlan};

		kind = kind_of(bpf_map_lookup_elem(&exact4, &key));
	}
	if (kind == OWNER_NONE && set->flags & HAVE_PREFIX4) {
		struct prefix4_key key = {.bits = VLAN_BITS + 32, .vlan = vlan, .addr = addr};

		kind = kind_of(bpf_map_lookup_elem(&prefixes4, &key));
	}
	return kind;
}

static __always_inline enum owner_kind owner_of_ip6(const struct settings *set, const struct ip6_addr *addr, __u16 vlan)
{
	enum owner_kind kind = OWNER_NONE;

	if (set->flags & HAVE_IP6) {
		struct ip6_key key = {.addr = *addr, .vlan = vlan};

		kind = kind_of(bpf_map_lookup_elem(&exact6, &key));
	}
	if (kind == OWNER_NONE && set->flags & HAVE_PREFIX6) {
		struct prefix6_key key = {.bits = VLAN_BITS + 128, .vlan = vlan, .addr = *addr};

		kind = kind_of(bpf_map_lookup_elem(&prefixes6, &key));
	}
	return kind;
}

static __always_inline int steer_arp(struct xdp_md *ctx, const struct settings *set, const struct eth_header *eth,
				     void *l3, __u16 vlan)
{
	struct arp_header *arp = l3;
	__be32 target;

	if ((void *)(arp + 1) > (void *)(long)ctx->data_end)
		return pass(PASSED_MALFORMED);
	if (arp->hardware != bpf_htons(ARPHRD_ETHER) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->hardware_len != 6 || arp->protocol_len != 4)
		return pass(PASSED_PROTOCOL); /* the ARP of another medium, RARP's cousins */
	if (arp->operation != bpf_htons(ARPOP_REQUEST) && arp->operation != bpf_htons(ARPOP_REPLY))
		return pass(PASSED_PROTOCOL);
	__builtin_memcpy(&target, arp->target_ip, sizeof(target));
	if (owner_of_ip4(set, target, vlan) != OWNER_NONE)
		return redirect(ctx, REDIRECTED_ARP);
	return pass(is_group(eth) ? PASSED_GROUP : PASSED_UNKNOWN);
}

static __always_inline int steer_ip4(struct xdp_md *ctx, const struct settings *set, const struct eth_header *eth,
				     void *l3, __u16 vlan)
{
	struct ip4_header *ip = l3;

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return pass(PASSED_MALFORMED);
	if (ip->version_ihl >> 4 != 4 || (ip->version_ihl & 15) < 5)
		return pass(PASSED_MALFORMED);
	if (is_group(eth))
		return pass(PASSED_GROUP);
	if (!same_mac(eth->dst, set->mac))
		return pass(PASSED_UNKNOWN);
	if (owner_of_ip4(set, ip->dst, vlan) == OWNER_IP)
		return redirect(ctx, REDIRECTED_IP4);
	return pass(PASSED_UNKNOWN);
}

/* Whether ip is a neighbour solicitation of an address that is owned. One with
 * another hop limit comes from beyond the link and is none (RFC 4861, 7.1.1). */
static __always_inline int solicits_owned(struct xdp_md *ctx, const struct settings *set, struct ip6_header *ip,
					  __u16 vlan)
{
	struct nd_solicit *nd = (void *)(ip + 1);

	if (ip->next_header != IPPROTO_ICMPV6 || ip->hop_limit != ND_HOP_LIMIT)
		return 0;
	if ((void *)(nd + 1) > (void *)(long)ctx->data_end)
		return 0;
	if (nd->type != ND_NEIGHBOR_SOLICIT || nd->code != 0)
		return 0;
	return owner_of_ip6(set, &nd->target, vlan) != OWNER_NONE;
}

static __always_inline int steer_ip6(struct xdp_md *ctx, const struct settings *set, const struct eth_header *eth,
				     void *l3, __u16 vlan)
{
	struct ip6_header *ip = l3;

	if ((void *)(ip + 1) > (void *)(long)ctx->data_end)
		return pass(PASSED_MALFORMED);
	if (ip->version_class >> 4 != 6)
		return pass(PASSED_MALFORMED);
	if (solicits_owned(ctx, set, ip, vlan))
		return redirect(ctx, REDIRECTED_ND);
	if (is_group(eth))
		return pass(PASSED_GROUP);
	if (!same_mac(eth->dst, set->mac))
		return pass(PASSED_UNKNOWN);
	if (owner_of_ip6(set, &ip->dst, vlan) == OWNER_IP)
		return redirect(ctx, REDIRECTED_IP6);
	return pass(PASSED_UNKNOWN);
}

SEC("xdp.frags")
int steer(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth_header *eth = data;
	void *l3 = eth + 1;
	struct settings *set;
	__u32 zero = 0;
	__u16 vlan = 0;
	__be16 type;

	set = bpf_map_lookup_elem(&config, &zero);
	if (!set || l3 > end)
		return pass(PASSED_MALFORMED);
	type = eth->type;
	if (is_tag(type)) {
		struct vlan_header *tag = l3;

		l3 = tag + 1;
		if (l3 > end)
			return pass(PASSED_MALFORMED);
		vlan = bpf_ntohs(tag->tci) & VLAN_VID_MASK; /* 0: a priority tag, as good as none */
		type = tag->type;
		if (is_tag(type))
			return pass(PASSED_TAGS);
	}
	if (set->flags & HAVE_MAC && !is_group(eth) && owner_of_mac(set, eth, vlan) != OWNER_NONE)
		return redirect(ctx, REDIRECTED_MAC);
	if (type == bpf_htons(ETH_P_IP))
		return steer_ip4(ctx, set, eth, l3, vlan);
	if (type == bpf_htons(ETH_P_IPV6))
		return steer_ip6(ctx, set, eth, l3, vlan);
	if (type == bpf_htons(ETH_P_ARP))
		return steer_arp(ctx, set, eth, l3, vlan);
	return pass(is_group(eth) ? PASSED_GROUP : PASSED_PROTOCOL);
}

char _license[] SEC("license") = "Dual BSD/GPL";
