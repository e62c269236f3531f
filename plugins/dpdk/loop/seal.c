//go:build dpdk

// Outbound packets: which SA, and ESP in tunnel mode (RFC 4303 section 3.3).

#include <errno.h>

#include "internal.h"

// MAX_COUNTER is the last packet counter that fits into an explicit IV, below the
// bits of member and boot.
#define MAX_COUNTER ((1ull << 40) - 1)

#define ASSUMED_MTU 1500
#define MIN_IPV6_MTU 1280

static uint32_t mtu_or_assumed(struct evg_sa *sa) {
	uint32_t mtu = mtu_known(sa);
	return mtu ? mtu : ASSUMED_MTU;
}

// room is the largest inner packet that fits mtu octets of outer packet.
static uint32_t room(const struct evg_desc *d, const struct outer *outer, uint32_t mtu) {
	uint32_t around = outer->around + MIN_ESP + d->c.iv_len + d->c.icv_len;
	if (mtu < around + d->align)
		return 0;
	return (mtu - around) / d->align * d->align - 2;
}

// leaves_whole tells whether an outer packet may not be fragmented.
static bool leaves_whole(const struct evg_desc *d, const struct out_packet *o) {
	return d->df == 1 || (d->df == 0 && o->df);
}

// fits decides whether a packet leaves whole, which its df says then, and whether it
// may leave at all (RFC 4301 section 8.1). IPv6 promises 1280 octets to everyone, so
// where a path with the overhead of the tunnel has less, the outer packet is fragmented
// (RFC 2473 section 7.1).
static bool fits(struct out_packet *o, uint32_t most) {
	if (!o->df || o->len <= most)
		return true;
	if (!o->v6 || o->len > MIN_IPV6_MTU)
		return false;
	o->df = false;
	return true;
}

static void free_from(struct out_packet *o, uint32_t from, uint32_t n) {
	for (uint32_t i = from; i < n; i++)
		rte_pktmbuf_free(o[i].m);
}

// size_up says of packets whether they leave whole, and returns the length of the longest.
static uint32_t size_up(const struct evg_desc *d, struct out_packet *o, uint32_t n) {
	uint32_t octets = 0;
	for (uint32_t i = 0; i < n; i++) {
		octets = RTE_MAX(octets, o[i].len);
		o[i].df = leaves_whole(d, &o[i]);
	}
	return octets;
}

// pass_fitting drops what does not fit the path, tells its senders, and moves the
// rest together. It returns how many are left.
static uint32_t pass_fitting(struct worker *w, struct evg_sa *sa, const struct evg_desc *d, const struct outer *outer, struct out_packet *o, uint32_t n, uint32_t *largest) {
	uint32_t kept = 0, most = room(d, outer, mtu_or_assumed(sa));
	*largest = 0;
	for (uint32_t i = 0; i < n; i++) {
		bool passes = fits(&o[i], most);
		if (!passes && mtu_age(w, sa)) {
			most = room(d, outer, mtu_or_assumed(sa));
			tell_sa(w, sa, EVG_MTU_CHANGED, mtu_known(sa));
			passes = fits(&o[i], most);
		}
		if (!passes) {
			drop(sa, EVG_DROP_TOO_BIG, 1);
			too_big(w, &o[i], most);
			rte_pktmbuf_free(o[i].m);
			continue;
		}
		*largest = RTE_MAX(*largest, o[i].len);
		if (kept != i)
			o[kept] = o[i];
		kept++;
	}
	return kept;
}

// grant takes sequence numbers and IVs for up to n packets, and drops those that
// get none. It returns how many got some.
static uint32_t grant(struct worker *w, struct evg_sa *sa, struct out_packet *o, uint32_t n, uint32_t largest, uint64_t *seq, uint64_t *counter) {
	uint32_t allowed = allowance(sa, n, largest, 0, 0);
	drop(sa, EVG_DROP_LIFETIME, n - allowed);
	free_from(o, allowed, n);
	uint32_t got = allowed > 0 ? reserve(sa, allowed, seq) : 0;
	*counter = atomic_fetch_add(&sa->iv_counter, got);
	if (got > 0 && *counter + got - 1 > MAX_COUNTER) {
		free_from(o, 0, got);
		drop(sa, EVG_DROP_CEILING, got);
		free_from(o, got, allowed);
		drop(sa, EVG_DROP_CEILING, allowed - got);
		lease_end(w, sa);
		return 0;
	}
	if (got < allowed) {
		drop(sa, EVG_DROP_CEILING, allowed - got);
		free_from(o, got, allowed);
		lease_end(w, sa);
	}
	return got;
}

// may_inline tells whether the card of a path's port encrypts packets that all fit it:
// it would see no whole packet of what leaves in fragments.
static bool may_inline(const struct evg_desc *d, const struct outer *outer) {
	return d->inlined.session != NULL && d->inlined.port == outer->path.port;
}

// leave puts frames into the queue of their port, whole or in pieces of mtu octets, and
// counts them. fit says that all of them are whole, inlined that a card is still to
// encrypt them.
static void leave(struct worker *w, struct evg_sa *sa, const struct evg_desc *d, const struct outer *outer, const struct out_packet *o, uint32_t n, uint32_t mtu, bool fit, bool inlined) {
	uint64_t sent = 0, bytes = 0;
	bool unfinished = !inlined && outer_unfinished(outer);
	for (uint32_t i = 0; i < n; i++) {
		struct rte_mbuf *m = o[i].m;
		if (inlined ? !security_hand_over(&d->inlined, m, outer->around) : w->lane.status[i] != 0) {
			drop(sa, !inlined && w->lane.status[i] == EIO ? EVG_DROP_QUEUE : EVG_DROP_MALFORMED, 1);
			rte_pktmbuf_free(m);
			continue;
		}
		if (unfinished)
			outer_finish(rte_pktmbuf_mtod(m, uint8_t *));
		sent++;
		bytes += o[i].len;
		if (fit || m->data_len - sizeof(struct rte_ether_hdr) <= mtu)
			to_wire(w, outer->path.port, m, sa);
		else
			to_wire_in_pieces(w, &outer->path, m, sa, mtu);
	}
	if (sent > 0)
		account(w, sa, sent, bytes);
	lease_low(w, sa);
}

// seal_run encrypts packets of one active SA and puts them into the queue of its
// port.
static void seal_run(struct worker *w, struct out_packet *o, uint32_t n) {
	struct evg_sa *sa = o[0].sa;
	struct evg_desc *d = atomic_load_explicit(&sa->desc, memory_order_acquire);
	const struct outer *outer = atomic_load_explicit(&sa->outer, memory_order_acquire);
	uint64_t seq = 0, counter = 0;
	if (!outer->path.resolved) {
		drop(sa, EVG_DROP_QUEUE, n);
		count_n(w, EVG_STAT_NO_NEIGHBOUR, n);
		free_from(o, 0, n);
		return;
	}
	uint32_t largest = size_up(d, o, n);
	if (largest > room(d, outer, mtu_or_assumed(sa)))
		n = pass_fitting(w, sa, d, outer, o, n, &largest);
	n = grant(w, sa, o, n, largest, &seq, &counter);
	n = frame_all(w, sa, d, outer, o, n, seq, counter);
	if (n == 0)
		return;
	uint32_t mtu = mtu_or_assumed(sa);
	bool fit = largest <= room(d, outer, mtu), inlined = fit && may_inline(d, outer);
	if (inlined)
		count_n(w, EVG_STAT_CARD_OUT, n);
	else
		crypto_run(&w->lane, &d->c, n, true);
	leave(w, sa, d, outer, o, n, mtu, fit, inlined);
}

// missing is choose's for a packet that came over no port: its SA is still to be found.
static struct evg_sa *missing(struct worker *w, const struct out_packet *o) {
	struct header h;
	if (!parse_header(&h, rte_pktmbuf_mtod(o->m, uint8_t *), o->len))
		return NULL; // not so: it was read when it was taken
	struct evg_sa *sa = sender_find(w, &h);
	if (sa != NULL)
		return sa;
	if (o->from != NULL) {
		drop(o->from, EVG_DROP_SELECTOR, 1);
		return NULL;
	}
	count(w, EVG_STAT_NO_SA);
	acquire(w, &h);
	return NULL;
}

// choose finds the SA that sends a packet. NULL means that none does; then it is
// counted.
static struct evg_sa *choose(struct worker *w, const struct out_packet *o) {
	struct evg_sa *sa = o->sa ? o->sa : missing(w, o), *link;
	if (sa == NULL)
		return NULL;
	if (!is_active(sa) && !knock(w, sa)) {
		if (o->from != NULL) { // nothing is put on a link again
			drop(o->from, EVG_DROP_STANDBY, 1);
			return NULL;
		}
		link = atomic_load(&w->p->links[atomic_load(&sa->group) % MAX_GROUPS]);
		if (link == NULL)
			drop(sa, EVG_DROP_STANDBY, 1);
		else
			atomic_fetch_add(&sa->relayed, 1);
		return link;
	}
	if (o->from != NULL)
		account(w, o->from, 1, o->len);
	return sa;
}

// choose_all finds the SAs of what is in w->out, and moves together what has one. What
// was found for a packet of an active SA is so for those of the same SA behind it.
static uint32_t choose_all(struct worker *w) {
	const struct evg_sa *active = NULL;
	uint32_t n = 0;
	for (uint32_t i = 0; i < w->n_out; i++) {
		struct out_packet *o = &w->out[i];
		if (o->sa == NULL || o->sa != active || o->from != NULL) {
			struct evg_sa *asked = o->sa;
			o->sa = choose(w, o);
			active = o->sa == asked ? asked : NULL;
		}
		if (o->sa == NULL)
			rte_pktmbuf_free(o->m);
		else if (n++ != i)
			w->out[n - 1] = *o;
	}
	w->n_out = 0;
	return n;
}

// send_all encrypts what is in w->out, in runs of one SA.
void send_all(struct worker *w) {
	uint32_t n = choose_all(w);
	for (uint32_t start = 0, end; start < n; start = end) {
		for (end = start + 1; end < n && w->out[end].sa == w->out[start].sa;)
			end++;
		seal_run(w, w->out + start, end - start);
	}
}
