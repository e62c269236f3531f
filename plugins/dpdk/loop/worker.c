//go:build dpdk

// A worker carries packets from one end to the other in turns, and hands them to
// nobody.

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <rte_lcore.h>

#include "internal.h"

// HOST_BURST is how many packets of the host a turn takes from each device.
#define HOST_BURST 32
// HOST_SHARE is how many turns with a full burst pass between two looks at the host.
#define HOST_SHARE 8
// IDLE_TURNS without a packet are how a rest begins, IDLE_NS is how long it lasts.
#define IDLE_TURNS 256
#define IDLE_NS 50000

_Static_assert(HOST_BURST <= BURST, "carry takes no more");

static uint64_t clock_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

// from_udp tells IKE from ESP on port 4500 (RFC 3948 section 2). False means that
// the packet is the host's.
static bool from_udp(struct worker *w, struct rte_mbuf *m, const struct header *h, uint8_t *ip, struct in_packet *in) {
	uint8_t *p = ip + h->l4 + sizeof(struct rte_udp_hdr);
	uint32_t len = h->len - h->l4;
	rte_be32_t spi;
	if (h->fragment || h->dst_port != NATT_PORT || len < sizeof(struct rte_udp_hdr) + 1)
		return false;
	len -= sizeof(struct rte_udp_hdr);
	if (len == 1 && p[0] == 0xff) {
		count(w, EVG_STAT_KEEPALIVE);
		rte_pktmbuf_free(m);
		in->m = NULL;
		return true;
	}
	if (len < 4)
		return false;
	memcpy(&spi, p, 4);
	if (spi == 0) // the non-ESP marker
		return false;
	in->esp = p;
	in->len = len;
	in->from_port = h->src_port;
	in->from.v6 = h->v6;
	memcpy(in->from.b, h->src, 8); // by words, as they were written
	memcpy(in->from.b + 8, h->src + 8, 8);
	return true;
}

// take_esp finds the SA of an ESP packet, which is the next of w->in when it has one.
static void take_esp(struct worker *w, struct in_packet *in, const struct header *h) {
	rte_be32_t spi;
	if (in->len < MIN_ESP) {
		count(w, EVG_STAT_SHORT);
		rte_pktmbuf_free(in->m);
		return;
	}
	memcpy(&spi, in->esp, 4);
	in->sa = inbound_find(w->p, spi, h);
	if (in->sa == NULL) {
		count(w, EVG_STAT_UNKNOWN_SPI);
		rte_pktmbuf_free(in->m);
		return;
	}
	w->n_in++;
}

// to_us deals with a packet for one of our addresses: ESP is ours, the rest the
// host's. What it says of itself is written where it stays: a copy would wait for it.
static void to_us(struct worker *w, uint16_t port, struct rte_mbuf *m, const struct header *h, uint8_t *ip) {
	struct in_packet *in = &w->in[w->n_in];
	in->m = m;
	in->tos = h->tos;
	in->from_port = 0;
	if (h->proto == IPPROTO_ESP && !h->fragment) {
		in->esp = ip + h->l4;
		in->len = h->len - h->l4;
		take_esp(w, in, h);
	} else if (h->proto == IPPROTO_UDP && from_udp(w, m, h, ip, in)) {
		if (in->m != NULL)
			take_esp(w, in, h);
	} else {
		learn_icmp(w, ip, h);
		to_host(w, port, m);
	}
}

// join puts a fragment of an outer packet to the others. It returns the whole packet,
// or NULL. Each call has its own row of what is given up, fragments of two packets at
// most: DPDK puts them there without a look at how many there are.
static struct rte_mbuf *join(struct worker *w, struct rte_mbuf *m, bool v6) {
	struct rte_ip_frag_death_row dead;
	dead.cnt = 0;
	m->l2_len = sizeof(struct rte_ether_hdr);
	uint64_t now = w->now / 1000000; // ms
	if (v6) {
		struct rte_ipv6_hdr *ip = rte_pktmbuf_mtod_offset(m, struct rte_ipv6_hdr *, m->l2_len);
		m->l3_len = sizeof *ip + sizeof(struct rte_ipv6_fragment_ext);
		m = rte_ipv6_frag_reassemble_packet(w->fragments, &dead, m, now, ip, (struct rte_ipv6_fragment_ext *)(ip + 1));
	} else {
		struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, struct rte_ipv4_hdr *, m->l2_len);
		m->l3_len = rte_ipv4_hdr_len(ip);
		m = rte_ipv4_frag_reassemble_packet(w->fragments, &dead, m, now, ip);
	}
	if (dead.cnt > 0)
		rte_ip_frag_free_death_row(&dead, 0);
	return m;
}

// to_us_joined is to_us for fragments of what may be ESP.
static void to_us_joined(struct worker *w, uint16_t port, struct rte_mbuf *m, bool v6) {
	struct header h;
	m = join(w, m, v6);
	if (m == NULL)
		return;
	if (rte_pktmbuf_linearize(m) != 0) {
		to_host(w, port, m); // longer than any ESP packet that we take
		return;
	}
	uint8_t *ip = rte_pktmbuf_mtod_offset(m, uint8_t *, sizeof(struct rte_ether_hdr));
	if (!parse_header(&h, ip, m->data_len - (uint32_t)sizeof(struct rte_ether_hdr)))
		to_host(w, port, m);
	else
		to_us(w, port, m, &h, ip);
}

// is_ip tells whether a frame is of IP and for our end of the link.
static bool is_ip(const struct worker *w, uint16_t port, const struct rte_mbuf *m) {
	const struct rte_ether_hdr *l2 = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	return m->nb_segs == 1 && m->data_len >= sizeof *l2 + 20 &&
	       (l2->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV4) || l2->ether_type == RTE_BE16(RTE_ETHER_TYPE_IPV6)) &&
	       rte_is_same_ether_addr(&l2->dst_addr, &w->p->ports[port].mac);
}

// from_wire decides what becomes of one frame. What is not for us is encrypted when a
// policy selects it; the host routes the rest.
void from_wire(struct worker *w, uint16_t port, struct rte_mbuf *m) {
	uint8_t *ip = rte_pktmbuf_mtod_offset(m, uint8_t *, sizeof(struct rte_ether_hdr));
	struct header h;
	struct evg_sa *sa;
	if (!is_ip(w, port, m) || !parse_header(&h, ip, m->data_len - (uint32_t)sizeof(struct rte_ether_hdr)))
		to_host(w, port, m);
	else if (is_ours(w->p, &h))
		is_fragment(ip, &h) && (h.proto == IPPROTO_ESP || h.proto == IPPROTO_UDP) ? to_us_joined(w, port, m, h.v6) : to_us(w, port, m, &h, ip);
	else if (is_multicast(&h) || (sa = sender_find(w, &h)) == NULL || !age_ttl(ip, h.v6))
		to_host(w, port, m);
	else
		forward(w, m, sa, h.len, h.tos, h.v6, h.df);
}

// take_inner begins with a packet from the TUN device.
void take_inner(struct worker *w, struct rte_mbuf *m) {
	struct header h;
	bool whole = parse_header(&h, rte_pktmbuf_mtod(m, uint8_t *), m->data_len);
	atomic_fetch_add_explicit(&w->taken, 1, memory_order_relaxed);
	if (whole && !is_multicast(&h)) {
		// nobody has looked for its SA
		w->out[w->n_out++] = (struct out_packet){.m = m, .len = h.len, .tos = h.tos, .v6 = h.v6, .df = h.df};
		return;
	}
	count(w, whole ? EVG_STAT_MULTICAST : EVG_STAT_MALFORMED);
	rte_pktmbuf_free(m);
}

// carry brings what was taken, at most BURST packets, to its end.
void carry(struct worker *w) {
	open_all(w);
	send_all(w);
}

static uint32_t port_turn(struct worker *w, uint16_t port) {
	const struct port *p = &w->p->ports[port];
	struct rte_mbuf *m[BURST];
	if (w->index >= p->rx_queues)
		return 0;
	uint16_t n = rte_eth_rx_burst(p->id, w->index, m, BURST);
	take_frames(w, port, m, p->rx_queues < w->p->n_workers ? spread(w, port, m, n) : n);
	carry(w);
	return n;
}

// read_packet reads one packet of the host, NULL when there is none.
static struct rte_mbuf *read_packet(struct worker *w, int fd) {
	struct rte_mbuf *m = w->spare ? w->spare : rte_pktmbuf_alloc(w->p->mbufs);
	w->spare = NULL;
	if (m == NULL) {
		count(w, EVG_STAT_NO_BUFFER);
		return NULL;
	}
	ssize_t n = read(fd, rte_pktmbuf_mtod(m, void *), w->p->frame);
	if (n <= 0) {
		w->spare = m;
		return NULL;
	}
	rte_pktmbuf_append(m, (uint16_t)n);
	return m;
}

static uint32_t tun_turn(struct worker *w) {
	uint32_t n = 0;
	for (; n < HOST_BURST; n++) {
		struct rte_mbuf *m = read_packet(w, w->tun_fd);
		if (m == NULL)
			break;
		take_inner(w, m);
	}
	carry(w);
	return n;
}

static uint32_t host_turn(struct worker *w, uint16_t port) {
	uint32_t n = 0;
	for (; n < HOST_BURST; n++) {
		struct rte_mbuf *m = read_packet(w, w->p->ports[port].host_fds[w->index]);
		if (m == NULL)
			break;
		count(w, EVG_STAT_FROM_HOST);
		to_wire(w, port, m, NULL);
	}
	return n;
}

// turn_begin says that a turn begins: who changed something before waits for the
// turn after this one. It returns the turn's number.
uint64_t turn_begin(struct worker *w) {
	uint64_t number = atomic_fetch_add(&w->turns, 1);
	w->now = clock_ns();
	w->version = atomic_load(&w->p->version);
	return number;
}

// turn carries what there is. While ports are busy, devices of the host, each of
// which costs a system call, have a share of the turns only.
static uint32_t turn(struct worker *w) {
	uint32_t n = 0;
	uint64_t number = turn_begin(w);
	for (uint16_t i = 0; i < w->p->n_ports; i++)
		n += port_turn(w, i);
	n += inbox_turn(w);
	if (n < BURST || number % HOST_SHARE == 0) {
		for (uint16_t i = 0; i < w->p->n_ports; i++)
			n += host_turn(w, i);
		n += tun_turn(w);
	}
	flush(w);
	return n;
}

static void rest(void) {
	struct timespec t = {.tv_nsec = IDLE_NS};
	nanosleep(&t, NULL);
}

static void pin(const struct worker *w) {
	if (w->cpu < 0)
		return;
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(w->cpu, &set);
	pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

void *worker_main(void *arg) {
	struct worker *w = arg;
	uint32_t idle = 0;
	char name[16];
	snprintf(name, sizeof name, "evg-loop%u", w->index); // for top(1)
	pthread_setname_np(pthread_self(), name);
	pin(w);
	int registered = rte_thread_register(); // without it, memory pools have no cache
	while (!atomic_load_explicit(&w->stop, memory_order_relaxed)) {
		if (turn(w) > 0) {
			idle = 0;
		} else if (++idle > IDLE_TURNS && !w->p->spin) {
			rest();
		}
	}
	if (w->spare != NULL)
		rte_pktmbuf_free(w->spare);
	w->spare = NULL;
	if (registered == 0)
		rte_thread_unregister();
	return NULL;
}
