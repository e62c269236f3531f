//go:build dpdk

// Cryptodevs: what they take, sessions, and batches of work for them.

#include <errno.h>

#include "internal.h"

#define MAX_QUEUES MAX_WORKERS
#define QUEUE_LEN 512

// evg_cryptodevs_start makes all devices ready. It returns how many there are.
int evg_cryptodevs_start(void) {
	int n = rte_cryptodev_count();
	for (int dev = 0; dev < n; dev++) {
		struct rte_cryptodev_info info;
		rte_cryptodev_info_get((uint8_t)dev, &info);
		struct rte_cryptodev_config c = {
			.nb_queue_pairs = RTE_MIN((uint16_t)MAX_QUEUES, (uint16_t)info.max_nb_queue_pairs),
			.socket_id = rte_cryptodev_socket_id((uint8_t)dev),
			.ff_disable = RTE_CRYPTODEV_FF_ASYMMETRIC_CRYPTO,
		};
		int err = rte_cryptodev_configure((uint8_t)dev, &c);
		struct rte_cryptodev_qp_conf q = {.nb_descriptors = QUEUE_LEN};
		for (uint16_t i = 0; err == 0 && i < c.nb_queue_pairs; i++)
			err = rte_cryptodev_queue_pair_setup((uint8_t)dev, i, &q, c.socket_id);
		if (err == 0)
			err = rte_cryptodev_start((uint8_t)dev);
		if (err != 0)
			return err;
	}
	return n;
}

int evg_cryptodev_describe(int dev, struct evg_cryptodev *out) {
	struct rte_cryptodev_info info;
	rte_cryptodev_info_get((uint8_t)dev, &info);
	*out = (struct evg_cryptodev){
		.hardware = info.feature_flags & RTE_CRYPTODEV_FF_HW_ACCELERATED,
		.cpu = info.feature_flags & RTE_CRYPTODEV_FF_SYM_CPU_CRYPTO,
		.max_sessions = info.sym.max_nb_sessions,
	};
	const char *name = rte_cryptodev_name_get((uint8_t)dev);
	if (name == NULL)
		return -ENODEV;
	strncpy(out->name, name, sizeof out->name - 1);
	return 0;
}

static enum rte_crypto_auth_algorithm auth_of(uint16_t integrity) {
	switch (integrity) {
	case AUTH_SHA1:
		return RTE_CRYPTO_AUTH_SHA1_HMAC;
	case AUTH_SHA256:
		return RTE_CRYPTO_AUTH_SHA256_HMAC;
	case AUTH_SHA384:
		return RTE_CRYPTO_AUTH_SHA384_HMAC;
	case AUTH_SHA512:
		return RTE_CRYPTO_AUTH_SHA512_HMAC;
	default:
		return 0;
	}
}

// takes tells whether a device has the capability for a transform.
static bool takes(int dev, const struct rte_crypto_sym_xform *x) {
	struct rte_cryptodev_sym_capability_idx at = {.type = x->type};
	const struct rte_cryptodev_symmetric_capability *c;
	switch (x->type) {
	case RTE_CRYPTO_SYM_XFORM_AEAD:
		at.algo.aead = x->aead.algo;
		c = rte_cryptodev_sym_capability_get((uint8_t)dev, &at);
		return c != NULL && rte_cryptodev_sym_capability_check_aead(c, x->aead.key.length, x->aead.digest_length, x->aead.aad_length, x->aead.iv.length) == 0;
	case RTE_CRYPTO_SYM_XFORM_CIPHER:
		at.algo.cipher = x->cipher.algo;
		c = rte_cryptodev_sym_capability_get((uint8_t)dev, &at);
		return c != NULL && rte_cryptodev_sym_capability_check_cipher(c, x->cipher.key.length, x->cipher.iv.length) == 0;
	case RTE_CRYPTO_SYM_XFORM_AUTH:
		at.algo.auth = x->auth.algo;
		c = rte_cryptodev_sym_capability_get((uint8_t)dev, &at);
		return c != NULL && rte_cryptodev_sym_capability_check_auth(c, x->auth.key.length, x->auth.digest_length, 0) == 0;
	default:
		return false;
	}
}

// crypto_transforms writes what a session is made from: one transform, or two in the
// order in which they are applied. It returns the first.
struct rte_crypto_sym_xform *crypto_transforms(const struct evg_transform *t, struct rte_crypto_sym_xform x[2]) {
	bool out = t->direction == EVG_OUT;
	memset(x, 0, 2 * sizeof *x);
	if (t->encryption >= ENCR_GCM8) {
		x[0].type = RTE_CRYPTO_SYM_XFORM_AEAD;
		x[0].aead = (struct rte_crypto_aead_xform){
			.op = out ? RTE_CRYPTO_AEAD_OP_ENCRYPT : RTE_CRYPTO_AEAD_OP_DECRYPT,
			.algo = t->encryption == ENCR_CHACHA ? RTE_CRYPTO_AEAD_CHACHA20_POLY1305 : RTE_CRYPTO_AEAD_AES_GCM,
			.key = {.data = t->key, .length = t->key_len},
			.iv = {.offset = IV_OFFSET, .length = 12},
			.digest_length = icv_len(t),
			.aad_length = t->esn ? 12 : 8,
		};
		return x;
	}
	struct rte_crypto_sym_xform *cipher = &x[0], *auth = &x[1];
	cipher->type = RTE_CRYPTO_SYM_XFORM_CIPHER;
	cipher->cipher = (struct rte_crypto_cipher_xform){
		.op = out ? RTE_CRYPTO_CIPHER_OP_ENCRYPT : RTE_CRYPTO_CIPHER_OP_DECRYPT,
		.algo = t->encryption == ENCR_AES_CTR ? RTE_CRYPTO_CIPHER_AES_CTR : RTE_CRYPTO_CIPHER_AES_CBC,
		.key = {.data = t->key, .length = t->key_len},
		.iv = {.offset = IV_OFFSET, .length = 16},
	};
	auth->type = RTE_CRYPTO_SYM_XFORM_AUTH;
	auth->auth = (struct rte_crypto_auth_xform){
		.op = out ? RTE_CRYPTO_AUTH_OP_GENERATE : RTE_CRYPTO_AUTH_OP_VERIFY,
		.algo = auth_of(t->integrity),
		.key = {.data = t->auth, .length = t->auth_len},
		.digest_length = icv_len(t),
	};
	if (t->encryption == ENCR_NULL)
		return auth;
	if (out) {
		cipher->next = auth;
		return cipher;
	}
	auth->next = cipher;
	return auth;
}

// evg_cryptodev_takes tells whether a device can do all of a transform.
int evg_cryptodev_takes(int dev, const struct evg_transform *t) {
	struct rte_crypto_sym_xform x[2];
	for (const struct rte_crypto_sym_xform *y = crypto_transforms(t, x); y != NULL; y = y->next) {
		if (!takes(dev, y))
			return 0;
	}
	return 1;
}

uint32_t crypto_session_size(void) {
	uint32_t most = 0;
	for (int dev = 0; dev < rte_cryptodev_count(); dev++)
		most = RTE_MAX(most, rte_cryptodev_sym_get_private_session_size((uint8_t)dev));
	return most;
}

// crypto_session makes a session, and says in c where it is.
int crypto_session(struct evg_plane *p, int dev, struct rte_crypto_sym_xform *x, struct cipher *c) {
	struct rte_cryptodev_info info;
	rte_cryptodev_info_get((uint8_t)dev, &info);
	c->cpu = info.feature_flags & RTE_CRYPTODEV_FF_SYM_CPU_CRYPTO;
	c->dev = (uint8_t)dev;
	lookaside_reclaim(p); // one of those may be the last that there is room for
	c->session = rte_cryptodev_sym_session_create((uint8_t)dev, x, p->sessions);
	if (c->session == NULL)
		return -rte_errno;
	int err = c->cpu ? 0 : lookaside_session(p, c);
	if (err != 0)
		rte_cryptodev_sym_session_free(c->dev, c->session);
	return err;
}

// crypto_shortcut lets a cipher with a session call the library itself, where that does
// the same in less time.
int crypto_shortcut(struct evg_plane *p, const struct evg_transform *t, struct cipher *c) {
	struct rte_cryptodev_info info;
	rte_cryptodev_info_get(c->dev, &info);
	if (!c->cpu || !ipsecmb_does(info.driver_name, t))
		return 0;
	c->direct = ipsecmb_key_new(p->mb, t);
	return c->direct == NULL ? -ENOMEM : 0;
}

// crypto_session_free is for ciphers that no worker can look at any more.
void crypto_session_free(const struct cipher *c) {
	ipsecmb_key_free(c->direct);
	if (c->apart != NULL)
		lookaside_session_free(c->apart);
	else
		rte_cryptodev_sym_session_free(c->dev, c->session);
}

// lane_init makes a lane of a worker's, for its queue pair of the cryptodevs; name sets its memory
// apart from that of others of the plane.
int lane_init(struct lane *l, const struct evg_plane *p, const char *name, uint16_t queue) {
	char pool[RTE_MEMPOOL_NAMESIZE];
	for (uint32_t i = 0; i < BURST; i++) {
		l->spans[i] = (struct rte_crypto_sgl){.vec = &l->data[i], .num = 1};
		l->ivs[i].va = l->jobs[i].iv;
		l->aads[i].va = l->jobs[i].aad;
	}
	snprintf(pool, sizeof pool, "evg%u-%s%u", p->serial, name, queue);
	l->queue = queue;
	l->lost = &p->workers[queue]->stats[EVG_STAT_CIPHER_LOST];
	l->ops = lookaside_pool(pool);
	return l->ops == NULL ? -ENOMEM : 0;
}

static void run_cpu(struct lane *l, const struct cipher *c, uint32_t n, bool out) {
	union rte_crypto_sym_ofs ofs = {.raw = 0};
	if (!c->aead) {
		ofs.ofs.cipher.head = cipher_head(c, out);
		ofs.ofs.cipher.tail = cipher_tail(c);
	}
	for (uint32_t i = 0; i < n; i++) {
		uint8_t *base;
		uint32_t len = span(c, &l->jobs[i], &base);
		l->data[i].base = base;
		l->data[i].len = l->data[i].tot_len = len;
		l->icvs[i].va = l->jobs[i].digest;
	}
	struct rte_crypto_sym_vec v = {.num = n, .src_sgl = l->spans, .iv = l->ivs, .aad = l->aads, .digest = l->icvs, .status = l->status};
	rte_cryptodev_sym_cpu_crypto_process(c->dev, c->session, ofs, &v);
}

// lane_end returns how many packets of a lane a device has kept. Their memory stays.
uint32_t lane_end(struct lane *l) {
	lookaside_end(l);
	if (l->missing == 0)
		rte_mempool_free(l->ops);
	return l->missing;
}

// crypto_run carries out the first n jobs of a lane, all of one key, and leaves 0 in
// its status of those that succeeded.
void crypto_run(struct lane *l, const struct cipher *c, uint32_t n, bool out) {
	if (c->direct != NULL)
		ipsecmb_run(l->mb, l, c, n, out);
	else if (c->cpu)
		run_cpu(l, c, n, out);
	else
		lookaside_run(l, c, n, out);
}
