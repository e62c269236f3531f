//go:build dpdk

// Frames of a port that has fewer queues than there are workers: those who poll it
// hand the others their share.

#include <errno.h>

#include <rte_hash_crc.h>
#include <rte_ring.h>

#include "internal.h"

#define INBOX 1024

// inboxes_open lets workers hand each other frames.
int inboxes_open(struct evg_plane *p) {
	char name[RTE_RING_NAMESIZE];
	for (uint16_t i = 0; i < p->n_workers; i++) {
		struct worker *w = p->workers[i];
		snprintf(name, sizeof name, "evg%u-inbox%u", p->serial, i);
		if (w->inbox == NULL && (w->inbox = rte_ring_create(name, INBOX, SOCKET_ID_ANY, RING_F_SC_DEQ)) == NULL)
			return -ENOMEM;
	}
	return 0;
}

void inbox_free(struct rte_ring *inbox) {
	struct rte_mbuf *m;
	while (inbox != NULL && rte_ring_dequeue(inbox, (void **)&m) == 0)
		rte_pktmbuf_free(m);
	rte_ring_free(inbox);
}

// flow_of is the same number for all frames of a flow, or of an SA without UDP, and
// for all fragments between two addresses, which have to meet.
static uint32_t flow_of(const struct rte_mbuf *m) {
	const struct rte_ether_hdr *l2 = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	const uint8_t *ip = (const uint8_t *)(l2 + 1);
	uint64_t a[4];
	struct header h;
	if (m->data_len < sizeof *l2 + 20 || (l2->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV4) && l2->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV6)) ||
	    !parse_header(&h, ip, m->data_len - (uint32_t)sizeof *l2))
		return 0;
	uint32_t inside = (uint32_t)h.src_port << 16 | h.dst_port;
	if (h.proto == IPPROTO_ESP && h.len >= h.l4 + (uint32_t)MIN_ESP)
		memcpy(&inside, ip + h.l4, 4);
	memcpy(a, h.src, 16);
	memcpy(a + 2, h.dst, 16);
	uint32_t hash = rte_hash_crc_8byte(a[0] ^ a[1], is_fragment(ip, &h) ? 0 : inside);
	return rte_hash_crc_8byte(a[2] ^ a[3], hash);
}

// spread gives other workers those of n frames of a port that are theirs, and returns
// how many are left, in front.
uint32_t spread(struct worker *w, uint16_t port, struct rte_mbuf **m, uint32_t n) {
	uint32_t own = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct worker *of = w->p->workers[flow_of(m[i]) % w->p->n_workers];
		m[i]->port = port;
		if (of == w) {
			m[own++] = m[i];
		} else if (rte_ring_enqueue(of->inbox, m[i]) != 0) {
			count(w, EVG_STAT_WORKER_FULL);
			rte_pktmbuf_free(m[i]);
		}
	}
	return own;
}

// inbox_turn carries what others polled for this worker.
uint32_t inbox_turn(struct worker *w) {
	struct rte_mbuf *m[BURST];
	uint32_t n = w->inbox == NULL ? 0 : rte_ring_dequeue_burst(w->inbox, (void **)m, BURST, NULL);
	for (uint32_t start = 0, end; start < n; start = end) {
		for (end = start + 1; end < n && m[end]->port == m[start]->port;)
			end++;
		take_frames(w, m[start]->port, m + start, end - start);
	}
	carry(w);
	return n;
}
