//go:build dpdk

// Cryptodevs that work apart: a lane hands them operations, and waits for what comes
// of them.

#include <errno.h>
#include <stdlib.h>

#include <rte_cycles.h>

#include "internal.h"

#define OPS 256

// A device that gives nothing back for PATIENCE_NS has lost what it has, and is left
// alone for REST_NS: a turn must end soon, whoever demotes waits for it.
#define PATIENCE_NS (SECOND / 20)
#define REST_NS SECOND

// scratch is what an operation carries behind it, where devices can reach it.
struct scratch {
	uint8_t iv[16], aad[16], digest[64];
	struct apart *session;
	uint32_t job;
	uint64_t run; // of its lane
};

static uint64_t cycles(uint64_t ns) {
	return ns * (rte_get_tsc_hz() / 1000000) / 1000;
}

// lookaside_pool makes what a lane hands over; NULL when there is no memory.
struct rte_mempool *lookaside_pool(const char *name) {
	return rte_crypto_op_pool_create(name, RTE_CRYPTO_OP_TYPE_SYMMETRIC, OPS, 0, sizeof(struct scratch), SOCKET_ID_ANY);
}

// lookaside_session notes the session of a cipher that begins.
int lookaside_session(struct evg_plane *p, struct cipher *c) {
	struct apart *a = calloc(1, sizeof *a);
	if (a == NULL)
		return -ENOMEM;
	a->p = p;
	a->session = c->session;
	a->dev = c->dev;
	c->apart = a;
	return 0;
}

// is_done tells whether no device can look at a session of a cipher that is gone.
static bool is_done(const struct apart *a) {
	return atomic_load_explicit(&a->lost, memory_order_acquire) == 0;
}

static void end_session(struct apart *a) {
	rte_cryptodev_sym_session_free(a->dev, a->session);
	free(a);
}

// lookaside_session_free ends a session whose cipher is gone, now or when the last of
// its operations is back.
void lookaside_session_free(struct apart *a) {
	if (is_done(a)) {
		end_session(a);
		return;
	}
	a->next = a->p->apart;
	a->p->apart = a;
}

// lookaside_reclaim ends the sessions that waited for operations which are back. Workers
// leave that to control calls, as those make other sessions of the device meanwhile.
void lookaside_reclaim(struct evg_plane *p) {
	for (struct apart **at = &p->apart, *a = *at; a != NULL; a = *at) {
		if (!is_done(a)) {
			at = &a->next;
			continue;
		}
		*at = a->next;
		end_session(a);
	}
}

static void fill_op(const struct lane *l, const struct cipher *c, struct rte_crypto_op *op, const struct job *j, uint32_t index, bool out) {
	struct scratch *s = rte_crypto_op_ctod_offset(op, struct scratch *, IV_OFFSET);
	rte_iova_t at = rte_crypto_op_ctophys_offset(op, IV_OFFSET);
	memcpy(s->iv, j->iv, sizeof s->iv);
	memcpy(s->aad, j->aad, sizeof s->aad);
	memcpy(s->digest, j->digest, c->icv_len);
	s->session = c->apart;
	s->job = index;
	s->run = l->run;
	rte_crypto_op_attach_sym_session(op, c->session);
	struct rte_crypto_sym_op *y = op->sym;
	y->m_src = j->m;
	uint8_t *base;
	uint32_t len = span(c, j, &base), offset = (uint32_t)(base - rte_pktmbuf_mtod(j->m, uint8_t *));
	if (c->aead) {
		y->aead.data.offset = offset;
		y->aead.data.length = len;
		y->aead.digest.data = s->digest;
		y->aead.digest.phys_addr = at + offsetof(struct scratch, digest);
		y->aead.aad.data = s->aad;
		y->aead.aad.phys_addr = at + offsetof(struct scratch, aad);
		return;
	}
	y->auth.data.offset = offset;
	y->auth.data.length = len;
	y->auth.digest.data = s->digest;
	y->auth.digest.phys_addr = at + offsetof(struct scratch, digest);
	y->cipher.data.offset = offset + cipher_head(c, out);
	y->cipher.data.length = len - cipher_head(c, out) - cipher_tail(c);
}

// take_back reads results, and returns how many are of jobs that the lane waits for. Of
// others, which were given up, the packets are nobody else's any more.
static uint32_t take_back(struct lane *l, uint8_t dev, uint8_t icv_len) {
	struct rte_crypto_op *ops[BURST];
	uint32_t awaited = 0;
	uint16_t n = rte_cryptodev_dequeue_burst(dev, l->queue, ops, BURST);
	for (uint16_t i = 0; i < n; i++) {
		struct scratch *s = rte_crypto_op_ctod_offset(ops[i], struct scratch *, IV_OFFSET);
		bool ours = ops[i]->mempool == l->ops;
		if (ours && s->run == l->run) {
			l->status[s->job] = ops[i]->status == RTE_CRYPTO_OP_STATUS_SUCCESS ? 0 : EBADMSG;
			memcpy(l->jobs[s->job].digest, s->digest, icv_len);
			awaited++;
		} else {
			rte_pktmbuf_free(ops[i]->sym->m_src);
			atomic_fetch_sub_explicit(&s->session->lost, 1, memory_order_release);
			l->missing -= ours;
		}
		rte_crypto_op_free(ops[i]);
	}
	return awaited;
}

// give_up leaves the device what it was given and did not give back: its operations,
// their packets, which it may still write to, and their session. Of n operations it has
// the first given.
static void give_up(struct lane *l, const struct cipher *c, struct rte_crypto_op **ops, uint32_t given, uint32_t n) {
	uint32_t lost = 0;
	for (uint32_t i = 0; i < given; i++) {
		if (l->status[i] != EIO)
			continue;
		rte_mbuf_refcnt_update(l->jobs[i].m, 1);
		lost++;
	}
	if (given < n)
		rte_mempool_put_bulk(l->ops, (void **)(ops + given), n - given);
	l->run++; // what comes yet is late
	l->missing += lost;
	atomic_fetch_add_explicit(&c->apart->lost, lost, memory_order_relaxed);
	l->rests_until[c->dev] = rte_rdtsc() + cycles(REST_NS);
	atomic_fetch_add_explicit(l->lost, lost, memory_order_relaxed);
}

// lookaside_end looks, for the last time, whether something has come late.
void lookaside_end(struct lane *l) {
	for (int dev = 0; l->missing > 0 && dev < RTE_CRYPTO_MAX_DEVS; dev++) {
		for (int i = 0; l->rests_until[dev] != 0 && i < OPS / BURST; i++)
			take_back(l, (uint8_t)dev, 0);
	}
}

// lookaside_run hands jobs to a device and waits for all of them, so that order, roles
// and counters are those of a single pass. EIO is of those that it did not do.
void lookaside_run(struct lane *l, const struct cipher *c, uint32_t n, bool out) {
	struct rte_crypto_op *ops[BURST];
	for (uint32_t i = 0; i < n; i++)
		l->status[i] = EIO;
	uint64_t since = rte_rdtsc(), most = cycles(PATIENCE_NS);
	if (l->missing > 0)
		take_back(l, c->dev, c->icv_len);
	if (since < l->rests_until[c->dev] || rte_crypto_op_bulk_alloc(l->ops, RTE_CRYPTO_OP_TYPE_SYMMETRIC, ops, (uint16_t)n) != n)
		return;
	l->run++;
	for (uint32_t i = 0; i < n; i++)
		fill_op(l, c, ops[i], &l->jobs[i], i, out);
	uint32_t given = 0, back = 0;
	while (back < n) {
		if (given < n)
			given += rte_cryptodev_enqueue_burst(c->dev, l->queue, ops + given, (uint16_t)(n - given));
		uint64_t now = rte_rdtsc(); // before the look, as the thread may lose its processor behind it
		uint32_t got = take_back(l, c->dev, c->icv_len);
		back += got;
		if (got > 0) {
			since = now;
		} else if (now - since > most) {
			give_up(l, c, ops, given, n);
			return;
		}
	}
}
