//go:build dpdk

// Cryptodevs that work apart: a lane hands them operations, and waits for what comes
// of them.

#include <errno.h>

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

static void fill_op(const struct lane *l, const struct cipher *c, struct rte_crypto_op *op, const struct job *j, uint32_t index, bool out) {
	struct scratch *s = rte_crypto_op_ctod_offset(op, struct scratch *, IV_OFFSET);
	rte_iova_t at = rte_crypto_op_ctophys_offset(op, IV_OFFSET);
	memcpy(s->iv, j->iv, sizeof s->iv);
	memcpy(s->aad, j->aad, sizeof s->aad);
	memcpy(s->digest, j->digest, c->icv_len);
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
static uint32_t take_back(struct lane *l, const struct cipher *c) {
	struct rte_crypto_op *ops[BURST];
	uint32_t awaited = 0;
	uint16_t n = rte_cryptodev_dequeue_burst(c->dev, l->queue, ops, BURST);
	for (uint16_t i = 0; i < n; i++) {
		struct scratch *s = rte_crypto_op_ctod_offset(ops[i], struct scratch *, IV_OFFSET);
		bool ours = ops[i]->mempool == l->ops;
		if (ours && s->run == l->run) {
			l->status[s->job] = ops[i]->status == RTE_CRYPTO_OP_STATUS_SUCCESS ? 0 : EBADMSG;
			memcpy(l->jobs[s->job].digest, s->digest, c->icv_len);
			awaited++;
		} else {
			rte_pktmbuf_free(ops[i]->sym->m_src);
			l->missing -= ours;
		}
		rte_crypto_op_free(ops[i]);
	}
	return awaited;
}

// give_up leaves the device what it was given and did not give back: its operations, and
// their packets, which it may still write to. Of n operations it has the first given.
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
	l->rests_until[c->dev] = rte_rdtsc() + cycles(REST_NS);
	atomic_fetch_add_explicit(l->lost, lost, memory_order_relaxed);
}

// lookaside_run hands jobs to a device and waits for all of them, so that order, roles
// and counters are those of a single pass. EIO is of those that it did not do.
void lookaside_run(struct lane *l, const struct cipher *c, uint32_t n, bool out) {
	struct rte_crypto_op *ops[BURST];
	for (uint32_t i = 0; i < n; i++)
		l->status[i] = EIO;
	uint64_t since = rte_rdtsc(), most = cycles(PATIENCE_NS);
	if (l->missing > 0)
		take_back(l, c);
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
		uint32_t got = take_back(l, c);
		back += got;
		if (got > 0) {
			since = now;
		} else if (now - since > most) {
			give_up(l, c, ops, given, n);
			return;
		}
	}
}
