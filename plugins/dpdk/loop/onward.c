//go:build dpdk

// Inner packets that leave by a port: where those between two addresses go, as far as
// the host was asked.

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_hash_crc.h>

#include "internal.h"

// ASK_NS is how long a worker waits before it asks for the same addresses again.
#define ASK_NS (SECOND / 10)

static uint32_t hash_of(const uint8_t *src, const uint8_t *dst) {
	uint64_t a[2], b[2];
	memcpy(a, src, sizeof a);
	memcpy(b, dst, sizeof b);
	return rte_hash_crc_8byte(b[1], rte_hash_crc_8byte(b[0], rte_hash_crc_8byte(a[1], rte_hash_crc_8byte(a[0], 0))));
}

static bool is_between(const struct onward *o, const struct header *h) {
	return o->to.from.v6 == h->v6 && same16(o->to.from.b, h->src) && same16(o->to.to.b, h->dst);
}

// ask has Go find out where packets between two addresses leave. What does not fit is
// asked for by a later packet; until there is an answer the host has them.
static void ask(struct worker *w, const struct header *h, uint32_t hash) {
	struct asked *q = &w->p->asked;
	uint64_t *until = &w->ask_until[hash % ASK_SLOTS];
	if (w->now < *until)
		return;
	*until = w->now + ASK_NS;
	rte_spinlock_lock(&q->lock);
	bool first = q->n == 0;
	if (q->n < MAX_ASKED) {
		struct evg_onward *o = &q->list[q->n++];
		*o = (struct evg_onward){.from.v6 = h->v6, .to.v6 = h->v6};
		memcpy(o->from.b, h->src, 16);
		memcpy(o->to.b, h->dst, 16);
	}
	rte_spinlock_unlock(&q->lock);
	if (first)
		wake(w->p);
}

// evg_onward_asked takes up to n pairs of addresses that packets ask for.
uint32_t evg_onward_asked(struct evg_plane *p, struct evg_onward *out, uint32_t n) {
	struct asked *q = &p->asked;
	rte_spinlock_lock(&q->lock);
	n = RTE_MIN(n, q->n);
	q->n -= n;
	memcpy(out, q->list + q->n, n * sizeof *out);
	rte_spinlock_unlock(&q->lock);
	return n;
}

// evg_onward_set says where packets between two addresses leave, and forgets what was
// in the slot that it returns.
int evg_onward_set(struct evg_plane *p, const struct evg_onward *to) {
	struct onward *new = calloc(1, sizeof *new);
	uint32_t slot = hash_of(to->from.b, to->to.b) % ONWARD_SLOTS;
	if (new == NULL)
		return -ENOMEM;
	new->to = *to;
	atomic_store(&new->used, true);
	retire(p, atomic_exchange(&p->onward[slot], new));
	return (int)slot;
}

void evg_onward_clear(struct evg_plane *p, uint32_t slot) {
	retire(p, atomic_exchange(&p->onward[slot], NULL));
}

// evg_onward_used tells whether packets asked for a slot since this was asked last.
bool evg_onward_used(struct evg_plane *p, uint32_t slot) {
	struct onward *o = atomic_load(&p->onward[slot]);
	return o != NULL && atomic_exchange(&o->used, false);
}

// pass_on sends an inner packet, which begins at inner in m, by the port that leads to
// its destination. False means that the packet is the host's: it knows of no such port,
// has to say that a packet is too long or too old, or nobody has asked it yet.
bool pass_on(struct worker *w, struct rte_mbuf *m, uint8_t *inner, const struct header *h) {
	if (!w->p->forwards)
		return false;
	uint32_t hash = hash_of(h->src, h->dst);
	struct onward *o = atomic_load_explicit(&w->p->onward[hash % ONWARD_SLOTS], memory_order_acquire);
	if (o == NULL || !is_between(o, h)) {
		ask(w, h, hash);
		return false;
	}
	if (!atomic_load_explicit(&o->used, memory_order_relaxed))
		atomic_store_explicit(&o->used, true, memory_order_relaxed);
	if (!o->to.resolved || h->len > o->to.mtu || !age_ttl(inner, h->v6))
		return false;
	rte_pktmbuf_adj(m, (uint16_t)(inner - sizeof(struct rte_ether_hdr) - rte_pktmbuf_mtod(m, uint8_t *))); // outer headers are longer
	rte_pktmbuf_trim(m, (uint16_t)(m->data_len - sizeof(struct rte_ether_hdr) - h->len));
	struct rte_ether_hdr *l2 = rte_pktmbuf_mtod(m, struct rte_ether_hdr *); // written in place: a copy would wait for it
	memcpy(&l2->dst_addr, o->to.mac, sizeof o->to.mac);
	l2->src_addr = w->p->ports[o->to.port].mac;
	l2->ether_type = rte_cpu_to_be_16(h->v6 ? RTE_ETHER_TYPE_IPV6 : RTE_ETHER_TYPE_IPV4);
	m->ol_flags = 0; // what a card said of the outer packet
	count(w, EVG_STAT_PASSED_ON);
	to_wire(w, o->to.port, m, NULL);
	return true;
}

void onward_free(struct evg_plane *p) {
	for (uint32_t i = 0; i < ONWARD_SLOTS; i++)
		free(atomic_load(&p->onward[i]));
}
