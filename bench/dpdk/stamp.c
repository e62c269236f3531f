//go:build dpdk

// net_null hands out buffers as they are. What a worker looks at is written into them
// here, when it takes them: the rest of a packet is what the buffer held last. A
// network card would put all of it there and cost the worker no more than that.

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>

#include "stamp.h"

struct stamp {
	uint16_t port;
	const struct rte_eth_rxtx_callback *callback;
	uint32_t next;
	uint8_t heads[STAMP_FLOWS][STAMP_OCTETS];
};

static uint16_t write_heads(uint16_t port, uint16_t queue, struct rte_mbuf **m, uint16_t n, uint16_t room, void *arg) {
	struct stamp *s = arg;
	(void)port, (void)queue, (void)room;
	for (uint16_t i = 0; i < n; i++)
		memcpy(rte_pktmbuf_mtod(m[i], void *), s->heads[s->next++ % STAMP_FLOWS], STAMP_OCTETS);
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
// each in its turn.
struct stamp *stamp_start(const char *device, const uint8_t *heads, int *err) {
	struct stamp *s = calloc(1, sizeof *s);
	*err = s == NULL ? -ENOMEM : rte_eth_dev_get_port_by_name(device, &s->port);
	if (*err != 0) {
		free(s);
		return NULL;
	}
	memcpy(s->heads, heads, sizeof s->heads);
	s->callback = rte_eth_add_rx_callback(s->port, 0, write_heads, s);
	if (s->callback == NULL) {
		*err = -rte_errno;
		free(s);
		return NULL;
	}
	return s;
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
