//go:build dpdk

// A card that encrypts, played by software at a port that has none: it speaks
// rte_security as a driver does, and does its work where the card would, between the
// loop and the wire.

#include <errno.h>
#include <stdlib.h>

#include <rte_errno.h>
#include <rte_malloc.h>
#include <rte_mbuf_dyn.h>
#include <rte_security_driver.h>

#include "internal.h"

#define CARD_BUCKETS 1024
#define CARD_OFFERS 5

struct card {
	struct rte_security_ctx ctx;
	struct rte_security_capability offers[CARD_OFFERS]; // ends with one of no action
	struct evg_plane *p;
	uint16_t port; // number of DPDK's
	uint32_t slots, used;
	int dev;
	int session_at; // in packets to be sent
	struct lane lanes[MAX_WORKERS];
	const struct rte_eth_rxtx_callback *rx[MAX_WORKERS], *tx[MAX_WORKERS];
	_Atomic(struct card_session *) inbound[CARD_BUCKETS];
};

// card_session is what the card knows of one SA.
struct card_session {
	struct cipher c;
	bool in;
	uint8_t salt[4];
	rte_be32_t spi;
	struct evg_addr to;
	_Atomic(struct card_session *) next; // in its bucket
};

// What the card encrypts.
static const struct rte_cryptodev_capabilities gcm[] = {
	{
		.op = RTE_CRYPTO_OP_TYPE_SYMMETRIC,
		.sym = {
			.xform_type = RTE_CRYPTO_SYM_XFORM_AEAD,
			.aead = {
				.algo = RTE_CRYPTO_AEAD_AES_GCM, .block_size = 16,
				.key_size = {.min = 16, .max = 32, .increment = 16}, .digest_size = {.min = 16, .max = 16},
				.aad_size = {.min = 8, .max = 8}, .iv_size = {.min = 12, .max = 12},
			},
		},
	},
	RTE_CRYPTODEV_END_OF_CAPABILITIES_LIST(),
};

static const struct rte_security_capability *capabilities(void *device) {
	return ((struct card *)device)->offers;
}

static unsigned session_size(void *device) {
	(void)device;
	return sizeof(struct card_session);
}

static _Atomic(struct card_session *) *bucket(struct card *c, rte_be32_t spi) {
	return &c->inbound[rte_be_to_cpu_32(spi) % CARD_BUCKETS];
}

// create leaves the reason in rte_errno, too, because rte_security does not pass it on.
static int create(void *device, struct rte_security_session_conf *conf, struct rte_security_session *of) {
	struct card *c = device;
	struct card_session *s = SECURITY_GET_SESS_PRIV(of);
	const struct rte_security_ipsec_xform *x = &conf->ipsec;
	bool v6 = x->tunnel.type == RTE_SECURITY_IPSEC_TUNNEL_IPV6;
	*s = (struct card_session){
		.c = {.aead = true, .iv_len = 8, .icv_len = (uint8_t)conf->crypto_xform->aead.digest_length},
		.in = x->direction == RTE_SECURITY_IPSEC_SA_DIR_INGRESS, .spi = rte_cpu_to_be_32(x->spi), .to.v6 = v6,
	};
	int err = 0;
	if (conf->action_type != RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO)
		err = -ENOTSUP;
	else if (c->used >= c->slots)
		err = -ENOSPC;
	else
		err = crypto_session(c->p, c->dev, conf->crypto_xform, &s->c);
	if (err != 0) {
		rte_errno = -err;
		return err;
	}
	c->used++;
	memcpy(s->salt, &x->salt, sizeof s->salt);
	memcpy(s->to.b, v6 ? (const void *)&x->tunnel.ipv6.dst_addr : (const void *)&x->tunnel.ipv4.dst_ip, v6 ? 16 : 4);
	if (s->in) {
		atomic_store(&s->next, atomic_load(bucket(c, s->spi)));
		atomic_store(bucket(c, s->spi), s);
	}
	return 0;
}

// destroy waits for the packets that the session may be under work for.
static int destroy(void *device, struct rte_security_session *of) {
	struct card *c = device;
	struct card_session *s = SECURITY_GET_SESS_PRIV(of);
	if (s->in) {
		_Atomic(struct card_session *) *at = bucket(c, s->spi);
		for (struct card_session *y = atomic_load(at); y != NULL && y != s; y = atomic_load(at))
			at = &y->next;
		atomic_store(at, atomic_load(&s->next));
		evg_plane_drain(c->p);
	}
	crypto_session_free(&s->c);
	c->used--;
	return 0;
}

static int set_metadata(void *device, struct rte_security_session *of, struct rte_mbuf *m, void *params) {
	(void)params;
	*RTE_MBUF_DYNFIELD(m, ((struct card *)device)->session_at, struct card_session **) = SECURITY_GET_SESS_PRIV(of);
	return 0;
}

static const struct rte_security_ops ops = {
	.session_create = create, .session_destroy = destroy, .session_get_size = session_size,
	.set_pkt_metadata = set_metadata, .capabilities_get = capabilities,
};

// put makes a job of an ESP packet of len octets, its ICV included.
static void put(struct lane *l, uint32_t at, const struct card_session *s, struct rte_mbuf *m, uint8_t *esp, uint32_t len) {
	struct job *j = &l->jobs[at];
	rte_be32_t block = RTE_BE32(1);
	*j = (struct job){.m = m, .esp = esp, .len = len - s->c.icv_len, .digest = esp + len - s->c.icv_len};
	memcpy(j->iv, s->salt, 4);
	memcpy(j->iv + 4, esp + MIN_ESP, 8);
	memcpy(j->iv + 12, &block, 4);
	memcpy(j->aad, esp, MIN_ESP); // RFC 4106 section 5, without extended numbers
}

static struct card_session *session_of(const struct card *c, const struct rte_mbuf *m) {
	return m->ol_flags & RTE_MBUF_F_TX_SEC_OFFLOAD ? *RTE_MBUF_DYNFIELD(m, c->session_at, struct card_session **) : NULL;
}

// on_tx encrypts what the loop hands over, in runs of one session. A port that is full
// has the loop send a packet again, so it forgets that there was something to do. What
// cannot be encrypted leaves as zeros, which the peer drops.
static uint16_t on_tx(uint16_t port, uint16_t queue, struct rte_mbuf **m, uint16_t n, void *device) {
	struct card *c = device;
	struct lane *l = &c->lanes[queue];
	(void)port;
	for (uint16_t start = 0, end; start < n; start = end) {
		struct card_session *s = session_of(c, m[start]);
		uint32_t jobs = 0;
		for (end = start; end < n && jobs < BURST && session_of(c, m[end]) == s; end++) {
			uint32_t around = m[end]->l2_len + m[end]->l3_len;
			if (s != NULL)
				put(l, jobs++, s, m[end], rte_pktmbuf_mtod_offset(m[end], uint8_t *, around), m[end]->data_len - around);
		}
		if (jobs > 0)
			crypto_run(l, &s->c, jobs, true);
		for (uint32_t i = 0; i < jobs; i++) {
			l->jobs[i].m->ol_flags &= ~RTE_MBUF_F_TX_SEC_OFFLOAD;
			if (l->status[i] != 0)
				memset(l->jobs[i].esp + MIN_ESP, 0, l->jobs[i].len - MIN_ESP);
		}
	}
	return n;
}

// find returns the session of a frame, NULL for none, and where ESP is in it. Fragments
// are for the loop, which joins them.
static struct card_session *find(struct card *c, struct rte_mbuf *m, uint8_t **esp, uint32_t *len) {
	const struct rte_ether_hdr *l2 = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	uint8_t *ip = rte_pktmbuf_mtod_offset(m, uint8_t *, sizeof *l2);
	struct header h;
	if (m->nb_segs != 1 || m->data_len < sizeof *l2 + 20 ||
	    (l2->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV4) && l2->ether_type != RTE_BE16(RTE_ETHER_TYPE_IPV6)) ||
	    !parse_header(&h, ip, m->data_len - (uint32_t)sizeof *l2) || is_fragment(ip, &h))
		return NULL;
	uint32_t at = h.l4;
	if (h.proto == IPPROTO_UDP && h.has_ports && h.dst_port == NATT_PORT)
		at += sizeof(struct rte_udp_hdr);
	else if (h.proto != IPPROTO_ESP)
		return NULL;
	if (h.len < at + MIN_ESP)
		return NULL;
	rte_be32_t spi;
	*esp = ip + at;
	*len = h.len - at;
	memcpy(&spi, *esp, 4);
	struct card_session *s = atomic_load_explicit(bucket(c, spi), memory_order_acquire);
	while (s != NULL && (s->spi != spi || s->to.v6 != h.v6 || !same16(s->to.b, h.dst)))
		s = atomic_load_explicit(&s->next, memory_order_acquire);
	return s == NULL || *len < MIN_ESP + 8u + s->c.icv_len + 2u ? NULL : s;
}

// decrypt_run decrypts the first n jobs of a lane, and says so in their packets.
static void decrypt_run(struct lane *l, const struct card_session *s, uint32_t n) {
	if (n == 0)
		return;
	crypto_run(l, &s->c, n, false);
	for (uint32_t i = 0; i < n; i++)
		l->jobs[i].m->ol_flags |= RTE_MBUF_F_RX_SEC_OFFLOAD | (l->status[i] == 0 ? 0 : RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED);
}

// on_rx decrypts what there are sessions for, in runs of one.
static uint16_t on_rx(uint16_t port, uint16_t queue, struct rte_mbuf **m, uint16_t n, uint16_t most, void *device) {
	struct card *c = device;
	struct lane *l = &c->lanes[queue];
	struct card_session *of = NULL;
	uint32_t jobs = 0;
	(void)port, (void)most;
	for (uint16_t i = 0; i < n; i++) {
		uint8_t *esp;
		uint32_t len;
		struct card_session *s = find(c, m[i], &esp, &len);
		if (s == NULL)
			continue;
		if (s != of || jobs == BURST) {
			decrypt_run(l, of, jobs);
			of = s;
			jobs = 0;
		}
		put(l, jobs++, s, m[i], esp, len);
	}
	decrypt_run(l, of, jobs);
	return n;
}

// declare fills in what the card says that it does, in both directions.
static void declare(struct card *c, const struct evg_emulation *e) {
	const struct {
		bool declared;
		enum rte_security_session_action_type action;
	} all[] = {{e->inline_crypto, RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO}, {e->inline_protocol, RTE_SECURITY_ACTION_TYPE_INLINE_PROTOCOL}};
	uint32_t n = 0;
	for (uint32_t i = 0; i < 2 * RTE_DIM(all); i++) {
		if (!all[i / 2].declared)
			continue;
		c->offers[n++] = (struct rte_security_capability){
			.action = all[i / 2].action, .protocol = RTE_SECURITY_PROTOCOL_IPSEC,
			.ipsec = {
				.proto = RTE_SECURITY_IPSEC_SA_PROTO_ESP, .mode = RTE_SECURITY_IPSEC_SA_MODE_TUNNEL,
				.direction = i % 2 == 0 ? RTE_SECURITY_IPSEC_SA_DIR_EGRESS : RTE_SECURITY_IPSEC_SA_DIR_INGRESS,
				.options.udp_encap = 1,
			},
			.crypto_capabilities = gcm, .ol_flags = RTE_SECURITY_TX_OLOAD_NEED_MDATA,
		};
	}
}

// plug puts the card between the loop and the wire.
static int plug(struct card *c) {
	char name[16];
	snprintf(name, sizeof name, "card%u-", c->port);
	for (uint16_t q = 0; q < c->p->n_workers; q++) {
		int err = lane_init(&c->lanes[q], c->p, name, q);
		if (err != 0)
			return err;
		c->rx[q] = rte_eth_add_rx_callback(c->port, q, on_rx, c);
		c->tx[q] = rte_eth_add_tx_callback(c->port, q, on_tx, c);
		if (c->rx[q] == NULL || c->tx[q] == NULL)
			return -rte_errno;
	}
	return 0;
}

int evg_plane_emulate(struct evg_plane *p, int port, const struct evg_emulation *e) {
	static const struct rte_mbuf_dynfield session = {.name = "evergate_card_session", .size = sizeof(void *), .align = alignof(void *)};
	struct port *at = &p->ports[port];
	if (at->rx_queues < p->n_workers || at->tx_queues < p->n_workers)
		return -ERANGE; // a lane is for one thread
	struct card *c = calloc(1, sizeof *c);
	if (c == NULL)
		return -ENOMEM;
	c->p = p;
	c->port = at->id;
	c->slots = e->slots;
	c->dev = e->dev;
	c->ctx = (struct rte_security_ctx){.device = c, .ops = &ops};
	declare(c, e);
	at->card = c;
	c->session_at = rte_mbuf_dynfield_register(&session);
	int err = c->session_at < 0 ? -rte_errno : plug(c);
	return err != 0 ? err : security_open(p, at, &c->ctx);
}

// card_free takes a card, NULL for none, out of a port that has stopped. It returns how
// many packets a cryptodev has kept.
uint32_t card_free(struct card *c) {
	uint32_t lost = 0;
	if (c == NULL)
		return 0;
	for (uint16_t q = 0; q < MAX_WORKERS; q++) {
		if (c->rx[q] != NULL && rte_eth_remove_rx_callback(c->port, q, c->rx[q]) == 0)
			rte_free((void *)(uintptr_t)c->rx[q]);
		if (c->tx[q] != NULL && rte_eth_remove_tx_callback(c->port, q, c->tx[q]) == 0)
			rte_free((void *)(uintptr_t)c->tx[q]);
		lost += lane_end(&c->lanes[q]);
	}
	free(c);
	return lost;
}
