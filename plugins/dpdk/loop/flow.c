//go:build dpdk

// What arrives at ports: most of it belongs to flows of which a worker remembers which
// SA sends them.

#include <rte_hash_crc.h>

#include "internal.h"

// What frames of plain packets of IPv4 have in words of eight octets: no options, no
// fragment. The first word has the port's address.
#define PLAIN4_TO RTE_BE64(0xffffffffffff0000)
#define PLAIN4_KIND RTE_BE64(0x0800450000000000)
#define PLAIN4_KIND_MASK RTE_BE64(0xffffff0000000000)
#define PLAIN4_FRAGMENT RTE_BE64(0x3fff000000000000)

// ports_key is the part of a key besides addresses; ports are as in the packet.
static uint64_t ports_key(uint32_t ports, uint8_t proto, bool has_ports, bool v6) {
	return (uint64_t)ports << 32 | (uint64_t)proto << 16 | (uint64_t)has_ports << 8 | v6;
}

static struct flow_key key_of(const struct header *h) {
	rte_be16_t both[2] = {rte_cpu_to_be_16(h->src_port), rte_cpu_to_be_16(h->dst_port)};
	struct flow_key k = {0};
	uint32_t ports;
	memcpy(&ports, both, sizeof ports);
	k.rest = ports_key(ports, h->proto, h->has_ports, h->v6);
	if (h->v6) {
		memcpy(k.addresses, h->src, 16);
		memcpy(k.addresses + 2, h->dst, 16);
	} else {
		memcpy(k.addresses, h->src, 4);
		memcpy((uint8_t *)k.addresses + 4, h->dst, 4);
	}
	return k;
}

// plain6_key reads the key of a packet of IPv6 that is UDP or TCP without anything
// between its header and that of IP. False says nothing of any other packet.
static bool plain6_key(const uint8_t *ip, uint32_t len, struct flow_key *k) {
	uint32_t said = 40u + (uint32_t)(ip[4] << 8 | ip[5]), ports;
	if (ip[0] >> 4 != 6 || len < 48 || said < 48 || said > len || (ip[6] != IPPROTO_UDP && ip[6] != IPPROTO_TCP))
		return false;
	memcpy(k->addresses, ip + 8, 32);
	memcpy(&ports, ip + 40, 4);
	k->rest = ports_key(ports, ip[6], true, true);
	return true;
}

// flow_at is where a worker remembers a flow.
static inline struct flow *flow_at(struct worker *w, const struct flow_key *k) {
	const uint64_t *a = k->addresses;
	uint32_t hash = rte_hash_crc_8byte(a[0] ^ a[1], rte_hash_crc_8byte(k->rest, 0));
	if ((a[2] | a[3]) != 0)
		hash = rte_hash_crc_8byte(a[2] ^ a[3], hash);
	return &w->flows[hash % FLOWS];
}

static inline bool knows(const struct worker *w, const struct flow *f, const struct flow_key *k) {
	const uint64_t *a = f->key.addresses, *b = k->addresses;
	return f->version == w->version && f->key.rest == k->rest &&
	       ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3])) == 0;
}

// sender_find is policy_find with a memory of flows.
struct evg_sa *sender_find(struct worker *w, const struct header *h) {
	struct flow_key k = key_of(h);
	struct flow *f = flow_at(w, &k);
	if (!knows(w, f, &k))
		*f = (struct flow){.version = w->version, .key = k, .sa = policy_find(w->p, h), .carried = !is_ours(w->p, h) && !is_multicast(h)};
	return f->sa;
}

// remembered returns the SA that is known to send packets of a flow from ports, NULL
// for none.
static inline __attribute__((always_inline)) struct evg_sa *remembered(struct worker *w, const struct flow_key *k) {
	const struct flow *f = flow_at(w, k);
	return knows(w, f, k) && f->carried ? f->sa : NULL;
}

// follow4 sends what most packets are, UDP or TCP over IPv4, of a flow that is
// remembered. They are read in five loads, in a tenth of the instructions that
// parse_header takes. False says nothing of any other packet. to is the port's address.
static bool follow4(struct worker *w, uint64_t to, struct rte_mbuf *m) {
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *), *ip = frame + sizeof(struct rte_ether_hdr);
	uint64_t first, kind, way, addresses; // from octets 0, 12, 20 and 26 of the frame
	uint32_t ports;
	memcpy(&first, frame, sizeof first);
	memcpy(&kind, frame + 12, sizeof kind);
	memcpy(&way, frame + 20, sizeof way);
	if ((((first ^ to) & PLAIN4_TO) | ((kind ^ PLAIN4_KIND) & PLAIN4_KIND_MASK) | (way & PLAIN4_FRAGMENT)) != 0)
		return false;
	kind = rte_be_to_cpu_64(kind);
	way = rte_be_to_cpu_64(way);
	uint32_t len = (uint32_t)(kind >> 16) & 0xffff;
	uint8_t proto = (uint8_t)(way >> 32);
	if ((proto != IPPROTO_UDP && proto != IPPROTO_TCP) || len < sizeof(struct rte_ipv4_hdr) + sizeof(struct rte_udp_hdr) ||
	    len > m->data_len - sizeof(struct rte_ether_hdr))
		return false;
	memcpy(&addresses, ip + 12, sizeof addresses);
	memcpy(&ports, ip + 20, sizeof ports);
	struct flow_key k = {.addresses = {addresses}, .rest = ports_key(ports, proto, true, false)};
	struct evg_sa *sa = remembered(w, &k);
	if (sa == NULL || !age_ttl(ip, false))
		return false;
	forward(w, m, sa, len, (uint8_t)(kind >> 32), false, way >> 62 & 1);
	return true;
}

// follow6 is follow4 for IPv6.
static bool follow6(struct worker *w, uint16_t port, struct rte_mbuf *m) {
	const struct rte_ether_hdr *l2 = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	uint8_t *ip = rte_pktmbuf_mtod_offset(m, uint8_t *, sizeof *l2);
	struct flow_key k;
	struct evg_sa *sa;
	if (l2->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV6) || !rte_is_same_ether_addr(&l2->dst_addr, &w->p->ports[port].mac) ||
	    !plain6_key(ip, m->data_len - (uint32_t)sizeof *l2, &k) || (sa = remembered(w, &k)) == NULL || !age_ttl(ip, true))
		return false;
	forward(w, m, sa, 40u + (uint32_t)(ip[4] << 8 | ip[5]), (uint8_t)(ip[0] << 4 | ip[1] >> 4), true, true);
	return true;
}

// SHORTEST is a frame with all that a key is read from, of IPv4.
#define SHORTEST (sizeof(struct rte_ether_hdr) + sizeof(struct rte_ipv4_hdr) + sizeof(struct rte_udp_hdr))

// take_frames begins with what arrived at a port: each frame goes to the host or
// waits for carry, before which no more than BURST are taken.
void take_frames(struct worker *w, uint16_t port, struct rte_mbuf **m, uint32_t n) {
	uint64_t to = 0;
	memcpy(&to, w->p->ports[port].mac.addr_bytes, RTE_ETHER_ADDR_LEN);
	atomic_fetch_add_explicit(&w->taken, n, memory_order_relaxed);
	for (uint32_t i = 0; i < n; i++) {
		rte_prefetch0(rte_pktmbuf_mtod(m[i], void *));
		rte_prefetch0(rte_pktmbuf_mtod_offset(m[i], uint8_t *, -RTE_CACHE_LINE_SIZE)); // where outer headers go
		rte_prefetch0(rte_pktmbuf_mtod_offset(m[i], uint8_t *, m[i]->data_len)); // and padding
	}
	for (uint32_t i = 0; i < n; i++) {
		bool plain = m[i]->nb_segs == 1 && m[i]->data_len >= SHORTEST;
		if (!plain || !(follow4(w, to, m[i]) || follow6(w, port, m[i])))
			from_wire(w, port, m[i]);
	}
}
