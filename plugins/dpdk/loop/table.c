//go:build dpdk

// How SAs are found. Workers read these tables while one thread changes them: what
// it changes is one pointer, and what it takes out stays as it is until no worker
// can be looking at it.

#include <errno.h>
#include <stdlib.h>

#include <rte_hash_crc.h>

#include "internal.h"

static uint32_t spi_bucket(rte_be32_t spi) {
	return (uint32_t)((spi * 0x9e3779b97f4a7c15ull) >> 48) % SPI_BUCKETS;
}

// inbound_find returns the SA of an ESP packet by its SPI and destination (RFC 4301
// section 4.1), NULL for none.
struct evg_sa *inbound_find(struct evg_plane *p, rte_be32_t spi, const struct header *h) {
	struct evg_sa *sa = atomic_load_explicit(&p->by_spi[spi_bucket(spi)], memory_order_acquire);
	for (; sa != NULL; sa = atomic_load_explicit(&sa->next_in, memory_order_acquire)) {
		if (sa->spi != spi || sa->direction != EVG_IN)
			continue;
		const struct evg_path *path = &atomic_load_explicit(&sa->outer, memory_order_acquire)->path;
		if (path->local.v6 == h->v6 && same16(path->local.b, h->dst))
			return sa;
	}
	return NULL;
}

// outbound_find returns the SA that sends with an SPI between the ends of a packet
// of ours that somebody quotes, NULL for none.
struct evg_sa *outbound_find(struct evg_plane *p, rte_be32_t spi, const struct header *q) {
	size_t octets = q->v6 ? 16 : 4;
	struct evg_sa *sa = atomic_load_explicit(&p->by_spi[spi_bucket(spi)], memory_order_acquire);
	for (; sa != NULL; sa = atomic_load_explicit(&sa->next_in, memory_order_acquire)) {
		const struct evg_path *path = &atomic_load_explicit(&sa->outer, memory_order_acquire)->path;
		if (sa->spi == spi && sa->direction == EVG_OUT && path->local.v6 == q->v6 &&
		    memcmp(path->local.b, q->src, octets) == 0 && memcmp(path->remote.b, q->dst, octets) == 0)
			return sa;
	}
	return NULL;
}

void evg_spi_add(struct evg_plane *p, struct evg_sa *sa) {
	_Atomic(struct evg_sa *) *head = &p->by_spi[spi_bucket(sa->spi)];
	atomic_store(&sa->next_in, atomic_load(head));
	atomic_store(head, sa);
}

void evg_spi_remove(struct evg_plane *p, struct evg_sa *sa) {
	_Atomic(struct evg_sa *) *at = &p->by_spi[spi_bucket(sa->spi)];
	for (struct evg_sa *x = atomic_load(at); x != NULL; at = &x->next_in, x = atomic_load(at)) {
		if (x == sa) {
			atomic_store(at, atomic_load(&sa->next_in));
			return;
		}
	}
}

static uint32_t policy_bucket(const struct evg_prefix *x) {
	uint64_t words[2];
	memcpy(words, x->addr, sizeof words);
	uint32_t h = rte_hash_crc_8byte(words[0], (uint32_t)x->v6 << 8 | x->bits);
	return rte_hash_crc_8byte(words[1], h) % POLICY_BUCKETS;
}

static bool same_prefix(const struct evg_prefix *a, const struct evg_prefix *b) {
	uint64_t x[2], y[2]; // by hand, because this is for each packet
	memcpy(x, a->addr, sizeof x);
	memcpy(y, b->addr, sizeof y);
	return x[0] == y[0] && x[1] == y[1] && a->bits == b->bits && a->v6 == b->v6;
}

static struct policy *prefix_find(struct evg_plane *p, const struct evg_prefix *x) {
	struct policy *y = atomic_load_explicit(&p->policies[policy_bucket(x)], memory_order_acquire);
	while (y != NULL && !same_prefix(&y->prefix, x))
		y = atomic_load_explicit(&y->next, memory_order_acquire);
	return y;
}

// leading is a word, as it is in memory, whose first bits of 64 are ones.
static uint64_t leading(int bits) {
	return bits <= 0 ? 0 : rte_cpu_to_be_64(bits >= 64 ? ~0ull : ~(~0ull >> bits));
}

static void mask(struct evg_prefix *x, bool v6, uint8_t bits, const uint8_t *addr) {
	uint64_t words[2];
	memcpy(&words[0], addr, 8);
	memcpy(&words[1], addr + 8, 8);
	words[0] &= leading(bits);
	words[1] &= leading(bits - 64);
	x->v6 = v6;
	x->bits = bits;
	memcpy(x->addr, &words[0], 8);
	memcpy(x->addr + 8, &words[1], 8);
}

static struct evg_sa *select_from(const struct sa_list *l, const struct header *h) {
	for (uint32_t i = 0; i < l->n; i++) {
		struct evg_desc *d = atomic_load_explicit(&l->sa[i]->desc, memory_order_acquire);
		if (selects(d->selectors, d->n_local, h->src, h->v6, h->proto, h->src_port, h->has_ports) &&
		    selects(d->selectors + d->n_local, d->n_remote, h->dst, h->v6, h->proto, h->dst_port, h->has_ports))
			return l->sa[i];
	}
	return NULL;
}

// policy_find returns the SA for a packet: of the longest prefix that has one for
// it, the newest; NULL for none.
struct evg_sa *policy_find(struct evg_plane *p, const struct header *h) {
	for (int word = 2; word >= 0; word--) {
		uint64_t lengths = atomic_load_explicit(&p->lengths[h->v6][word], memory_order_acquire);
		while (lengths != 0) {
			int bit = 63 - __builtin_clzll(lengths);
			lengths &= ~(1ull << bit);
			struct evg_prefix x;
			mask(&x, h->v6, (uint8_t)(word * 64 + bit), h->dst);
			struct policy *found = prefix_find(p, &x);
			struct sa_list *l = found ? atomic_load_explicit(&found->sas, memory_order_acquire) : NULL;
			struct evg_sa *sa = l ? select_from(l, h) : NULL;
			if (sa != NULL)
				return sa;
		}
	}
	return NULL;
}

// policies_changed makes turns that begin later forget what they know of flows. What
// was found before the change is not used after it: a turn asks for the version before
// it looks anything up, and SAs that were taken out are freed after a drain.
void policies_changed(struct evg_plane *p) {
	atomic_fetch_add(&p->version, 1);
}

static void count_length(struct evg_plane *p, const struct evg_prefix *x, int by) {
	uint32_t *n = &p->of_length[x->v6][x->bits];
	*n += (uint32_t)by;
	uint64_t bit = 1ull << x->bits % 64;
	if (*n > 0)
		atomic_fetch_or(&p->lengths[x->v6][x->bits / 64], bit);
	else
		atomic_fetch_and(&p->lengths[x->v6][x->bits / 64], ~bit);
}

int evg_policy_add(struct evg_plane *p, const struct evg_prefix *prefix, struct evg_sa *sa) {
	struct evg_prefix x;
	mask(&x, prefix->v6, prefix->bits, prefix->addr);
	struct policy *y = prefix_find(p, &x);
	struct sa_list *old = y ? atomic_load(&y->sas) : NULL, *new = list_with(old, sa);
	if (new == NULL)
		return -ENOMEM;
	if (y != NULL) {
		atomic_store(&y->sas, new);
		policies_changed(p);
		retire(p, old);
		return 0;
	}
	if ((y = calloc(1, sizeof *y)) == NULL) {
		free(new);
		return -ENOMEM;
	}
	y->prefix = x;
	atomic_store(&y->sas, new);
	_Atomic(struct policy *) *head = &p->policies[policy_bucket(&x)];
	atomic_store(&y->next, atomic_load(head));
	atomic_store(head, y);
	count_length(p, &x, 1);
	policies_changed(p);
	return 0;
}

int evg_policy_remove(struct evg_plane *p, const struct evg_prefix *prefix, struct evg_sa *sa) {
	struct evg_prefix x;
	mask(&x, prefix->v6, prefix->bits, prefix->addr);
	struct policy *y = prefix_find(p, &x);
	if (y == NULL)
		return 0;
	struct sa_list *old = atomic_load(&y->sas), *new = list_without(old, sa);
	if (new == NULL)
		return -ENOMEM;
	atomic_store(&y->sas, new);
	policies_changed(p);
	retire(p, old);
	if (new->n > 0)
		return 0;
	_Atomic(struct policy *) *at = &p->policies[policy_bucket(&x)];
	for (struct policy *z = atomic_load(at); z != NULL; at = &z->next, z = atomic_load(at)) {
		if (z == y) {
			atomic_store(at, atomic_load(&y->next));
			break;
		}
	}
	count_length(p, &x, -1);
	retire(p, new);
	retire(p, y);
	return 0;
}

void evg_link_set(struct evg_plane *p, uint32_t member, struct evg_sa *sa) {
	atomic_store(&p->links[member], sa);
}

// is_ours tells whether a packet is for one of our addresses.
bool is_ours(struct evg_plane *p, const struct header *h) {
	const struct address_set *s = atomic_load_explicit(&p->addresses, memory_order_acquire);
	for (uint32_t i = 0; i < s->n; i++) {
		if (s->a[i].v6 == h->v6 && same16(s->a[i].b, h->dst))
			return true;
	}
	return false;
}

// list_with returns a new list that has sa in its place, newest first.
struct sa_list *list_with(const struct sa_list *l, struct evg_sa *sa) {
	uint32_t n = l ? l->n : 0, at = 0;
	struct sa_list *new = malloc(sizeof *new + (n + 1) * sizeof new->sa[0]);
	if (new == NULL)
		return NULL;
	while (at < n && l->sa[at]->serial > sa->serial)
		at++;
	new->n = n + 1;
	for (uint32_t i = 0; i < n; i++)
		new->sa[i < at ? i : i + 1] = l->sa[i];
	new->sa[at] = sa;
	return new;
}

// list_without returns a new list that lacks sa.
struct sa_list *list_without(const struct sa_list *l, const struct evg_sa *sa) {
	uint32_t n = l ? l->n : 0;
	struct sa_list *new = malloc(sizeof *new + n * sizeof new->sa[0]);
	if (new == NULL)
		return NULL;
	new->n = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (l->sa[i] != sa)
			new->sa[new->n++] = l->sa[i];
	}
	return new;
}
