//go:build dpdk

// A plane: its memory, its ports and its workers.

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "internal.h"

#define MBUF_CACHE 128
// FRAGMENT_FLOWS is how many outer packets may wait for fragments, and
// FRAGMENT_SECONDS for how long.
#define FRAGMENT_FLOWS 256
#define FRAGMENT_SECONDS 5
#define RX_DESCRIPTORS 512
#define TX_DESCRIPTORS 512
// MAX_RETIRED is how much memory waits for workers at most.
#define MAX_RETIRED 4096

// serials sets the pools of several planes of a process apart.
static _Atomic uint32_t serials;

static int make_pools(struct evg_plane *p, const struct evg_plane_config *c) {
	char name[RTE_MEMPOOL_NAMESIZE];
	snprintf(name, sizeof name, "evg%u-mbufs", p->serial);
	p->mbufs = rte_pktmbuf_pool_create(name, c->mbufs, MBUF_CACHE, 0, (uint16_t)(RTE_PKTMBUF_HEADROOM + c->frame + 128), SOCKET_ID_ANY);
	snprintf(name, sizeof name, "evg%u-sas", p->serial);
	p->sessions = rte_cryptodev_sym_session_pool_create(name, c->max_sas, crypto_session_size(), 0, 0, SOCKET_ID_ANY);
	return p->mbufs == NULL || p->sessions == NULL ? -ENOMEM : 0;
}

static int make_worker(struct evg_plane *p, uint16_t index, int cpu) {
	struct worker *w = aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_CACHE_LINE_ROUNDUP(sizeof *w));
	if (w == NULL)
		return -ENOMEM;
	memset(w, 0, sizeof *w);
	p->workers[index] = w;
	w->p = p;
	w->index = index;
	w->cpu = cpu;
	w->tun_fd = -1;
	w->too_big_tokens = 1;
	w->fragments = rte_ip_frag_table_create(FRAGMENT_FLOWS, 4, FRAGMENT_FLOWS, FRAGMENT_SECONDS * 1000, SOCKET_ID_ANY);
	if (w->fragments == NULL)
		return -ENOMEM;
	int err = ipsecmb_open(&w->lane.mb);
	return err != 0 ? err : lane_init(&w->lane, p, "ops", index);
}

// evg_plane_new makes a plane without ports; cpus has one for each worker, below 0
// for any. err gets -ENOMEM when EAL's memory is
// too small for it.
struct evg_plane *evg_plane_new(const struct evg_plane_config *c, const int *cpus, int *err) {
	struct evg_plane *p = calloc(1, sizeof *p);
	struct address_set *none = calloc(1, sizeof *none);
	*err = -ENOMEM;
	if (p == NULL || none == NULL) {
		free(p);
		free(none);
		return NULL;
	}
	p->serial = atomic_fetch_add(&serials, 1);
	p->frame = c->frame;
	p->max_sas = c->max_sas;
	p->spin = c->spin;
	p->forwards = c->forwards;
	rte_spinlock_init(&p->asked.lock);
	p->graph = c->graph;
	atomic_store(&p->version, 1); // a worker's empty flows have another
	atomic_store(&p->addresses, none);
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	events_init(&p->events, fd);
	*err = fd < 0 ? -errno : make_pools(p, c);
	if (*err == 0)
		*err = ipsecmb_open(&p->mb);
	for (; *err == 0 && p->n_workers < c->workers; p->n_workers += *err == 0) // those that are whole
		*err = make_worker(p, p->n_workers, cpus[p->n_workers]);
	if (*err != 0) {
		evg_plane_free(p);
		return NULL;
	}
	return p;
}

static int set_up_port(struct evg_plane *p, struct port *to, uint16_t id) {
	struct rte_eth_dev_info info;
	struct rte_eth_conf c = {.rxmode = {.mq_mode = RTE_ETH_MQ_RX_NONE}};
	int err = rte_eth_dev_info_get(id, &info);
	if (err != 0)
		return err;
	to->rx_queues = RTE_MIN(info.max_rx_queues, p->n_workers);
	to->tx_queues = RTE_MIN(info.max_tx_queues, p->n_workers);
	if (to->rx_queues < p->n_workers && (err = inboxes_open(p)) != 0)
		return err;
	if (to->rx_queues > 1) {
		c.rx_adv_conf.rss_conf.rss_hf = (RTE_ETH_RSS_IP | RTE_ETH_RSS_ESP) & info.flow_type_rss_offloads;
		if (c.rx_adv_conf.rss_conf.rss_hf != 0)
			c.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
	}
	c.rxmode.offloads = RTE_ETH_RX_OFFLOAD_SECURITY & info.rx_offload_capa;
	c.txmode.offloads = RTE_ETH_TX_OFFLOAD_SECURITY & info.tx_offload_capa;
	uint16_t rx = RX_DESCRIPTORS, tx = TX_DESCRIPTORS;
	if ((err = rte_eth_dev_configure(id, to->rx_queues, to->tx_queues, &c)) != 0 ||
	    (err = rte_eth_dev_adjust_nb_rx_tx_desc(id, &rx, &tx)) != 0)
		return err;
	int socket = rte_eth_dev_socket_id(id);
	for (uint16_t q = 0; err == 0 && q < to->rx_queues; q++)
		err = rte_eth_rx_queue_setup(id, q, rx, (unsigned)socket, NULL, p->mbufs);
	for (uint16_t q = 0; err == 0 && q < to->tx_queues; q++)
		err = rte_eth_tx_queue_setup(id, q, tx, (unsigned)socket, NULL);
	if (err == 0)
		err = rte_eth_dev_start(id);
	if (err == 0)
		rte_eth_allmulticast_enable(id); // neighbour discovery; virtual devices lack it, and hear all
	return err;
}

// security_of is what a port says of security, NULL where it has no offload of both
// directions, or where others have set it up.
static struct rte_security_ctx *security_of(const struct evg_plane *p, uint16_t id) {
	struct rte_eth_dev_info info;
	if (p->graph || rte_eth_dev_info_get(id, &info) != 0 ||
	    !(info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SECURITY) || !(info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_SECURITY))
		return NULL;
	return rte_eth_dev_get_sec_ctx(id);
}

// evg_plane_add_port takes over a device by its name, with the host's end for each
// worker, and returns the port's index.
int evg_plane_add_port(struct evg_plane *p, const char *device, const int *host_fds, uint8_t mac[6]) {
	uint16_t id;
	struct port *to = &p->ports[p->n_ports];
	if (p->n_ports == MAX_PORTS)
		return -ENOSPC;
	int err = rte_eth_dev_get_port_by_name(device, &id);
	rte_spinlock_init(&to->tx_lock);
	to->rx_queues = to->tx_queues = p->n_workers;
	if (err == 0 && !p->graph)
		err = set_up_port(p, to, id);
	if (err == 0)
		err = rte_eth_macaddr_get(id, &to->mac);
	to->id = id;
	if (err == 0)
		err = security_open(p, to, security_of(p, id));
	if (err != 0)
		return err;
	memcpy(to->host_fds, host_fds, p->n_workers * sizeof *host_fds);
	memcpy(mac, to->mac.addr_bytes, 6);
	return p->n_ports++;
}

// evg_plane_start starts the workers, each with its queue of the TUN device.
int evg_plane_start(struct evg_plane *p, const int *tun_fds) {
	sigset_t all, before;
	int err = 0;
	if (p->graph) {
		p->workers[0]->tun_fd = tun_fds[0];
		return 0;
	}
	sigfillset(&all); // signals are for Go's own threads
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (uint16_t i = 0; err == 0 && i < p->n_workers; i++) {
		struct worker *w = p->workers[i];
		w->tun_fd = tun_fds[i];
		err = -pthread_create(&w->thread, NULL, worker_main, w);
		w->running = err == 0;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

void evg_plane_set_addresses(struct evg_plane *p, const struct evg_addr *a, uint32_t n) {
	struct address_set *new = calloc(1, sizeof *new + n * sizeof *a);
	if (new == NULL)
		return;
	new->n = n;
	if (n > 0)
		memcpy(new->a, a, n * sizeof *a);
	struct address_set *old = atomic_exchange(&p->addresses, new);
	policies_changed(p); // what is for us is none of a flow's packets
	retire(p, old);
}

// is_under_way tells whether the turn that was under way when the worker's turns were
// seen may still be. A worker without a thread has none between calls.
static bool is_under_way(struct worker *w, uint64_t seen) {
	bool was = w->p->graph ? seen % 2 == 1 : w->running;
	return was && atomic_load(&w->turns) == seen;
}

// evg_plane_drain waits until every worker has begun a turn: the one that was under
// way has ended then, with all that it sent.
void evg_plane_drain(struct evg_plane *p) {
	uint64_t seen[MAX_WORKERS];
	struct timespec t = {.tv_nsec = 5000};
	atomic_thread_fence(memory_order_seq_cst); // what was changed comes before the look
	for (uint16_t i = 0; i < p->n_workers; i++)
		seen[i] = atomic_load(&p->workers[i]->turns);
	for (uint16_t i = 0; i < p->n_workers; i++) {
		while (is_under_way(p->workers[i], seen[i]))
			nanosleep(&t, NULL);
	}
	while (p->retired != NULL) {
		struct retired *r = p->retired;
		p->retired = r->next;
		free(r->memory);
		free(r);
	}
	p->n_retired = 0;
	lookaside_reclaim(p);
}

// retire frees memory once no worker can be looking at it; NULL is nothing.
void retire(struct evg_plane *p, void *memory) {
	if (memory == NULL)
		return;
	struct retired *r = malloc(sizeof *r);
	if (r == NULL) {
		evg_plane_drain(p);
		free(memory);
		return;
	}
	*r = (struct retired){.memory = memory, .next = p->retired};
	p->retired = r;
	if (++p->n_retired >= MAX_RETIRED)
		evg_plane_drain(p);
}

// free_worker returns how many packets a cryptodev has kept.
static uint32_t free_worker(struct worker *w) {
	if (w == NULL)
		return 0;
	if (w->fragments != NULL)
		rte_ip_frag_table_destroy(w->fragments);
	uint32_t kept = lane_end(&w->lane);
	ipsecmb_close(w->lane.mb);
	inbox_free(w->inbox);
	free(w);
	return kept;
}

static void free_policies(struct evg_plane *p) {
	for (uint32_t i = 0; i < POLICY_BUCKETS; i++) {
		struct policy *y = atomic_load(&p->policies[i]), *next;
		for (; y != NULL; y = next) {
			next = atomic_load(&y->next);
			free(atomic_load(&y->sas));
			free(y);
		}
	}
}

// left counts what of a pool was not given back.
static uint32_t left(const struct rte_mempool *pool) {
	return pool == NULL ? 0 : rte_mempool_in_use_count(pool);
}

// close_ports ends ports that have stopped, and adds to lost the sessions that were not
// given back. It returns how many packets a cryptodev has kept of cards.
static uint32_t close_ports(struct evg_plane *p, uint32_t *lost) {
	uint32_t kept = 0;
	for (uint16_t i = 0; i < p->n_ports; i++) {
		struct port *x = &p->ports[i];
		*lost += left(x->sessions);
		kept += card_free(x->card);
		rte_eth_dev_close(x->id);
		rte_mempool_free(x->sessions);
	}
	p->n_ports = 0;
	return kept;
}

// evg_plane_free frees a plane. Its SAs must have been freed before, with
// evg_plane_stop in front. It returns how many packets and sessions were lost.
uint32_t evg_plane_free(struct evg_plane *p) {
	evg_plane_stop(p);
	evg_plane_drain(p);
	uint32_t kept = 0, lost = 0;
	free_policies(p);
	onward_free(p);
	for (uint16_t i = 0; i < MAX_WORKERS; i++)
		kept += free_worker(p->workers[i]);
	kept += close_ports(p, &lost);
	lookaside_reclaim(p);
	lost += left(p->sessions) + left(p->mbufs);
	if (kept == 0) { // else a device may look at them, and write to packets, at any time
		rte_mempool_free(p->sessions);
		rte_mempool_free(p->mbufs);
	}
	ipsecmb_close(p->mb);
	if (p->events.fd >= 0)
		close(p->events.fd);
	free(atomic_load(&p->addresses));
	free(p);
	return lost;
}

// evg_plane_stop ends the workers and stops the ports: nothing looks at SAs
// afterwards. Ports are closed with the plane, as SAs have sessions at them.
void evg_plane_stop(struct evg_plane *p) {
	for (uint16_t i = 0; i < p->n_workers; i++) {
		if (p->workers[i] != NULL)
			atomic_store(&p->workers[i]->stop, true);
	}
	for (uint16_t i = 0; i < p->n_workers; i++) {
		if (p->workers[i] == NULL || !p->workers[i]->running)
			continue;
		pthread_join(p->workers[i]->thread, NULL);
		p->workers[i]->running = false;
	}
	for (uint16_t i = 0; i < p->n_ports; i++)
		rte_eth_dev_stop(p->ports[i].id);
}

void evg_plane_stats(struct evg_plane *p, uint64_t out[EVG_STATS]) {
	memset(out, 0, EVG_STATS * sizeof *out);
	for (uint16_t i = 0; i < p->n_workers; i++) {
		for (int s = 0; s < EVG_STATS; s++)
			out[s] += atomic_load(&p->workers[i]->stats[s]);
	}
}

// evg_plane_taken tells how many frames of ports and inner packets of the host came to
// a worker.
uint64_t evg_plane_taken(struct evg_plane *p, uint16_t worker) {
	return atomic_load(&p->workers[worker]->taken);
}

void evg_plane_arm(struct evg_plane *p, uint32_t group, bool armed, uint64_t epoch) {
	atomic_store(&p->armed[group], armed ? epoch + 1 : 0);
}
