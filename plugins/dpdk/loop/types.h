// What a plane is made of.
#ifndef EVG_TYPES_H
#define EVG_TYPES_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#include <rte_cryptodev.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_ip_frag.h>
#include <rte_mbuf.h>
#include <rte_security.h>
#include <rte_spinlock.h>
#include <rte_udp.h>

#include "loop.h"

#define BURST 64
#define MAX_WORKERS 16
#define MAX_PORTS 16
#define MAX_GROUPS 16
#define MAX_EVENTS 8192
#define MAX_ADDRESSES 4096
#define NATT_PORT 4500
#define MIN_ESP 8
#define ACQUIRE_SLOTS 256
#define ASK_SLOTS 256
#define MAX_ASKED 1024
#define ONWARD_SLOTS 4096
#define SECOND 1000000000ull

// The algorithms, by their IANA numbers (Transform Types 1 and 3).
enum { ENCR_NULL = 11, ENCR_AES_CBC = 12, ENCR_AES_CTR = 13, ENCR_GCM8 = 18, ENCR_GCM12 = 19, ENCR_GCM16 = 20, ENCR_CHACHA = 28 };
enum { AUTH_NONE = 0, AUTH_SHA1 = 2, AUTH_SHA256 = 12, AUTH_SHA384 = 13, AUTH_SHA512 = 14 };

struct ipsecmb;
struct ipsecmb_key;

// apart is a session of a cryptodev that works apart. Operations that it was given and
// that were given up lead it there, so a session lasts until they are back, even when
// its cipher is gone.
struct apart {
	struct evg_plane *p;
	struct apart *next; // of those whose cipher is gone
	void *session;
	uint8_t dev;
	_Atomic uint32_t lost; // operations that are not back
};

// cipher is what encrypts or decrypts with one key: a session of a cryptodev, and
// what ESP must know of the algorithms. direct is for the library behind the cryptodev
// itself, NULL where the session does the work; apart is NULL where calls return with
// the result.
struct cipher {
	void *session;
	struct ipsecmb_key *direct;
	struct apart *apart;
	uint16_t encryption;
	bool aead, esn, cpu;
	uint8_t dev, iv_len, icv_len;
};

// inlined is a session of rte_security at a port, for INLINE_CRYPTO; session is NULL
// without one.
struct inlined {
	struct rte_security_ctx *ctx;
	void *session;
	struct rte_flow *flow;
	uint16_t port, id; // index, and number of DPDK's
	bool metadata;     // packets need it
};

// evg_desc is one description of an SA. It does not change once it is published.
struct evg_desc {
	struct cipher c;
	struct inlined inlined; // where cipher does what the card cannot
	bool link;
	uint8_t align;
	uint8_t df, hide_dscp, dscp;
	uint8_t salt[4];
	uint64_t iv_prefix;
	uint32_t n_local, n_remote;
	struct evg_selector selectors[]; // local, then remote
};

// What stands before a sequence number, in octets: the headers of the link and of IP,
// that of UDP or none, and the SPI.
enum { OUTER4 = 38, OUTER4_UDP = 46, OUTER6 = 58, OUTER6_UDP = 66 };

// outer is where packets of an SA go, and what all of them begin with.
struct outer {
	struct evg_path path;
	uint32_t around; // octets of IP and UDP
	uint32_t sum;    // of what does not change in a header of IPv4
	uint8_t head[OUTER6_UDP];
};

struct evg_tunnel {
	uint64_t id;
	atomic_bool started; // ACTIVATED was sent
	_Atomic(struct sa_list *) members;
};

// sa_list is replaced, not changed.
struct sa_list {
	uint32_t n;
	struct evg_sa *sa[];
};

// window is the anti-replay window (RFC 4303 section 3.4.3): number n is at bit n
// modulo the number of bits, which is more than size.
struct window {
	rte_spinlock_t lock;
	uint64_t highest;
	uint32_t size, words; // numbers; words of bits, a power of two
	uint64_t *bits;
};

struct evg_sa {
	uint64_t serial;
	rte_be32_t spi;
	uint8_t direction;
	_Atomic(struct evg_desc *) desc;
	_Atomic(struct outer *) outer;
	_Atomic(struct evg_tunnel *) tunnel;
	_Atomic(struct evg_sa *) next_in; // in its bucket of the table by SPI
	_Atomic uint8_t role;
	_Atomic uint32_t group;
	atomic_bool told; // FIRST_PACKET was sent since the role changed

	_Atomic uint64_t packets, bytes, relayed, drops[EVG_DROPS];
	_Atomic uint64_t last_ns; // of the last packet, 0 for never
	_Atomic uint64_t soft_packets, soft_bytes, hard_packets, hard_bytes;
	atomic_bool soft_told, hard_told;

	// Outbound. half is where less than half of the lease is left, 0 without one.
	uint64_t last;
	_Atomic uint64_t next, ceiling, half, iv_counter;
	atomic_bool low_told, end_told;
	_Atomic uint16_t mtu_told, mtu_learned;
	_Atomic uint64_t mtu_learned_ns;

	struct window window; // inbound
	struct evg_addr moved_to; // what PEER_MOVED said last; window.lock guards it
	uint16_t moved_port;
};

// header is what an IP packet says of itself. Addresses are written and read in
// words of eight octets: a word that was just written in pieces has to wait for them.
// Zeros fill up those of IPv4.
struct header {
	alignas(8) uint8_t src[16];
	alignas(8) uint8_t dst[16];
	bool v6, has_ports, df, fragment;
	uint8_t proto, tos;
	uint16_t src_port, dst_port, l4;
	uint32_t len;
};

#define FLOWS 1024

// flow_key is all that policies look at in a packet: addresses as they are there, with
// zeros behind those of IPv4, and the protocol with its ports, in their order, too.
struct flow_key {
	uint64_t addresses[4], rest;
};

// flow remembers which SA sends packets of a flow, as long as nothing changes that
// decides it.
struct flow {
	alignas(64) uint64_t version; // of the policies
	struct flow_key key;
	struct evg_sa *sa; // NULL for none
	bool carried;      // from ports, too: neither to us nor to many
};

struct port {
	uint16_t id;
	uint16_t rx_queues, tx_queues; // as many as workers, or fewer
	rte_spinlock_t tx_lock;        // where they are fewer
	struct rte_security_ctx *security; // NULL without any
	struct rte_mempool *sessions;      // of rte_security
	struct card *card;                 // emulates security, NULL for none
	struct rte_ether_addr mac;
	int host_fds[MAX_WORKERS];
	char device[64];
};

// policy is one remote prefix with its SAs, newest first.
struct policy {
	struct evg_prefix prefix;
	_Atomic(struct sa_list *) sas;
	_Atomic(struct policy *) next;
};

// retired is memory that a worker may still look at.
struct retired {
	void *memory;
	struct retired *next;
};

#define POLICY_BUCKETS 65536
#define SPI_BUCKETS 65536

// address_set is replaced, not changed.
struct address_set {
	uint32_t n;
	struct evg_addr a[];
};

struct events {
	rte_spinlock_t lock;
	uint32_t head, n;
	uint64_t lost;
	int fd;
	struct evg_event ring[MAX_EVENTS];
};

// onward is where inner packets between two addresses leave.
struct onward {
	struct evg_onward to;
	atomic_bool used;
};

// asked is what pairs of addresses Go is asked for.
struct asked {
	rte_spinlock_t lock;
	uint32_t n;
	struct evg_onward list[MAX_ASKED];
};

// in_packet is an ESP packet on its way in.
struct in_packet {
	struct rte_mbuf *m;
	struct evg_sa *sa;
	uint8_t *esp; // SPI, in m
	uint32_t len;
	uint64_t seq;
	struct evg_addr from; // of UDP only
	uint16_t from_port;   // 0 without UDP
	uint8_t tos;
};

// out_packet is an inner packet on its way out: m's data begins with its header.
struct out_packet {
	struct rte_mbuf *m;
	struct evg_sa *sa, *from; // sa may be NULL at first; from: the SA of the link that it came over
	uint32_t len;             // without padding of the link
	uint8_t tos;
	bool v6, df; // once its SA is found, df says that it leaves whole
};

// job is one piece of work for a cipher.
struct job {
	struct rte_mbuf *m;
	uint8_t *esp;
	uint32_t len; // from the SPI to the end of the padding, with high order ESN bits behind where they count
	uint8_t iv[16], aad[16];
	uint8_t *digest; // as long as the ICV, and where that is in the packet, unless what is authenticated lies there
};

// lane is where one thread puts work for ciphers, and finds what came of it. Of what
// is for ciphers that return with the result, what never changes is there from the
// beginning.
struct lane {
	uint16_t queue; // pair of cryptodevs
	struct rte_mempool *ops;
	struct ipsecmb *mb; // of workers: no card calls it
	uint64_t run; // what a device has now is of this one
	uint32_t missing; // operations that a device kept when they were given up
	uint64_t rests_until[RTE_CRYPTO_MAX_DEVS]; // of devices that lost some, in cycles
	_Atomic uint64_t *lost;
	struct job jobs[BURST];
	uint8_t digests[BURST][64];
	int32_t status[BURST]; // 0 for what succeeded, EIO for what was not done
	struct rte_crypto_vec data[BURST];
	struct rte_crypto_sgl spans[BURST];
	struct rte_crypto_va_iova_ptr ivs[BURST], aads[BURST], icvs[BURST];
};

struct tx_queue {
	uint32_t n;
	struct rte_mbuf *m[BURST];
	struct evg_sa *sa[BURST]; // NULL for packets of the host
};

struct worker {
	struct evg_plane *p;
	uint16_t index;
	pthread_t thread;
	bool running;
	bool entered, registered; // of the thread of a graph
	int cpu, tun_fd;
	atomic_bool stop;
	_Atomic uint64_t turns; // a turn that began later sees all that changed before
	_Atomic uint64_t stats[EVG_STATS];
	_Atomic uint64_t taken; // frames of ports and inner packets of the host that came to this worker
	uint64_t now;
	struct rte_mbuf *spare;
	struct rte_ring *inbox; // frames that others polled; NULL where each polls its own
	struct rte_ip_frag_tbl *fragments;
	uint64_t acquire_until[ACQUIRE_SLOTS], ask_until[ASK_SLOTS];
	uint64_t too_big_tokens, too_big_last;
	uint16_t ip_id;
	uint64_t version; // of the policies when the turn began
	struct flow flows[FLOWS];
	uint32_t n_in, n_out;
	struct in_packet in[BURST];
	struct out_packet out[BURST];
	struct tx_queue tx[MAX_PORTS];
	struct lane lane;
};

struct evg_plane {
	uint16_t n_workers, n_ports;
	bool spin, graph, forwards;
	uint32_t frame, serial, max_sas;
	uint32_t filled; // packets of the host, or attempts, of a graph
	struct rte_mempool *mbufs, *sessions;
	struct ipsecmb *mb; // for keys
	struct apart *apart; // sessions whose ciphers are gone, and that a device may still look at
	struct port ports[MAX_PORTS];
	struct worker *workers[MAX_WORKERS];
	_Atomic(struct address_set *) addresses;
	_Atomic uint64_t armed[MAX_GROUPS]; // epoch plus one, 0 while it is not armed
	_Atomic(struct evg_sa *) links[MAX_GROUPS];
	_Atomic(struct evg_sa *) by_spi[SPI_BUCKETS];
	_Atomic(struct policy *) policies[POLICY_BUCKETS];
	_Atomic uint64_t version; // of the policies, changed after each change of theirs; from 1
	_Atomic uint64_t lengths[2][3]; // bit n: a policy of a prefix of n bits, by family
	uint32_t of_length[2][129];
	_Atomic(struct onward *) onward[ONWARD_SLOTS];
	struct asked asked;
	struct retired *retired;
	uint32_t n_retired;
	struct events events;
};

#endif
