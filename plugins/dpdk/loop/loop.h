// The packet loop as Go sees it. Every function may be called from any thread;
// those that change a plane are called one at a time, under the caller's lock.
// Errors are negative errno values. Numbers are in host order unless it says be.
#ifndef EVG_LOOP_H
#define EVG_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct evg_plane;
struct evg_sa;
struct evg_tunnel;
struct evg_desc;

// What an SA counts as dropped, in the order of offload.Drops.
enum evg_drop {
	EVG_DROP_REPLAYED,
	EVG_DROP_AUTHENTICATION,
	EVG_DROP_MALFORMED,
	EVG_DROP_SELECTOR,
	EVG_DROP_LIFETIME,
	EVG_DROP_CEILING,
	EVG_DROP_STANDBY,
	EVG_DROP_TOO_BIG,
	EVG_DROP_QUEUE,
	EVG_DROPS
};

// What belongs to no SA, in the order of loop.StatNames.
enum evg_stat {
	EVG_STAT_UNKNOWN_SPI,
	EVG_STAT_SHORT,
	EVG_STAT_KEEPALIVE,
	EVG_STAT_NO_SA,
	EVG_STAT_MULTICAST,
	EVG_STAT_MALFORMED,
	EVG_STAT_NO_BUFFER,
	EVG_STAT_TUN_FULL,
	EVG_STAT_HOST_FULL,
	EVG_STAT_PORT_FULL,
	EVG_STAT_WORKER_FULL,
	EVG_STAT_NO_NEIGHBOUR,
	EVG_STAT_FORGED_ICMP,
	EVG_STAT_TOO_BIG_SENT,
	EVG_STAT_TOO_BIG_LIMITED,
	EVG_STAT_TO_HOST,
	EVG_STAT_FROM_HOST,
	EVG_STAT_TO_TUN,
	EVG_STAT_PASSED_ON,
	EVG_STAT_CARD_OUT,
	EVG_STAT_CARD_IN,
	EVG_STAT_CIPHER_LOST,
	EVG_STATS
};

enum evg_role { EVG_ACTIVE = 1, EVG_STANDBY = 2 };
enum evg_direction { EVG_IN = 1, EVG_OUT = 2 };

enum evg_event_kind {
	EVG_FIRST_PACKET = 1,
	EVG_ACTIVATED,
	EVG_ACQUIRE,
	EVG_EXPIRED_SOFT,
	EVG_EXPIRED_HARD,
	EVG_LEASE_LOW,
	EVG_LEASE_END,
	EVG_MTU_CHANGED,
	EVG_PEER_MOVED,
};

// An address of either family; one of IPv4 is in the first four octets.
struct evg_addr {
	uint8_t b[16];
	uint8_t v6;
};

// An event names SAs by the serial that they were made with, and tunnels by the
// identifier that they were made with.
struct evg_event {
	uint8_t kind, proto, has_ports;
	uint16_t port, remote_port; // of ACQUIRE: local and remote; of PEER_MOVED: port
	uint32_t group;
	uint64_t serial, tunnel, value; // value: epoch, next or MTU
	struct evg_addr local, remote;
};

struct evg_selector {
	uint8_t proto, v6;
	uint16_t port_min, port_max;
	uint8_t min[16], max[16];
};

struct evg_prefix {
	uint8_t v6, bits;
	uint8_t addr[16];
};

// Algorithms, by their IANA numbers, and keys, which are copied.
struct evg_transform {
	uint16_t encryption, integrity;
	uint8_t esn, direction;
	uint16_t key_len, salt_len, auth_len; // octets
	uint8_t key[32], salt[4], auth[64];
};

// What an SA is made of besides its transform.
struct evg_shape {
	uint8_t df, hide_dscp, dscp, link;
	uint64_t iv_prefix; // upper bits of the explicit IV
	uint32_t n_local, n_remote; // selectors
};

struct evg_path {
	struct evg_addr local, remote;
	uint16_t local_port, remote_port; // 0 without UDP
	uint8_t port;                     // index of the port
	uint8_t resolved;                 // the next hop is known
	uint8_t mac[6];                   // of the next hop
	uint16_t mtu;                     // of the first hop, 0 for unknown
};

struct evg_limits {
	uint64_t soft_packets, soft_bytes, hard_packets, hard_bytes; // 0 for none
};

// What an SA did and is. bitmap has room for window/8 octets.
struct evg_usage {
	uint64_t packets, bytes, relayed, drops[EVG_DROPS];
	int64_t idle_ns; // negative for never
	uint64_t next, ceiling, iv_counter, highest;
	uint16_t mtu_told, mtu_known;
	uint8_t role;
	uint32_t group;
};

struct evg_plane_config {
	uint16_t workers;
	uint32_t mbufs, max_sas;
	uint16_t frame; // longest frame of a port, in octets
	bool spin;
	bool forwards; // inner packets may leave by ports
	bool graph; // others poll the ports, for one worker without a thread
};

// eal.c: once for a process.
int evg_eal_start(int argc, char **argv);
int evg_vdev_add(const char *name, const char *args);
int evg_vdev_remove(const char *name);

// crypto.c: cryptodevs, once for a process. evg_cryptodevs_start takes over every
// device that EAL knows, ready for queue pairs of all workers.
struct evg_cryptodev {
	char name[64];
	bool hardware, cpu; // a device of its own; calls return with the result
	uint32_t max_sessions; // 0 for no limit
};
int evg_cryptodevs_start(void);
int evg_cryptodev_describe(int dev, struct evg_cryptodev *out);
int evg_cryptodev_takes(int dev, const struct evg_transform *t);

// What a device may do through rte_security, and what it answers for one SA, in the
// order of how much of it it does.
enum evg_offload { EVG_INLINE_PROTOCOL = 1, EVG_LOOKASIDE_PROTOCOL, EVG_INLINE_CRYPTO };
enum evg_offer { EVG_NOT_OFFERED, EVG_LACKS_ALGORITHM, EVG_LACKS_MODE, EVG_OFFERED };

// security.c: udp says whether the SA is encapsulated. evg_desc_inline gives a
// description that is not published a session at a port, too; -ENOSPC means that the
// port is full.
int evg_port_offers(struct evg_plane *p, int port, uint8_t offload, const struct evg_transform *t, bool udp);
int evg_cryptodev_offers(int dev, uint8_t offload, const struct evg_transform *t, bool udp);
int evg_desc_inline(struct evg_plane *p, struct evg_desc *d, int port, uint32_t spi, const struct evg_transform *t, const struct evg_path *path);

// card.c: evg_plane_emulate has software play a card at a port, before the plane
// starts: cryptodev dev does its work. -ERANGE: it has fewer queues than there are
// workers.
struct evg_emulation {
	bool inline_crypto, inline_protocol; // what it declares
	uint32_t slots; // sessions
	int dev;
};
int evg_plane_emulate(struct evg_plane *p, int port, const struct evg_emulation *e);

// plane.c
struct evg_plane *evg_plane_new(const struct evg_plane_config *c, const int *cpus, int *err);
int evg_plane_add_port(struct evg_plane *p, const char *device, const int *host_fds, uint8_t mac[6]);
int evg_plane_start(struct evg_plane *p, const int *tun_fds);
void evg_plane_set_addresses(struct evg_plane *p, const struct evg_addr *a, uint32_t n);
void evg_plane_drain(struct evg_plane *p);
void evg_plane_stop(struct evg_plane *p);
uint32_t evg_plane_free(struct evg_plane *p);
void evg_plane_stats(struct evg_plane *p, uint64_t out[EVG_STATS]);
uint64_t evg_plane_taken(struct evg_plane *p, uint16_t worker);
void evg_plane_arm(struct evg_plane *p, uint32_t group, bool armed, uint64_t epoch);
int evg_plane_event_fd(struct evg_plane *p);
uint32_t evg_plane_events(struct evg_plane *p, struct evg_event *out, uint32_t n, uint64_t *lost);
void evg_plane_push(struct evg_plane *p, const struct evg_event *e);

// graph.c: of a plane with graph. fill and carry have one thread each; packets are
// mbufs.
void evg_graph_fill(struct evg_plane *p, void *packet);
void evg_graph_carry(struct evg_plane *p, void **packets, uint32_t n);
void evg_graph_end(struct evg_plane *p);

// sa.c: selectors are the local ones, then the remote ones.
struct evg_desc *evg_desc_new(struct evg_plane *p, int dev, const struct evg_transform *t, const struct evg_shape *s, const struct evg_selector *selectors, int *err);
void evg_desc_free(struct evg_desc *d);
struct evg_tunnel *evg_tunnel_new(uint64_t id);
void evg_tunnel_free(struct evg_tunnel *t);
int evg_tunnel_add(struct evg_plane *p, struct evg_tunnel *t, struct evg_sa *sa);
int evg_tunnel_remove(struct evg_plane *p, struct evg_tunnel *t, struct evg_sa *sa);
void evg_tunnel_rest(struct evg_tunnel *t);
struct evg_sa *evg_sa_new(uint64_t serial, uint32_t spi, uint8_t direction, uint32_t window, uint64_t last, uint64_t iv_counter);
void evg_sa_free(struct evg_sa *sa);
void evg_sa_set_desc(struct evg_plane *p, struct evg_sa *sa, struct evg_desc *d);
int evg_sa_set_path(struct evg_plane *p, struct evg_sa *sa, const struct evg_path *path);
void evg_sa_set_tunnel(struct evg_sa *sa, struct evg_tunnel *t);
void evg_sa_set_role(struct evg_sa *sa, uint8_t role);
void evg_sa_set_group(struct evg_sa *sa, uint32_t group);
void evg_sa_set_limits(struct evg_sa *sa, const struct evg_limits *l);
void evg_sa_set_mtu(struct evg_sa *sa, uint16_t told);
void evg_sa_lease(struct evg_sa *sa, uint64_t next, uint64_t ceiling);
void evg_sa_import(struct evg_sa *sa, uint64_t highest, const uint8_t *bitmap, uint32_t octets);
void evg_sa_usage(const struct evg_sa *sa, struct evg_usage *out);
uint64_t evg_sa_bitmap(struct evg_sa *sa, uint8_t *bitmap, uint32_t octets);

// onward.c: where inner packets leave, in a bounded number of slots.
struct evg_onward {
	struct evg_addr from, to;
	uint8_t port; // index
	bool resolved; // else the host has them
	uint8_t mac[6]; // of the next hop
	uint16_t mtu;
};
uint32_t evg_onward_asked(struct evg_plane *p, struct evg_onward *out, uint32_t n);
int evg_onward_set(struct evg_plane *p, const struct evg_onward *to);
void evg_onward_clear(struct evg_plane *p, uint32_t slot);
bool evg_onward_used(struct evg_plane *p, uint32_t slot);

// table.c: a reader sees what was there before a change or after it. What was
// taken out may be freed after evg_plane_drain.
void evg_spi_add(struct evg_plane *p, struct evg_sa *sa);
void evg_spi_remove(struct evg_plane *p, struct evg_sa *sa);
int evg_policy_add(struct evg_plane *p, const struct evg_prefix *x, struct evg_sa *sa);
int evg_policy_remove(struct evg_plane *p, const struct evg_prefix *x, struct evg_sa *sa);
void evg_link_set(struct evg_plane *p, uint32_t member, struct evg_sa *sa);

#endif
