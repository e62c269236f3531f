// What the files of the loop have of each other.
#ifndef EVG_INTERNAL_H
#define EVG_INTERNAL_H

#include "types.h"

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
	m->data_off += sizeof(struct rte_ether_hdr); // of one segment, as rte_pktmbuf_adj does
	m->data_len -= sizeof(struct rte_ether_hdr);
	m->pkt_len -= sizeof(struct rte_ether_hdr);
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

// wipe overwrites what nobody reads any more, as a compiler would leave out.
static inline void wipe(void *memory, size_t n) {
	memset(memory, 0, n);
	__asm__ volatile("" : : "r"(memory) : "memory");
}

// span is what of a job a cipher reads: all for separate algorithms, which
// authenticate the header too, and what is behind the IV for AEADs, which get the
// header as associated data.
static inline uint32_t span(const struct cipher *c, const struct job *j, uint8_t **base) {
	uint32_t skip = c->aead ? MIN_ESP + c->iv_len : 0;
	*base = j->esp + skip;
	return j->len - skip;
}

// A cipher in CBC mode encrypts the IV as its first block, under a zero IV: what is
// on the wire then is unpredictable because the block held a unique number (NIST
// SP 800-38A, appendix C).
static inline uint16_t cipher_head(const struct cipher *c, bool out) {
	return MIN_ESP + (c->encryption == ENCR_AES_CBC && out ? 0 : c->iv_len);
}

static inline uint16_t cipher_tail(const struct cipher *c) {
	return c->esn ? 4 : 0;
}

// ipsecmb_amd64.c
int ipsecmb_open(struct ipsecmb **mb);
void ipsecmb_close(struct ipsecmb *mb);
bool ipsecmb_does(const char *driver, const struct evg_transform *t);
struct ipsecmb_key *ipsecmb_key_new(struct ipsecmb *mb, const struct evg_transform *t);
void ipsecmb_key_free(struct ipsecmb_key *k);
void ipsecmb_run(struct ipsecmb *mb, struct lane *l, const struct cipher *c, uint32_t n, bool out);

// crypto.c
void crypto_run(struct lane *l, const struct cipher *c, uint32_t n, bool out);
struct rte_crypto_sym_xform *crypto_transforms(const struct evg_transform *t, struct rte_crypto_sym_xform x[2]);
int crypto_session(struct evg_plane *p, int dev, struct rte_crypto_sym_xform *x, struct cipher *c);
int crypto_shortcut(struct evg_plane *p, const struct evg_transform *t, struct cipher *c);
void crypto_session_free(const struct cipher *c);
uint32_t crypto_session_size(void);
uint32_t lane_end(struct lane *l);
int lane_init(struct lane *l, const struct evg_plane *p, const char *name, uint16_t queue);

// lookaside.c
struct rte_mempool *lookaside_pool(const char *name);
int lookaside_session(struct evg_plane *p, struct cipher *c);
void lookaside_session_free(struct apart *a);
void lookaside_reclaim(struct evg_plane *p);
void lookaside_end(struct lane *l);
void lookaside_run(struct lane *l, const struct cipher *c, uint32_t n, bool out);

// Where operations of cryptodevs have what the loop adds to them, the IV first.
#define IV_OFFSET (sizeof(struct rte_crypto_op) + sizeof(struct rte_crypto_sym_op))

// security.c
int security_open(struct evg_plane *p, struct port *of, struct rte_security_ctx *ctx);
bool security_hand_over(const struct inlined *x, struct rte_mbuf *m, uint32_t l3);
void security_session_free(const struct inlined *x);

// card.c
uint32_t card_free(struct card *c);

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
static inline void put_aad(bool esn, uint8_t *aad, rte_be32_t spi, rte_be32_t low, rte_be32_t high) {
	memcpy(aad, &spi, 4);
	memcpy(aad + 4, esn ? &high : &low, 4);
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
uint32_t frame_all(struct worker *w, struct evg_sa *sa, const struct evg_desc *d, const struct outer *outer, struct out_packet *o, uint32_t n, uint64_t seq, uint64_t counter);
bool outer_unfinished(const struct outer *o);
void outer_finish(uint8_t *frame);

// seal.c, open.c
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
