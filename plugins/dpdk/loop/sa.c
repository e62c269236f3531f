//go:build dpdk

// SAs: what control calls change, and what packets ask.

#include <errno.h>
#include <stdlib.h>

#include "internal.h"

struct evg_tunnel *evg_tunnel_new(uint64_t id) {
	struct evg_tunnel *t = calloc(1, sizeof *t);
	if (t != NULL)
		t->id = id;
	return t;
}

void evg_tunnel_free(struct evg_tunnel *t) {
	free(atomic_load(&t->members));
	free(t);
}

int evg_tunnel_add(struct evg_plane *p, struct evg_tunnel *t, struct evg_sa *sa) {
	struct sa_list *old = atomic_load(&t->members), *new = list_with(old, sa);
	if (new == NULL)
		return -ENOMEM;
	atomic_store(&t->members, new);
	retire(p, old);
	return 0;
}

// evg_tunnel_remove returns how many SAs are left.
int evg_tunnel_remove(struct evg_plane *p, struct evg_tunnel *t, struct evg_sa *sa) {
	struct sa_list *old = atomic_load(&t->members), *new = list_without(old, sa);
	if (new == NULL)
		return -ENOMEM;
	atomic_store(&t->members, new);
	retire(p, old);
	return (int)new->n;
}

// evg_tunnel_rest makes the tunnel's next start news again.
void evg_tunnel_rest(struct evg_tunnel *t) {
	atomic_store(&t->started, false);
}

// evg_sa_new makes an SA that nothing can find yet. last is its highest sequence
// number, iv_counter where its explicit IVs go on.
struct evg_sa *evg_sa_new(uint64_t serial, uint32_t spi, uint8_t direction, uint32_t window, uint64_t last, uint64_t iv_counter) {
	struct evg_sa *sa = calloc(1, sizeof *sa);
	if (sa == NULL)
		return NULL;
	sa->serial = serial;
	sa->spi = rte_cpu_to_be_32(spi);
	sa->direction = direction;
	sa->last = last;
	atomic_store(&sa->next, 1);
	atomic_store(&sa->iv_counter, iv_counter);
	if (direction == EVG_IN && !window_init(&sa->window, window)) {
		free(sa);
		return NULL;
	}
	return sa;
}

// evg_sa_free frees an SA that no worker can see any more.
void evg_sa_free(struct evg_sa *sa) {
	evg_desc_free(atomic_load(&sa->desc));
	free(atomic_load(&sa->outer));
	free(sa->window.bits);
	free(sa);
}

// icv_len is the integrity check value in octets.
uint8_t icv_len(const struct evg_transform *t) {
	switch (t->encryption) {
	case ENCR_GCM8:
		return 8;
	case ENCR_GCM12:
		return 12;
	case ENCR_GCM16:
	case ENCR_CHACHA:
		return 16;
	}
	switch (t->integrity) {
	case AUTH_SHA1:
		return 12;
	case AUTH_SHA384:
		return 24;
	case AUTH_SHA512:
		return 32;
	default:
		return 16;
	}
}

// evg_desc_new makes a description with a session at cryptodev dev.
struct evg_desc *evg_desc_new(struct evg_plane *p, int dev, const struct evg_transform *t, const struct evg_shape *s, const struct evg_selector *selectors, int *err) {
	uint32_t n = s->n_local + s->n_remote;
	struct evg_desc *d = calloc(1, sizeof *d + n * sizeof d->selectors[0]);
	*err = -ENOMEM;
	if (d == NULL)
		return NULL;
	struct rte_crypto_sym_xform x[2];
	*err = crypto_session(p, dev, crypto_transforms(t, x), &d->c);
	if (*err != 0) {
		free(d);
		return NULL;
	}
	*err = crypto_shortcut(p, t, &d->c);
	if (*err != 0) {
		evg_desc_free(d);
		return NULL;
	}
	d->c.encryption = t->encryption;
	d->c.aead = t->encryption >= ENCR_GCM8;
	d->c.esn = t->esn;
	d->c.iv_len = t->encryption == ENCR_AES_CBC ? 16 : t->encryption == ENCR_NULL ? 0 : 8;
	d->align = t->encryption == ENCR_AES_CBC ? 16 : 4;
	memcpy(d->salt, t->salt, sizeof d->salt);
	d->c.icv_len = icv_len(t);
	d->df = s->df;
	d->hide_dscp = s->hide_dscp;
	d->dscp = s->dscp;
	d->link = s->link;
	d->iv_prefix = s->iv_prefix;
	d->n_local = s->n_local;
	d->n_remote = s->n_remote;
	if (n > 0)
		memcpy(d->selectors, selectors, n * sizeof *selectors);
	*err = 0;
	return d;
}

void evg_desc_free(struct evg_desc *d) {
	if (d == NULL)
		return;
	security_session_free(&d->inlined);
	crypto_session_free(&d->c);
	wipe(d->salt, sizeof d->salt);
	free(d);
}

// evg_sa_set_desc publishes a description; the one before may be freed after
// evg_plane_drain, which this calls where there is one.
void evg_sa_set_desc(struct evg_plane *p, struct evg_sa *sa, struct evg_desc *d) {
	struct evg_desc *old = atomic_exchange(&sa->desc, d);
	if (old != NULL) {
		policies_changed(p); // its selectors may be others
		evg_plane_drain(p);
		evg_desc_free(old);
	}
}

// evg_sa_set_path gives an SA an outer path. What was learned of the one before is
// forgotten when the peer's address is another.
int evg_sa_set_path(struct evg_plane *p, struct evg_sa *sa, const struct evg_path *path) {
	struct outer *new = malloc(sizeof *new);
	if (new == NULL)
		return -ENOMEM;
	outer_init(new, path, &p->ports[path->port].mac, sa->spi);
	struct outer *old = atomic_exchange(&sa->outer, new);
	bool elsewhere = old != NULL && !same_addr(&old->path.remote, &path->remote);
	if (elsewhere)
		evg_sa_set_mtu(sa, 0);
	if (elsewhere || (old != NULL && old->path.remote_port != path->remote_port)) {
		rte_spinlock_lock(&sa->window.lock);
		sa->moved_port = 0;
		rte_spinlock_unlock(&sa->window.lock);
	}
	retire(p, old);
	return 0;
}

void evg_sa_set_tunnel(struct evg_sa *sa, struct evg_tunnel *t) {
	atomic_store(&sa->tunnel, t);
}

// evg_sa_set_role makes the first packet of a role news again.
void evg_sa_set_role(struct evg_sa *sa, uint8_t role) {
	if (atomic_exchange(&sa->role, role) == role)
		return;
	atomic_store(&sa->told, false);
	struct evg_tunnel *t = atomic_load(&sa->tunnel);
	if (role == EVG_STANDBY && t != NULL)
		evg_tunnel_rest(t);
}

void evg_sa_set_group(struct evg_sa *sa, uint32_t group) {
	atomic_store(&sa->group, group);
}

// evg_sa_set_limits makes limits that changed be told again.
void evg_sa_set_limits(struct evg_sa *sa, const struct evg_limits *l) {
	bool soft = atomic_exchange(&sa->soft_packets, l->soft_packets) != l->soft_packets;
	soft = atomic_exchange(&sa->soft_bytes, l->soft_bytes) != l->soft_bytes || soft;
	bool hard = atomic_exchange(&sa->hard_packets, l->hard_packets) != l->hard_packets;
	hard = atomic_exchange(&sa->hard_bytes, l->hard_bytes) != l->hard_bytes || hard;
	if (soft)
		atomic_store(&sa->soft_told, false);
	if (hard)
		atomic_store(&sa->hard_told, false);
}

void evg_sa_set_mtu(struct evg_sa *sa, uint16_t told) {
	atomic_store(&sa->mtu_told, told);
	atomic_store(&sa->mtu_learned, 0);
}

static uint64_t lease_edge(struct evg_sa *sa) {
	uint64_t c = atomic_load(&sa->ceiling);
	return c != 0 && c < sa->last ? c : sa->last;
}

// evg_sa_lease merges what a control call says of numbers: nothing moves back. What
// lies between next and ceiling when either changes is a lease.
void evg_sa_lease(struct evg_sa *sa, uint64_t next, uint64_t ceiling) {
	bool changed = ceiling > atomic_load(&sa->ceiling);
	if (changed)
		atomic_store(&sa->ceiling, ceiling);
	uint64_t now = atomic_load(&sa->next);
	while (next > now) {
		if (atomic_compare_exchange_weak(&sa->next, &now, next)) {
			changed = true;
			break;
		}
	}
	if (!changed)
		return;
	now = atomic_load(&sa->next);
	uint64_t end = lease_edge(sa);
	atomic_store(&sa->half, atomic_load(&sa->ceiling) != 0 && now <= end ? end - (end - now) / 2 : 0);
	atomic_store(&sa->low_told, false);
	atomic_store(&sa->end_told, false);
}

void evg_sa_import(struct evg_sa *sa, uint64_t highest, const uint8_t *bitmap, uint32_t octets) {
	rte_spinlock_lock(&sa->window.lock);
	window_import(&sa->window, highest, bitmap, octets);
	rte_spinlock_unlock(&sa->window.lock);
}

// evg_sa_bitmap copies the window, and returns its right edge.
uint64_t evg_sa_bitmap(struct evg_sa *sa, uint8_t *bitmap, uint32_t octets) {
	struct window *w = &sa->window;
	rte_spinlock_lock(&w->lock);
	uint64_t highest = w->highest;
	for (uint64_t i = 0; i < octets * 8ull; i++) {
		// What is left of the window, or of 1, counts as received.
		if (i >= highest || !window_fresh(w, highest - i))
			bitmap[i / 8] |= (uint8_t)(1 << i % 8);
	}
	rte_spinlock_unlock(&w->lock);
	return highest;
}

static uint64_t now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

void evg_sa_usage(const struct evg_sa *of, struct evg_usage *out) {
	struct evg_sa *sa = (struct evg_sa *)(uintptr_t)of;
	uint64_t last = atomic_load(&sa->last_ns), now = now_ns();
	*out = (struct evg_usage){
		.packets = atomic_load(&sa->packets), .bytes = atomic_load(&sa->bytes), .relayed = atomic_load(&sa->relayed),
		.idle_ns = last == 0 ? -1 : now > last ? (int64_t)(now - last) : 0,
		.next = atomic_load(&sa->next), .ceiling = atomic_load(&sa->ceiling), .iv_counter = atomic_load(&sa->iv_counter),
		.role = atomic_load(&sa->role), .group = atomic_load(&sa->group),
		.mtu_told = atomic_load(&sa->mtu_told),
		.mtu_known = (uint16_t)mtu_known(sa),
	};
	for (int i = 0; i < EVG_DROPS; i++)
		out->drops[i] = atomic_load(&sa->drops[i]);
}

// mtu_known is the least of what is known of the path, 0 for nothing.
uint32_t mtu_known(struct evg_sa *sa) {
	uint32_t least = atomic_load_explicit(&sa->mtu_told, memory_order_relaxed);
	uint32_t others[2] = {atomic_load_explicit(&sa->mtu_learned, memory_order_relaxed), atomic_load_explicit(&sa->outer, memory_order_acquire)->path.mtu};
	for (int i = 0; i < 2; i++) {
		if (others[i] != 0 && (least == 0 || others[i] < least))
			least = others[i];
	}
	return least;
}

// MTU_AGE_NS is when a learned path MTU is forgotten, to find out whether the path
// has grown (RFC 1191 section 6.3, RFC 8201 section 4).
#define MTU_AGE_NS (600 * SECOND)

// mtu_age forgets what was learned too long ago; true when it did.
bool mtu_age(struct worker *w, struct evg_sa *sa) {
	if (atomic_load(&sa->mtu_learned) == 0 || w->now - atomic_load(&sa->mtu_learned_ns) < MTU_AGE_NS)
		return false;
	atomic_store(&sa->mtu_learned, 0);
	return true;
}

// mtu_learn takes what the path said; false when it is no news.
bool mtu_learn(struct worker *w, struct evg_sa *sa, uint32_t mtu) {
	uint32_t known = mtu_known(sa);
	if (known != 0 && mtu >= known)
		return false;
	atomic_store(&sa->mtu_learned_ns, w->now);
	atomic_store(&sa->mtu_learned, (uint16_t)mtu);
	return true;
}

static void start(struct worker *w, struct evg_tunnel *t, uint32_t group, uint64_t epoch) {
	const struct sa_list *l = atomic_load(&t->members);
	for (uint32_t i = 0; i < l->n; i++) {
		if (atomic_load(&l->sa[i]->group) == group)
			atomic_store(&l->sa[i]->role, EVG_ACTIVE);
	}
	if (!atomic_exchange(&t->started, true)) {
		struct evg_event e = {.kind = EVG_ACTIVATED, .tunnel = t->id, .group = group, .value = epoch};
		tell(w->p, &e);
	}
}

// knock is what happens when a packet meets a standby SA: an armed tunnel starts,
// here and now, without asking anybody; otherwise the packet is reported, once.
// True means that the SA is active afterwards. Inbound packets are authentic when
// they get here.
bool knock(struct worker *w, struct evg_sa *sa) {
	uint32_t group = atomic_load(&sa->group);
	uint64_t armed = atomic_load(&w->p->armed[group % MAX_GROUPS]);
	if (armed != 0)
		start(w, atomic_load(&sa->tunnel), group, armed - 1);
	else if (!atomic_load_explicit(&sa->told, memory_order_relaxed) && !atomic_exchange(&sa->told, true))
		tell_sa(w, sa, EVG_FIRST_PACKET, 0);
	return is_active(sa);
}

static uint64_t left(uint64_t limit, uint64_t used) {
	return used < limit ? limit - used : 0;
}

// allowance is how many of n packets of at most size octets the hard limits leave,
// after those that are pending. The last packet may go over a limit of bytes.
uint32_t allowance(struct evg_sa *sa, uint32_t n, uint32_t size, uint64_t pending, uint64_t pending_bytes) {
	uint64_t packets = atomic_load_explicit(&sa->hard_packets, memory_order_relaxed);
	uint64_t bytes = atomic_load_explicit(&sa->hard_bytes, memory_order_relaxed);
	uint64_t allowed = n;
	if (packets != 0)
		allowed = RTE_MIN(allowed, left(packets, atomic_load(&sa->packets) + pending));
	if (bytes != 0 && allowed > 0) {
		size = size == 0 ? 1 : size;
		allowed = RTE_MIN(allowed, (left(bytes, atomic_load(&sa->bytes) + pending_bytes) + size - 1) / size);
	}
	return (uint32_t)allowed;
}

static bool reached(uint64_t packets, uint64_t p, uint64_t bytes, uint64_t b) {
	return (packets != 0 && p >= packets) || (bytes != 0 && b >= bytes);
}

// account counts packets that passed, and tells of the limits that they reached,
// each once.
void account(struct worker *w, struct evg_sa *sa, uint64_t packets, uint64_t bytes) {
	uint64_t p = atomic_fetch_add_explicit(&sa->packets, packets, memory_order_relaxed) + packets;
	uint64_t b = atomic_fetch_add_explicit(&sa->bytes, bytes, memory_order_relaxed) + bytes;
	atomic_store_explicit(&sa->last_ns, w->now, memory_order_relaxed);
	if (reached(atomic_load(&sa->soft_packets), p, atomic_load(&sa->soft_bytes), b) && !atomic_exchange(&sa->soft_told, true))
		tell_sa(w, sa, EVG_EXPIRED_SOFT, 0);
	if (reached(atomic_load(&sa->hard_packets), p, atomic_load(&sa->hard_bytes), b) && !atomic_exchange(&sa->hard_told, true))
		tell_sa(w, sa, EVG_EXPIRED_HARD, 0);
}

// reserve takes up to n sequence numbers, first and those that follow it, and
// returns how many were left under the ceiling (invariant I2).
//
// "The transmitted sequence number must never be allowed to cycle." RFC 4303
// section 2.2.
uint32_t reserve(struct evg_sa *sa, uint32_t n, uint64_t *first) {
	uint64_t next = atomic_load(&sa->next);
	for (;;) {
		uint64_t end = lease_edge(sa);
		if (next > end)
			return 0;
		uint64_t got = RTE_MIN((uint64_t)n, end - next + 1);
		if (atomic_compare_exchange_weak(&sa->next, &next, next + got)) {
			*first = next;
			return (uint32_t)got;
		}
	}
}

// lease_low tells, once for a lease, that less than half of it is left.
void lease_low(struct worker *w, struct evg_sa *sa) {
	uint64_t half = atomic_load_explicit(&sa->half, memory_order_relaxed);
	if (half != 0 && atomic_load(&sa->next) > half && !atomic_load(&sa->low_told) && !atomic_exchange(&sa->low_told, true))
		tell_sa(w, sa, EVG_LEASE_LOW, atomic_load(&sa->next));
}

// lease_end tells, once for a lease, that nothing is left.
void lease_end(struct worker *w, struct evg_sa *sa) {
	if (!atomic_load(&sa->end_told) && !atomic_exchange(&sa->end_told, true))
		tell_sa(w, sa, EVG_LEASE_END, atomic_load(&sa->next));
}
