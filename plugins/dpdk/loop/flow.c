//go:build dpdk

// What arrives at ports: most of it belongs to flows of which a worker remembers which
// SA sends them.

#include <rte_hash_crc.h>

#include "internal.h"

// What the first eight octets of a plain packet of IPv4 are: a header without options,
// and no fragment.
#define PLAIN4 RTE_BE64(0x4500000000000000)
#define PLAIN4_MASK RTE_BE64(0xff00000000003fff)

// ports_key is the part of a key besides addresses; ports are as in the packet.
static uint64_t ports_key(uint32_t ports, uint8_t proto, bool has_ports, bool v6) {
	return (uint64_t)ports << 32 | (uint64_t)proto << 16 | (uint64_t)has_ports << 8 | v6;
}

static struct flow_key key_of(const struct header *h) {
	rte_be16_t both[2] = {rte_cpu_to_be_16(h->src_port), rte_cpu_to_be_16(h->dst_port)};
	struct flow_key k;
	uint32_t ports;
	memcpy(&ports, both, sizeof ports);
	memcpy(k.src, h->src, sizeof k.src);
	memcpy(k.dst, h->dst, sizeof k.dst);
	k.rest = ports_key(ports, h->proto, h->has_ports, h->v6);
	return k;
}

// plain_key reads the key of what most packets are, UDP or TCP without anything
// between its header and that of IP, in a tenth of the instructions that parse_header
// takes. False says nothing of any other packet.
static bool plain_key(const uint8_t *ip, uint32_t len, struct flow_key *k) {
	uint64_t first;
	uint32_t a[3]; // addresses, and ports
	memcpy(&first, ip, sizeof first);
	bool v6 = ip[0] >> 4 == 6;
	if (!v6 && (first & PLAIN4_MASK) != PLAIN4)
		return false;
	uint32_t l4 = v6 ? 40 : 20, said = v6 ? 40u + (uint32_t)(ip[4] << 8 | ip[5]) : (uint32_t)(ip[2] << 8 | ip[3]);
	if (said < l4 + sizeof(struct rte_udp_hdr) || said > len)
		return false;
	uint8_t proto = v6 ? ip[6] : ip[9];
	if (proto != IPPROTO_UDP && proto != IPPROTO_TCP)
		return false;
	if (v6) {
		memcpy(k->src, ip + 8, 16);
		memcpy(k->dst, ip + 24, 16);
		memcpy(&a[2], ip + 40, 4);
	} else {
		memcpy(a, ip + 12, sizeof a);
		*k = (struct flow_key){.src = {[0] = a[0]}, .dst = {[0] = a[1]}};
	}
	k->rest = ports_key(a[2], proto, true, v6);
	return true;
}

// flow_at is where a worker remembers a flow.
static struct flow *flow_at(struct worker *w, const struct flow_key *k) {
	uint32_t hash = rte_hash_crc_8byte(k->src[0] ^ k->src[1], (uint32_t)k->rest);
	return &w->flows[rte_hash_crc_8byte(k->dst[0] ^ k->dst[1], hash ^ (uint32_t)(k->rest >> 32)) % FLOWS];
}

static bool knows(const struct worker *w, const struct flow *f, const struct flow_key *k) {
	return f->version == w->version && f->key.rest == k->rest &&
	       ((f->key.src[0] ^ k->src[0]) | (f->key.src[1] ^ k->src[1]) | (f->key.dst[0] ^ k->dst[0]) | (f->key.dst[1] ^ k->dst[1])) == 0;
}

// sender_find is policy_find with a memory of flows.
struct evg_sa *sender_find(struct worker *w, const struct header *h) {
	struct flow_key k = key_of(h);
	struct flow *f = flow_at(w, &k);
	if (!knows(w, f, &k))
		*f = (struct flow){.version = w->version, .key = k, .sa = policy_find(w->p, h), .carried = !is_ours(w->p, h) && !is_multicast(h)};
	return f->sa;
}

// glance is what is read of a frame before its flow is in the caches.
struct glance {
	struct flow *flow; // NULL for what is not plain
	struct flow_key key;
};

static void look(struct worker *w, uint16_t port, const struct rte_mbuf *m, struct glance *g) {
	const struct rte_ether_hdr *l2 = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	uint32_t len = m->data_len;
	g->flow = NULL;
	if (m->nb_segs != 1 || len < sizeof *l2 + 20 || !rte_is_same_ether_addr(&l2->dst_addr, &w->p->ports[port].mac) ||
	    (l2->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV4) && l2->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV6)) ||
	    !plain_key((const uint8_t *)(l2 + 1), len - (uint32_t)sizeof *l2, &g->key))
		return;
	g->flow = flow_at(w, &g->key);
	rte_prefetch0(g->flow);
}

// follow sends a plain packet of a flow that is remembered; false where it is not, or
// where its time is up.
static bool follow(struct worker *w, struct rte_mbuf *m, const struct glance *g) {
	const struct flow *f = g->flow;
	if (f == NULL || !knows(w, f, &g->key) || !f->carried || f->sa == NULL)
		return false;
	uint8_t *ip = rte_pktmbuf_mtod_offset(m, uint8_t *, sizeof(struct rte_ether_hdr));
	bool v6 = ip[0] >> 4 == 6;
	if (!age_ttl(ip, v6))
		return false;
	if (v6)
		forward(w, m, f->sa, 40u + (uint32_t)(ip[4] << 8 | ip[5]), (uint8_t)(ip[0] << 4 | ip[1] >> 4), true, true);
	else
		forward(w, m, f->sa, (uint32_t)(ip[2] << 8 | ip[3]), ip[1], false, ip[6] & 0x40);
	return true;
}

// take_frames begins with what arrived at a port: each frame goes to the host or
// waits for carry, before which no more than BURST are taken.
void take_frames(struct worker *w, uint16_t port, struct rte_mbuf **m, uint32_t n) {
	struct glance g[BURST];
	atomic_fetch_add_explicit(&w->taken, n, memory_order_relaxed);
	for (uint32_t i = 0; i < n; i++) {
		rte_prefetch0(rte_pktmbuf_mtod(m[i], void *));
		rte_prefetch0(rte_pktmbuf_mtod_offset(m[i], uint8_t *, -RTE_CACHE_LINE_SIZE)); // where outer headers go
		rte_prefetch0(rte_pktmbuf_mtod_offset(m[i], uint8_t *, m[i]->data_len)); // and padding
	}
	for (uint32_t i = 0; i < n; i++)
		look(w, port, m[i], &g[i]);
	for (uint32_t i = 0; i < n; i++) {
		if (!follow(w, m[i], &g[i]))
			from_wire(w, port, m[i]);
	}
}
