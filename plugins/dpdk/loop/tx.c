//go:build dpdk

// Where packets leave: to the wire through queues that a turn ends with, to the host
// at once.

#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"

#define MAX_SEGMENTS 64

// to_tun gives an inner packet to the host.
void to_tun(struct worker *w, const uint8_t *p, uint32_t len) {
	count(w, write(w->tun_fd, p, len) < 0 ? EVG_STAT_TUN_FULL : EVG_STAT_TO_TUN);
}

// to_host gives the host a frame that is not ours, of any number of segments.
void to_host(struct worker *w, uint16_t port, struct rte_mbuf *m) {
	struct iovec v[MAX_SEGMENTS];
	int n = 0;
	for (struct rte_mbuf *s = m; s != NULL && n < MAX_SEGMENTS; s = s->next)
		v[n++] = (struct iovec){.iov_base = rte_pktmbuf_mtod(s, void *), .iov_len = s->data_len};
	count(w, writev(w->p->ports[port].host_fds[w->index], v, n) < 0 ? EVG_STAT_HOST_FULL : EVG_STAT_TO_HOST);
	rte_pktmbuf_free(m);
}

// flush_port sends what waits for a port. A port that stays full loses it: a turn
// must end soon, whoever demotes waits for it.
void flush_port(struct worker *w, uint16_t port) {
	struct tx_queue *q = &w->tx[port];
	struct port *p = &w->p->ports[port];
	uint32_t sent = 0;
	bool shared = p->tx_queues < w->p->n_workers;
	if (shared)
		rte_spinlock_lock(&p->tx_lock);
	for (int tries = 0; sent < q->n && tries < 16; tries++)
		sent += rte_eth_tx_burst(p->id, w->index % p->tx_queues, q->m + sent, (uint16_t)(q->n - sent));
	if (shared)
		rte_spinlock_unlock(&p->tx_lock);
	for (; sent < q->n; sent++) {
		rte_pktmbuf_free(q->m[sent]);
		count(w, EVG_STAT_PORT_FULL);
		if (q->sa[sent] != NULL)
			drop(q->sa[sent], EVG_DROP_QUEUE, 1);
	}
	q->n = 0;
}

void flush(struct worker *w) {
	for (uint16_t i = 0; i < w->p->n_ports; i++) {
		if (w->tx[i].n > 0)
			flush_port(w, i);
	}
}

// put_fragment writes the header of the fragment at offset of an IP packet with a
// header of l3 octets; more tells whether others follow.
static void put_fragment(uint8_t *ip, bool v6, uint8_t proto, uint32_t offset, uint32_t len, bool more, uint32_t id) {
	if (v6) {
		struct rte_ipv6_hdr *h = (struct rte_ipv6_hdr *)ip;
		uint8_t *x = (uint8_t *)(h + 1);
		h->payload_len = rte_cpu_to_be_16((uint16_t)(len + 8));
		h->proto = IPPROTO_FRAGMENT;
		rte_be16_t at = rte_cpu_to_be_16((uint16_t)(offset | more));
		rte_be32_t be = rte_cpu_to_be_32(id);
		x[0] = proto;
		x[1] = 0;
		memcpy(x + 2, &at, 2);
		memcpy(x + 4, &be, 4);
		return;
	}
	struct rte_ipv4_hdr *h = (struct rte_ipv4_hdr *)ip;
	h->total_length = rte_cpu_to_be_16((uint16_t)(len + sizeof *h));
	h->fragment_offset = rte_cpu_to_be_16((uint16_t)(offset / 8 | (more ? RTE_IPV4_HDR_MF_FLAG : 0)));
	h->hdr_checksum = 0;
	h->hdr_checksum = rte_ipv4_cksum(h);
}

// to_wire_in_pieces sends an outer packet in pieces of at most mtu octets (RFC 791
// section 3.2, RFC 8200 section 4.5), and frees it.
void to_wire_in_pieces(struct worker *w, const struct evg_path *path, struct rte_mbuf *m, struct evg_sa *sa, uint32_t mtu) {
	bool v6 = path->local.v6;
	uint32_t l3 = v6 ? sizeof(struct rte_ipv6_hdr) : sizeof(struct rte_ipv4_hdr);
	uint32_t head = sizeof(struct rte_ether_hdr) + l3, extra = v6 ? 8 : 0;
	const uint8_t *from = rte_pktmbuf_mtod(m, uint8_t *);
	uint32_t total = m->data_len - head, step = (mtu - l3 - extra) & ~7u, id = ++w->ip_id;
	uint8_t proto = path->local_port ? IPPROTO_UDP : IPPROTO_ESP;
	for (uint32_t at = 0; at < total; at += step) {
		uint32_t len = RTE_MIN(step, total - at);
		struct rte_mbuf *f = rte_pktmbuf_alloc(w->p->mbufs);
		if (f == NULL) {
			count(w, EVG_STAT_NO_BUFFER);
			drop(sa, EVG_DROP_QUEUE, 1);
			break;
		}
		uint8_t *to = (uint8_t *)rte_pktmbuf_append(f, (uint16_t)(head + extra + len));
		memcpy(to, from, head);
		memcpy(to + head + extra, from + head + at, len);
		put_fragment(to + sizeof(struct rte_ether_hdr), v6, proto, at, len, at + len < total, id);
		to_wire(w, path->port, f, sa);
	}
	rte_pktmbuf_free(m);
}
