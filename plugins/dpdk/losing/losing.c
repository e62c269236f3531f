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
	uint32_t to_keep, kept;
	struct rte_crypto_op *ops[MOST];
};

// keep is called where the queue is polled. Of the room for operations it knows what is
// in use only, which is enough for one that comes late: none is in use then.
static uint16_t keep(uint16_t dev, uint16_t queue, struct rte_crypto_op **ops, uint16_t n, void *arg) {
	struct losing *l = arg;
	uint16_t left = 0;
	(void)dev, (void)queue;
	for (uint16_t i = 0; i < n; i++) {
		if (l->to_keep > 0) {
			l->ops[l->kept++] = ops[i];
			l->to_keep--;
		} else {
			ops[left++] = ops[i];
		}
	}
	if (left == 0 && l->kept > 0 && atomic_load(&l->relents))
		ops[left++] = l->ops[--l->kept];
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

void losing_stop(struct losing *l) {
	rte_cryptodev_remove_deq_callback(l->dev, 0, l->callback);
	free(l);
}
