//go:build dpdk

// What is read and changed in IP headers.

#include "internal.h"

static bool carries_ports(uint8_t proto) {
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP || proto == IPPROTO_DCCP || proto == IPPROTO_UDPLITE;
}

static uint16_t be16(const uint8_t *p) {
	return (uint16_t)(p[0] << 8 | p[1]);
}

// parse_ports reads what selectors call ports: of ICMP, type and code, the type in
// the upper octet (RFC 4301 section 4.4.1.1).
static void parse_ports(struct header *h, const uint8_t *p, uint32_t len) {
	if (h->fragment)
		return;
	if (carries_ports(h->proto) && len >= h->l4 + 4u) {
		h->src_port = be16(p + h->l4);
		h->dst_port = be16(p + h->l4 + 2);
		h->has_ports = true;
	} else if ((h->proto == IPPROTO_ICMP || h->proto == IPPROTO_ICMPV6) && len >= h->l4 + 2u) {
		h->src_port = h->dst_port = be16(p + h->l4);
		h->has_ports = true;
	}
}

// put_ipv4_addr writes an address of four octets as one of sixteen.
static void put_ipv4_addr(uint8_t *to, const uint8_t *from) {
	uint64_t word = 0, zero = 0;
	memcpy(&word, from, 4);
	memcpy(to, &word, 8);
	memcpy(to + 8, &zero, 8);
}

static void put_ipv6_addr(uint8_t *to, const uint8_t *from) {
	uint64_t words[2];
	memcpy(words, from, 16);
	memcpy(to, &words[0], 8);
	memcpy(to + 8, &words[1], 8);
}

static bool parse_ipv4(struct header *h, const uint8_t *p, uint32_t len) {
	uint32_t ihl = (p[0] & 0xf) * 4u;
	h->len = be16(p + 2);
	if (ihl < 20 || h->len < ihl || h->len > len)
		return false;
	h->tos = p[1];
	h->df = p[6] & 0x40;
	h->fragment = (be16(p + 6) & 0x1fff) != 0; // not the first one
	h->proto = p[9];
	h->l4 = (uint16_t)ihl;
	put_ipv4_addr(h->src, p + 12);
	put_ipv4_addr(h->dst, p + 16);
	parse_ports(h, p, h->len);
	return true;
}

// MAX_EXTENSIONS bounds the extension headers that are skipped.
#define MAX_EXTENSIONS 8

// parse_ipv6 skips the extension headers of RFC 8200 that may stand before a
// transport header.
static bool parse_ipv6(struct header *h, const uint8_t *p, uint32_t len) {
	if (len < 40)
		return false;
	h->len = 40u + be16(p + 4);
	if (h->len > len)
		return false;
	h->tos = (uint8_t)(p[0] << 4 | p[1] >> 4);
	h->df = true; // nobody fragments but the sender
	h->v6 = true;
	put_ipv6_addr(h->src, p + 8);
	put_ipv6_addr(h->dst, p + 24);
	uint8_t next = p[6];
	uint32_t at = 40;
	for (int i = 0; i < MAX_EXTENSIONS && at + 8 <= h->len; i++) {
		if (next == IPPROTO_FRAGMENT) {
			h->fragment = h->fragment || (be16(p + at + 2) & 0xfff8) != 0;
			next = p[at];
			at += 8;
		} else if (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS) {
			next = p[at];
			at += 8u + p[at + 1] * 8u;
		} else {
			break;
		}
	}
	h->proto = next;
	h->l4 = (uint16_t)at;
	parse_ports(h, p, h->len);
	return true;
}

bool parse_header(struct header *h, const uint8_t *p, uint32_t len) {
	h->v6 = h->has_ports = h->df = h->fragment = false;
	h->src_port = h->dst_port = 0;
	if (len < 20)
		return false;
	switch (p[0] >> 4) {
	case 4:
		return parse_ipv4(h, p, len);
	case 6:
		return parse_ipv6(h, p, len);
	default:
		return false;
	}
}

// add_to_checksum changes a checksum for a 16-bit word that changed (RFC 1624).
static void add_to_checksum(uint8_t *sum, uint16_t before, uint16_t after) {
	uint32_t s = (uint16_t)~be16(sum) + (uint16_t)~before + after;
	s = (s & 0xffff) + (s >> 16);
	s = ~((s & 0xffff) + (s >> 16));
	sum[0] = (uint8_t)(s >> 8);
	sum[1] = (uint8_t)s;
}

void set_ecn(uint8_t *p, bool v6, uint8_t ecn) {
	if (v6) {
		p[1] = (uint8_t)((p[1] & 0xcf) | ecn << 4);
		return;
	}
	uint16_t before = be16(p);
	p[1] = (uint8_t)((p[1] & 0xfc) | ecn);
	add_to_checksum(p + 10, before, be16(p));
}

// inner_ecn combines both headers' ECN fields in the inner one, and returns false
// for a packet that must be dropped (RFC 6040 section 4.2).
bool inner_ecn(uint8_t *inner, uint8_t outer) {
	bool v6 = inner[0] >> 4 == 6;
	uint8_t in = (v6 ? inner[1] >> 4 : inner[1]) & 3;
	outer &= 3;
	if (outer == 3 && in == 0)
		return false;
	if (outer == 3 && in != 3)
		set_ecn(inner, v6, 3);
	else if (outer == 1 && in == 2)
		set_ecn(inner, v6, 1);
	return true;
}

bool is_multicast(const struct header *h) {
	if (h->v6)
		return h->dst[0] == 0xff || (h->dst[0] == 0xfe && (h->dst[1] & 0xc0) == 0x80);
	return h->dst[0] >= 224 || (h->dst[0] == 169 && h->dst[1] == 254);
}

// within tells whether an address lies in the range of a selector of its family.
static bool within(const struct evg_selector *s, const uint8_t *addr, bool v6) {
	if (v6)
		return memcmp(addr, s->min, 16) >= 0 && memcmp(addr, s->max, 16) <= 0;
	rte_be32_t a, least, most;
	memcpy(&a, addr, 4);
	memcpy(&least, s->min, 4);
	memcpy(&most, s->max, 4);
	return rte_be_to_cpu_32(a) >= rte_be_to_cpu_32(least) && rte_be_to_cpu_32(a) <= rte_be_to_cpu_32(most);
}

// selects tells whether one of n selectors is for this side of a packet. has_port is
// false for fragments and protocols without ports.
bool selects(const struct evg_selector *s, uint32_t n, const uint8_t *addr, bool v6, uint8_t proto, uint16_t port, bool has_port) {
	for (uint32_t i = 0; i < n; i++) {
		if (s[i].v6 != v6 || (s[i].proto != 0 && s[i].proto != proto) || !within(&s[i], addr, v6))
			continue;
		if (s[i].port_min == 0 && s[i].port_max == 65535)
			return true;
		bool opaque = s[i].port_min == 65535 && s[i].port_max == 0;
		if (has_port ? s[i].port_min <= port && port <= s[i].port_max : opaque)
			return true;
	}
	return false;
}
