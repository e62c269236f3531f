//go:build dpdk

// A plane whose ports others poll: it has one worker without a thread of its own.
// One thread of theirs brings packets of the host, and one carries all packets.

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <rte_lcore.h>

#include "internal.h"

// FILL_MS is how long a packet of the host is waited for.
#define FILL_MS 10
// BEFORE is room for outer headers that packets from the TUN device need besides what
// stands before every packet: the start of that holds notes of the graph's.
#define BEFORE 16
// BEHIND is room for what ESP puts behind a packet.
#define BEHIND 64

// Where a packet came from that arrived at no port, in its hash.usr: nowhere, then it
// is none, the TUN device, or the host's end of port n as HOST + n.
enum { NOWHERE, TUN, HOST };

// read_into reads from a device of the host into an empty packet.
static bool read_into(struct rte_mbuf *m, int fd, uint16_t before, uint32_t origin) {
	m->data_off = (uint16_t)(RTE_PKTMBUF_HEADROOM + before);
	ssize_t n = read(fd, rte_pktmbuf_mtod(m, void *), (size_t)(m->buf_len - m->data_off - BEHIND));
	if (n <= 0)
		return false;
	rte_pktmbuf_append(m, (uint16_t)n);
	m->hash.usr = origin;
	return true;
}

// fill_at tries the TUN device, 0, or the host's end of a port, above.
static bool fill_at(struct evg_plane *p, struct rte_mbuf *m, uint32_t device) {
	if (device == 0)
		return read_into(m, p->workers[0]->tun_fd, BEFORE, TUN);
	return read_into(m, p->ports[device - 1].host_fds[0], 0, HOST + device - 1);
}

// evg_graph_fill puts the next packet of the host into an empty one. It waits for a
// moment where there is none: then the packet stays empty, and carrying it does
// nothing. Devices take turns.
void evg_graph_fill(struct evg_plane *p, void *packet) {
	struct rte_mbuf *m = packet;
	struct pollfd fds[1 + MAX_PORTS];
	uint32_t n = 1u + p->n_ports;
	m->port = RTE_MBUF_PORT_INVALID;
	m->hash.usr = NOWHERE;
	for (int tries = 0; tries < 2; tries++) {
		for (uint32_t i = 0; i < n; i++) {
			if (fill_at(p, m, p->filled++ % n))
				return;
		}
		if (tries == 1)
			return;
		fds[0] = (struct pollfd){.fd = p->workers[0]->tun_fd, .events = POLLIN};
		for (uint32_t i = 1; i < n; i++)
			fds[i] = (struct pollfd){.fd = p->ports[i - 1].host_fds[0], .events = POLLIN};
		poll(fds, n, FILL_MS);
	}
}

// take_from_host begins with a packet that evg_graph_fill has filled.
static void take_from_host(struct worker *w, struct rte_mbuf *m) {
	switch (m->hash.usr) {
	case NOWHERE:
		rte_pktmbuf_free(m);
		return;
	case TUN:
		take_inner(w, m);
		return;
	default:
		count(w, EVG_STAT_FROM_HOST);
		to_wire(w, (uint16_t)(m->hash.usr - HOST), m, NULL);
	}
}

// take_run begins with packets that arrived at the same device.
static void take_run(struct worker *w, struct rte_mbuf **m, uint32_t n) {
	if (m[0]->port == RTE_MBUF_PORT_INVALID) {
		for (uint32_t i = 0; i < n; i++)
			take_from_host(w, m[i]);
		return;
	}
	for (uint16_t i = 0; i < w->p->n_ports; i++) {
		if (w->p->ports[i].id == m[0]->port) {
			take_frames(w, i, m, n);
			return;
		}
	}
	rte_pktmbuf_free_bulk(m, n); // nobody's
}

// enter makes the thread that carries known to DPDK: memory pools have a cache for it
// then.
static void enter(struct worker *w) {
	pthread_setname_np(pthread_self(), "evg-burst"); // for top(1)
	w->registered = rte_thread_register() == 0;
	w->entered = true;
}

// carry_burst brings at most BURST packets to their end.
static void carry_burst(struct worker *w, struct rte_mbuf **m, uint32_t n) {
	for (uint32_t start = 0, end; start < n; start = end) {
		for (end = start + 1; end < n && m[end]->port == m[start]->port;)
			end++;
		take_run(w, m + start, end - start);
	}
	carry(w);
}

// evg_graph_carry brings packets to their end, and owns them. Between calls turns is
// even: nothing is under way.
void evg_graph_carry(struct evg_plane *p, void **packets, uint32_t n) {
	struct worker *w = p->workers[0];
	struct rte_mbuf **m = (struct rte_mbuf **)packets;
	if (!w->entered)
		enter(w);
	turn_begin(w);
	for (uint32_t at = 0; at < n; at += BURST)
		carry_burst(w, m + at, RTE_MIN(n - at, (uint32_t)BURST));
	flush(w);
	atomic_fetch_add(&w->turns, 1);
}

// evg_graph_end is what the thread that carried calls last. Packets that wait for
// others are given up, because the graph's memory ends before the plane's.
void evg_graph_end(struct evg_plane *p) {
	struct worker *w = p->workers[0];
	if (w->fragments != NULL)
		rte_ip_frag_table_destroy(w->fragments);
	w->fragments = NULL;
	if (w->registered)
		rte_thread_unregister();
	w->registered = w->entered = false;
}
