//go:build dpdk

// net_null hands out buffers as they are. What a worker looks at is written into them
// here, when it takes them: the rest of a packet is what the buffer held last. A
// network card would put all of it there and cost the worker no more than that.
//
// ESP packets have to be whole, with a number that no packet had before: the worker's
// own thread makes them here, too, and says how long that took.

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>

#include "_cgo_export.h"
#include "stamp.h"

// SEALED_AT_ONCE is how many packets Go is called for.
#define SEALED_AT_ONCE 64

struct stamp {
	uint16_t port;
	const struct rte_eth_rxtx_callback *callback;
	uint32_t next, octets, esp;
	uintptr_t sealer;
	_Atomic uint64_t spent;
	uint8_t heads[STAMP_FLOWS * STAMP_MOST];
};

static void write_heads(struct stamp *s, struct rte_mbuf **m, uint16_t n) {
	for (uint16_t i = 0; i < n; i++)
		memcpy(rte_pktmbuf_mtod(m[i], void *), s->heads + s->next++ % STAMP_FLOWS * s->octets, s->octets);
}

static uint16_t play_inner(uint16_t port, uint16_t queue, struct rte_mbuf **m, uint16_t n, uint16_t room, void *arg) {
	(void)port, (void)queue, (void)room;
	write_heads(arg, m, n);
	return n;
}

static uint64_t thread_time(void) {
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint16_t play_sealed(uint16_t port, uint16_t queue, struct rte_mbuf **m, uint16_t n, uint16_t room, void *arg) {
	struct stamp *s = arg;
	uint8_t *esp[SEALED_AT_ONCE];
	uint64_t began = thread_time();
	(void)port, (void)queue, (void)room;
	write_heads(s, m, n);
	for (uint16_t at = 0; at < n;) {
		uint32_t some = 0;
		for (; at < n && some < SEALED_AT_ONCE; at++)
			esp[some++] = rte_pktmbuf_mtod_offset(m[at], uint8_t *, s->esp);
		sealPackets(s->sealer, esp, some);
	}
	atomic_fetch_add(&s->spent, thread_time() - began);
	return n;
}

int stamp_address(const char *device, uint8_t mac[6]) {
	struct rte_ether_addr a;
	uint16_t port;
	int err = rte_eth_dev_get_port_by_name(device, &port);
	if (err == 0)
		err = rte_eth_macaddr_get(port, &a);
	if (err == 0)
		memcpy(mac, a.addr_bytes, sizeof a.addr_bytes);
	return err;
}

// stamp_start has the first queue of a port play packets that begin with the heads,
// each in its turn. The heads are copied.
struct stamp *stamp_start(const char *device, const struct stamp_head *h, int *err) {
	struct stamp *s = calloc(1, sizeof *s);
	if (s == NULL)
		*err = -ENOMEM;
	else
		*err = h->octets > STAMP_MOST ? -EINVAL : rte_eth_dev_get_port_by_name(device, &s->port);
	if (*err != 0) {
		free(s);
		return NULL;
	}
	s->octets = h->octets;
	s->esp = h->esp;
	s->sealer = h->sealer;
	memcpy(s->heads, h->heads, STAMP_FLOWS * h->octets);
	s->callback = rte_eth_add_rx_callback(s->port, 0, s->sealer == 0 ? play_inner : play_sealed, s);
	if (s->callback == NULL) {
		*err = -rte_errno;
		free(s);
		return NULL;
	}
	return s;
}

// stamp_spent is how many nanoseconds of the worker's processor time it took to make
// sealed packets.
uint64_t stamp_spent(struct stamp *s) {
	return atomic_load(&s->spent);
}

// stamp_stop ends that. The next device with the port's number would have the callback
// otherwise.
void stamp_stop(struct stamp *s) {
	rte_eth_remove_rx_callback(s->port, 0, s->callback);
}

// stamp_free is for after stamp_stop, once no worker looks at the port any more.
void stamp_free(struct stamp *s) {
	rte_free((void *)(uintptr_t)s->callback);
	free(s);
}
