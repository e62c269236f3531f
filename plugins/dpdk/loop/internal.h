// What the files of the loop share.
#ifndef EVG_INTERNAL_H
#define EVG_INTERNAL_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#include <rte_cryptodev.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_ip_frag.h>
#include <rte_mbuf.h>
#include <rte_security.h>
#include <rte_spinlock.h>
#include <rte_udp.h>

#include "loop.h"

#define BURST 64
#define MAX_WORKERS 16
#define MAX_PORTS 16
#define MAX_GROUPS 16
#define MAX_EVENTS 8192
#define MAX_ADDRESSES 4096
#define NATT_PORT 4500
#define MIN_ESP 8
#define ACQUIRE_SLOTS 256
#define ASK_SLOTS 256
#define MAX_ASKED 1024
#define ONWARD_SLOTS 4096
#define SECOND 1000000000ull

// The algorithms, by their IANA numbers (Transform Types 1 and 3).
enum { ENCR_NULL = 11, ENCR_AES_CBC = 12, ENCR_AES_CTR = 13, ENCR_GCM8 = 18, ENCR_GCM12 = 19, ENCR_GCM16 = 20, ENCR_CHACHA = 28 };
enum { AUTH_NONE = 0, AUTH_SHA1 = 2, AUTH_SHA256 = 12, AUTH_SHA384 = 13, AUTH_SHA512 = 14 };

// cipher is what encrypts or decrypts with one key: a session of a cryptodev, and
// what ESP must know of the algorithms.
struct cipher {
	void *session;
	uint16_t encryption;
	bool aead, esn, cpu;
	uint8_t dev, iv_len, icv_len;
};

// inlined is a session of rte_security at a port, for INLINE_CRYPTO; session is NULL
// without one.
struct inlined {
	struct rte_security_ctx *ctx;
	void *session;
	struct rte_flow *flow;
	uint16_t port, id; // index, and number of DPDK's
	bool metadata;     // packets need it
};

// evg_desc is one description of an SA. It does not change once it is published.
struct evg_desc {
	struct cipher c;
	struct inlined inlined; // where cipher does what the card cannot
	bool link;
	uint8_t align;
	uint8_t df, hide_dscp, dscp;
	uint8_t salt[4];
	uint64_t iv_prefix;
	uint32_t n_local, n_remote;
	struct evg_selector selectors[]; // local, then remote
};

// What stands before a sequence number, in octets: the headers of the link and of IP,
// that of UDP or none, and the SPI.
enum { OUTER4 = 38, OUTER4_UDP = 46, OUTER6 = 58, OUTER6_UDP = 66 };

// outer is where packets of an SA go, and what all of them begin with.
struct outer {
	struct evg_path path;
	uint32_t around; // octets of IP and UDP
	uint32_t sum;    // of what does not change in a header of IPv4
	uint8_t head[OUTER6_UDP];
};

struct evg_tunnel {
	uint64_t id;
	atomic_bool started; // ACTIVATED was sent
	_Atomic(struct sa_list *) members;
};

// sa_list is replaced, not changed.
struct sa_list {
	uint32_t n;
	struct evg_sa *sa[];
};

// window is the anti-replay window (RFC 4303 section 3.4.3): number n is at bit n
// modulo the number of bits, which is more than size.
struct window {
	rte_spinlock_t lock;
	uint64_t highest;
	uint32_t size, words; // numbers; words of bits, a power of two
	uint64_t *bits;
};

struct evg_sa {
	uint64_t serial;
	rte_be32_t spi;
	uint8_t direction;
	_Atomic(struct evg_desc *) desc;
	_Atomic(struct outer *) outer;
	_Atomic(struct evg_tunnel *) tunnel;
	_Atomic(struct evg_sa *) next_in; // in its bucket of the table by SPI
	_Atomic uint8_t role;
	_Atomic uint32_t group;
	atomic_bool told; // FIRST_PACKET was sent since the role changed

	_Atomic uint64_t packets, bytes, relayed, drops[EVG_DROPS];
	_Atomic uint64_t last_ns; // of the last packet, 0 for never
	_Atomic uint64_t soft_packets, soft_bytes, hard_packets, hard_bytes;
	atomic_bool soft_told, hard_told;

	// Outbound. half is where less than half of the lease is left, 0 without one.
	uint64_t last;
	_Atomic uint64_t next, ceiling, half, iv_counter;
	atomic_bool low_told, end_told;
	_Atomic uint16_t mtu_told, mtu_learned;
	_Atomic uint64_t mtu_learned_ns;

	struct window window; // inbound
	struct evg_addr moved_to; // what PEER_MOVED said last; window.lock guards it
	uint16_t moved_port;
};

// header is what an IP packet says of itself. Addresses are written and read in
// words of eight octets: a word that was just written in pieces has to wait for them.
// Zeros fill up those of IPv4.
struct header {
	alignas(8) uint8_t src[16];
	alignas(8) uint8_t dst[16];
	bool v6, has_ports, df, fragment;
	uint8_t proto, tos;
	uint16_t src_port, dst_port, l4;
	uint32_t len;
};

#define FLOWS 1024

// flow_key is all that policies look at in a packet: addresses as in a header, and the
// protocol with its ports, in their order in the packet.
struct flow_key {
	uint64_t src[2], dst[2], rest;
};

// flow remembers which SA sends packets of a flow, as long as nothing changes that
// decides it.
struct flow {
	alignas(64) uint64_t version; // of the policies
	struct flow_key key;
	struct evg_sa *sa; // NULL for none
	bool carried;      // from ports, too: neither to us nor to many
};

struct port {
	uint16_t id;
	uint16_t rx_queues, tx_queues; // as many as workers, or fewer
	rte_spinlock_t tx_lock;        // where they are fewer
	struct rte_security_ctx *security; // NULL without any
	struct rte_mempool *sessions;      // of rte_security
	struct card *card;                 // emulates security, NULL for none
	struct rte_ether_addr mac;
	int host_fds[MAX_WORKERS];
	char device[64];
};

// policy is one remote prefix with its SAs, newest first.
struct policy {
	struct evg_prefix prefix;
	_Atomic(struct sa_list *) sas;
	_Atomic(struct policy *) next;
};

// retired is memory that a worker may still look at.
struct retired {
	void *memory;
	struct retired *next;
};

#define POLICY_BUCKETS 65536
#define SPI_BUCKETS 65536

// address_set is replaced, not changed.
struct address_set {
	uint32_t n;
	struct evg_addr a[];
};

struct events {
	rte_spinlock_t lock;
	uint32_t head, n;
	uint64_t lost;
	int fd;
	struct evg_event ring[MAX_EVENTS];
};

// onward is where inner packets between two addresses leave.
struct onward {
	struct evg_onward to;
	atomic_bool used;
};

// asked is what pairs of addresses Go is asked for.
struct asked {
	rte_spinlock_t lock;
	uint32_t n;
	struct evg_onward list[MAX_ASKED];
};

// in_packet is an ESP packet on its way in.
struct in_packet {
	struct rte_mbuf *m;
	struct evg_sa *sa;
	uint8_t *esp; // SPI, in m
	uint32_t len;
	uint64_t seq;
	struct evg_addr from;
	uint16_t from_port; // 0 without UDP
	uint8_t tos;
};

// out_packet is an inner packet on its way out: m's data begins with its header.
struct out_packet {
	struct rte_mbuf *m;
	struct evg_sa *sa, *from; // sa may be NULL at first; from: the SA of the link that it came over
	uint32_t len;             // without padding of the link
	uint8_t tos;
	bool v6, df;
};

// job is one piece of work for a cipher.
struct job {
	struct rte_mbuf *m;
	uint8_t *esp;
	uint32_t len; // from the SPI to the end of the padding, with high order ESN bits behind where they count
	uint8_t iv[16], aad[16];
	uint8_t *digest; // as long as the ICV, and where that is in the packet, unless what is authenticated lies there
};

// lane is where one thread puts work for ciphers, and finds what came of it. Of what
// is for ciphers that return with the result, what never changes is there from the
// beginning.
struct lane {
	uint16_t queue; // pair of cryptodevs
	struct rte_mempool *ops;
	struct job jobs[BURST];
	uint8_t digests[BURST][64];
	int32_t status[BURST]; // 0 for what succeeded
	struct rte_crypto_vec data[BURST];
	struct rte_crypto_sgl spans[BURST];
	struct rte_crypto_va_iova_ptr ivs[BURST], aads[BURST], icvs[BURST];
};

struct tx_queue {
	uint32_t n;
	struct rte_mbuf *m[BURST];
	struct evg_sa *sa[BURST]; // NULL for packets of the host
};

struct worker {
	struct evg_plane *p;
	uint16_t index;
	pthread_t thread;
	bool running;
	bool entered, registered; // of the thread of a graph
	int cpu, tun_fd;
	atomic_bool stop;
	_Atomic uint64_t turns; // a turn that began later sees all that changed before
	_Atomic uint64_t stats[EVG_STATS];
	_Atomic uint64_t taken; // frames of ports and inner packets of the host that came to this worker
	uint64_t now;
	struct rte_mbuf *spare;
	struct rte_ring *inbox; // frames that others polled; NULL where each polls its own
	struct rte_ip_frag_tbl *fragments;
	uint64_t acquire_until[ACQUIRE_SLOTS], ask_until[ASK_SLOTS];
	uint64_t too_big_tokens, too_big_last;
	uint16_t ip_id;
	uint64_t version; // of the policies when the turn began
	struct flow flows[FLOWS];
	uint32_t n_in, n_out;
	struct in_packet in[BURST];
	struct out_packet out[BURST];
	struct tx_queue tx[MAX_PORTS];
	struct lane lane;
};

struct evg_plane {
	uint16_t n_workers, n_ports;
	bool spin, graph, forwards;
	uint32_t frame, serial, max_sas;
	uint32_t filled; // packets of the host, or attempts, of a graph
	struct rte_mempool *mbufs, *sessions;
	struct port ports[MAX_PORTS];
	struct worker *workers[MAX_WORKERS];
	_Atomic(struct address_set *) addresses;
	_Atomic uint64_t armed[MAX_GROUPS]; // epoch plus one, 0 while it is not armed
	_Atomic(struct evg_sa *) links[MAX_GROUPS];
	_Atomic(struct evg_sa *) by_spi[SPI_BUCKETS];
	_Atomic(struct policy *) policies[POLICY_BUCKETS];
	_Atomic uint64_t version; // of the policies, changed after each change of theirs; from 1
	_Atomic uint64_t lengths[2][3]; // bit n: a policy of a prefix of n bits, by family
	uint32_t of_length[2][129];
	_Atomic(struct onward *) onward[ONWARD_SLOTS];
	struct asked asked;
	struct retired *retired;
	uint32_t n_retired;
	struct events events;
};

static inline void count_n(struct worker *w, enum evg_stat s, uint64_t n) {
	atomic_fetch_add_explicit(&w->stats[s], n, memory_order_relaxed);
}

static inline void count(struct worker *w, enum evg_stat s) {
	count_n(w, s, 1);
}

static inline void drop(struct evg_sa *sa, enum evg_drop d, uint64_t n) {
	if (n > 0)
		atomic_fetch_add_explicit(&sa->drops[d], n, memory_order_relaxed);
}

// same16 compares addresses of 16 octets.
static inline bool same16(const uint8_t *a, const uint8_t *b) {
	uint64_t x[2], y[2]; // by words, as they were written
	memcpy(&x[0], a, 8);
	memcpy(&x[1], a + 8, 8);
	memcpy(&y[0], b, 8);
	memcpy(&y[1], b + 8, 8);
	return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

static inline bool same_addr(const struct evg_addr *a, const struct evg_addr *b) {
	return a->v6 == b->v6 && same16(a->b, b->b);
}

static inline bool is_active(struct evg_sa *sa) {
	return atomic_load_explicit(&sa->role, memory_order_acquire) == EVG_ACTIVE;
}

// packet.c
bool parse_header(struct header *h, const uint8_t *p, uint32_t len);
bool inner_ecn(uint8_t *inner, uint8_t outer);
void set_ecn(uint8_t *p, bool v6, uint8_t ecn);
bool is_multicast(const struct header *h);
bool selects(const struct evg_selector *s, uint32_t n, const uint8_t *addr, bool v6, uint8_t proto, uint16_t port, bool has_port);

// age_ttl is what forwarding a packet does to it; false when its time is up.
static inline bool age_ttl(uint8_t *p, bool v6) {
	if (p[v6 ? 7 : 8] <= 1)
		return false;
	if (v6) {
		p[7]--;
		return true;
	}
	// One less in an upper octet is one more in that of the sum, and ones' complement
	// knows no order of octets (RFC 1141).
	uint16_t sum;
	memcpy(&sum, p + 10, sizeof sum);
	uint32_t more = sum + (uint32_t)RTE_BE16(0x100);
	sum = (uint16_t)(more + (more >= 0xffff));
	memcpy(p + 10, &sum, sizeof sum);
	p[8]--;
	return true;
}

// forward puts a packet of a port, whose header says how long it is and what it wants,
// before those that carry encrypts.
static inline void forward(struct worker *w, struct rte_mbuf *m, struct evg_sa *sa, uint32_t len, uint8_t tos, bool v6, bool df) {
	rte_pktmbuf_adj(m, sizeof(struct rte_ether_hdr));
	w->out[w->n_out++] = (struct out_packet){.m = m, .sa = sa, .len = len, .tos = tos, .v6 = v6, .df = df};
}

// window.c
bool window_init(struct window *w, uint32_t size);
bool window_infer(const struct window *w, uint32_t low, bool esn, uint64_t *seq);
bool window_fresh(const struct window *w, uint64_t seq);
bool window_accept(struct window *w, uint64_t seq);
void window_import(struct window *w, uint64_t highest, const uint8_t *bitmap, uint32_t octets);

// table.c
struct evg_sa *inbound_find(struct evg_plane *p, rte_be32_t spi, const struct header *h);
struct evg_sa *outbound_find(struct evg_plane *p, rte_be32_t spi, const struct header *quoted);
struct evg_sa *policy_find(struct evg_plane *p, const struct header *h);
bool is_ours(struct evg_plane *p, const struct header *h);
void policies_changed(struct evg_plane *p);

// flow.c
void take_frames(struct worker *w, uint16_t port, struct rte_mbuf **m, uint32_t n);
struct evg_sa *sender_find(struct worker *w, const struct header *h);

// event.c
void events_init(struct events *e, int fd);
void wake(struct evg_plane *p);
void tell(struct evg_plane *p, const struct evg_event *e);
void tell_sa(struct worker *w, struct evg_sa *sa, uint8_t kind, uint64_t value);
void acquire(struct worker *w, const struct header *h);

// plane.c
void retire(struct evg_plane *p, void *memory);
struct sa_list *list_with(const struct sa_list *l, struct evg_sa *sa);
struct sa_list *list_without(const struct sa_list *l, const struct evg_sa *sa);

// crypto.c
void crypto_run(struct lane *l, const struct cipher *c, uint32_t n, bool out);
struct rte_crypto_sym_xform *crypto_transforms(const struct evg_transform *t, struct rte_crypto_sym_xform x[2]);
int crypto_session(struct evg_plane *p, int dev, struct rte_crypto_sym_xform *x, struct cipher *c);
void crypto_session_free(const struct cipher *c);
uint32_t crypto_session_size(void);
int lane_init(struct lane *l, const struct evg_plane *p, const char *name, uint16_t queue);

// security.c
int security_open(struct evg_plane *p, struct port *of, struct rte_security_ctx *ctx);
bool security_hand_over(const struct inlined *x, struct rte_mbuf *m, uint32_t l3);
void security_session_free(const struct inlined *x);

// card.c
void card_free(struct card *c);

// sa.c
uint8_t icv_len(const struct evg_transform *t);
bool knock(struct worker *w, struct evg_sa *sa);
uint32_t allowance(struct evg_sa *sa, uint32_t n, uint32_t size, uint64_t pending, uint64_t pending_bytes);
void account(struct worker *w, struct evg_sa *sa, uint64_t packets, uint64_t bytes);
uint32_t reserve(struct evg_sa *sa, uint32_t n, uint64_t *first);
void lease_low(struct worker *w, struct evg_sa *sa);
void lease_end(struct worker *w, struct evg_sa *sa);
uint32_t mtu_known(struct evg_sa *sa);
bool mtu_age(struct worker *w, struct evg_sa *sa);
bool mtu_learn(struct worker *w, struct evg_sa *sa, uint32_t mtu);

// put_aad fills in what an AEAD authenticates besides: the SPI and the whole number
// (RFC 4106 section 5).
static inline void put_aad(const struct evg_desc *d, uint8_t *aad, rte_be32_t spi, uint64_t seq) {
	rte_be32_t low = rte_cpu_to_be_32((uint32_t)seq), high = rte_cpu_to_be_32((uint32_t)(seq >> 32));
	memcpy(aad, &spi, 4);
	memcpy(aad + 4, d->c.esn ? &high : &low, 4);
	memcpy(aad + 8, &low, 4);
}

// is_fragment tells whether an outer packet is part of a longer one, the first too.
static inline bool is_fragment(const uint8_t *ip, const struct header *h) {
	return h->v6 ? ip[6] == IPPROTO_FRAGMENT : ((ip[6] & 0x3f) | ip[7]) != 0;
}

// by_card tells whether a port's card has decrypted a packet, or tried to.
static inline bool by_card(const struct rte_mbuf *m) {
	return m->ol_flags & RTE_MBUF_F_RX_SEC_OFFLOAD;
}

// frame.c
void outer_init(struct outer *o, const struct evg_path *path, const struct rte_ether_addr *from, rte_be32_t spi);
uint32_t frame_all(struct worker *w, struct evg_sa *sa, const struct evg_desc *d, const struct outer *outer, struct out_packet *o, uint32_t n, const bool *whole, uint64_t seq, uint64_t counter);
void outer_finish(const struct outer *o, uint8_t *frame);

// seal.c, open.c
void seal_run(struct worker *w, struct out_packet *o, uint32_t n);
void send_all(struct worker *w);
void open_all(struct worker *w);

// onward.c
bool pass_on(struct worker *w, struct rte_mbuf *m, uint8_t *inner, const struct header *h);
void onward_free(struct evg_plane *p);

// spread.c
int inboxes_open(struct evg_plane *p);
void inbox_free(struct rte_ring *inbox);
uint32_t spread(struct worker *w, uint16_t port, struct rte_mbuf **m, uint32_t n);
uint32_t inbox_turn(struct worker *w);

// icmp.c
void too_big(struct worker *w, const struct out_packet *o, uint32_t mtu);
void learn_icmp(struct worker *w, const uint8_t *ip, const struct header *h);

// tx.c
void to_tun(struct worker *w, const uint8_t *p, uint32_t len);
void to_host(struct worker *w, uint16_t port, struct rte_mbuf *m);
void to_wire_in_pieces(struct worker *w, const struct evg_path *path, struct rte_mbuf *m, struct evg_sa *sa, uint32_t mtu);
void flush_port(struct worker *w, uint16_t port);
void flush(struct worker *w);

// to_wire queues a frame for a port; sa is whom to blame when it is lost.
static inline void to_wire(struct worker *w, uint16_t port, struct rte_mbuf *m, struct evg_sa *sa) {
	struct tx_queue *q = &w->tx[port];
	if (q->n == BURST)
		flush_port(w, port);
	q->m[q->n] = m;
	q->sa[q->n++] = sa;
}

// worker.c
uint64_t turn_begin(struct worker *w);
void from_wire(struct worker *w, uint16_t port, struct rte_mbuf *m);
void take_inner(struct worker *w, struct rte_mbuf *m);
void carry(struct worker *w);
void *worker_main(void *arg);

#endif
