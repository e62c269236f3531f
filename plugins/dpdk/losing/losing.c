//go:build dpdk

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include <rte_cryptodev.h>
#include <rte_errno.h>

#include "losing.h"

#define MOST 64

struct losing {
	uint8_t dev;
	struct rte_cryptodev_cb *callback;
	atomic_bool relents;
	uint32_t to_keep, kept, late;
	struct rte_crypto_op *ops[MOST]; // those that are late, then those that are kept
	_Atomic uint32_t failed;
};

// redo has the device do what was kept: only now, as far as anybody can tell, and with
// the packet and the session as they are now.
static void redo(struct losing *l, uint16_t dev, uint16_t queue) {
	while (l->kept > 0) {
		struct rte_crypto_op *op = l->ops[l->late];
		op->status = RTE_CRYPTO_OP_STATUS_NOT_PROCESSED;
		if (rte_cryptodev_enqueue_burst((uint8_t)dev, queue, &op, 1) != 1)
			return;
		l->late++;
		l->kept--;
	}
}

// note looks how the device did when it was late.
static void note(struct losing *l, const struct rte_crypto_op *op) {
	for (uint32_t i = 0; i < l->late; i++) {
		if (l->ops[i] != op)
			continue;
		if (op->status != RTE_CRYPTO_OP_STATUS_SUCCESS)
			atomic_fetch_add(&l->failed, 1);
		l->ops[i] = NULL; // others will have its memory
	}
}

// keep is called where the queue is polled.
static uint16_t keep(uint16_t dev, uint16_t queue, struct rte_crypto_op **ops, uint16_t n, void *arg) {
	struct losing *l = arg;
	uint16_t left = 0;
	for (uint16_t i = 0; i < n; i++) {
		note(l, ops[i]);
		if (l->to_keep > 0) {
			l->ops[l->kept++] = ops[i];
			l->to_keep--;
		} else {
			ops[left++] = ops[i];
		}
	}
	if (atomic_load(&l->relents))
		redo(l, dev, queue);
	return left;
}

struct losing *losing_start(const char *name, uint32_t n, int *err) {
	int dev = rte_cryptodev_get_dev_id(name);
	struct losing *l = calloc(1, sizeof *l);
	*err = dev < 0 ? -ENODEV : l == NULL ? -ENOMEM : n > MOST ? -EINVAL : 0;
	if (*err != 0) {
		free(l);
		return NULL;
	}
	l->dev = (uint8_t)dev;
	l->to_keep = n;
	l->callback = rte_cryptodev_add_deq_callback(l->dev, 0, keep, l);
	if (l->callback == NULL) {
		*err = -rte_errno;
		free(l);
		return NULL;
	}
	return l;
}

void losing_relent(struct losing *l) {
	atomic_store(&l->relents, true);
}

uint32_t losing_stop(struct losing *l) {
	rte_cryptodev_remove_deq_callback(l->dev, 0, l->callback);
	uint32_t failed = l->kept + atomic_load(&l->failed);
	free(l);
	return failed;
}
