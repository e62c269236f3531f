//go:build dpdk

// Inbound ESP packets, in the order of RFC 4303 section 3.4.

#include <errno.h>

#include "internal.h"

// prepare fills in the job of a packet with a plausible number; spare is for an ICV
// that has to make room. False means that it cannot be ESP of this SA.
static bool prepare(const struct evg_desc *d, struct evg_sa *sa, struct in_packet *in, struct job *j, uint8_t spare[64]) {
	uint32_t around = MIN_ESP + d->c.iv_len + d->c.icv_len;
	if (in->len < around + 2 || (d->c.encryption == ENCR_AES_CBC && (in->len - around) % 16 != 0))
		return false;
	j->m = in->m;
	j->esp = in->esp;
	j->len = in->len - d->c.icv_len;
	j->digest = in->esp + j->len;
	if (d->c.encryption == ENCR_AES_CBC) {
		memcpy(j->iv, in->esp + MIN_ESP, 16);
	} else if (d->c.iv_len == 8) {
		rte_be32_t block = RTE_BE32(1);
		memcpy(j->iv, d->salt, 4);
		memcpy(j->iv + 4, in->esp + MIN_ESP, 8);
		memcpy(j->iv + 12, &block, 4);
	}
	rte_be32_t low = rte_cpu_to_be_32((uint32_t)in->seq), high = rte_cpu_to_be_32((uint32_t)(in->seq >> 32));
	put_aad(d->c.esn, j->aad, sa->spi, low, high);
	if (d->c.esn && !d->c.aead) {
		memcpy(spare, j->digest, d->c.icv_len);
		memcpy(j->digest, &high, 4); // where the ICV was
		j->digest = spare;
		j->len += 4;
	}
	return true;
}

// check_source reports a peer whose authentic packets come from elsewhere, once for
// a place (RFC 7296 section 2.23). sa->window.lock is held.
static void check_source(struct worker *w, struct evg_sa *sa, const struct in_packet *in) {
	const struct evg_path *path = &atomic_load(&sa->outer)->path;
	if (in->from_port == 0 || path->local_port == 0 || (in->from_port == path->remote_port && same_addr(&in->from, &path->remote)))
		return;
	if (sa->moved_port == in->from_port && same_addr(&sa->moved_to, &in->from))
		return;
	sa->moved_port = in->from_port;
	sa->moved_to = in->from;
	struct evg_event e = {.kind = EVG_PEER_MOVED, .serial = sa->serial, .remote = in->from, .remote_port = in->from_port};
	tell(w->p, &e);
}

// unpad finds the inner packet; false where the padding is not that of RFC 4303
// section 2.4.
static bool unpad(const struct evg_desc *d, const struct in_packet *in, uint8_t **inner, uint32_t *len, uint8_t *next) {
	uint8_t *p = in->esp + MIN_ESP + d->c.iv_len;
	uint32_t n = in->len - MIN_ESP - d->c.iv_len - d->c.icv_len;
	uint32_t pad = p[n - 2];
	*next = p[n - 1];
	if (pad + 2 > n)
		return false;
	for (uint32_t i = 0; i < pad; i++) {
		if (p[n - 2 - pad + i] != (uint8_t)(i + 1))
			return false;
	}
	*inner = p;
	*len = n - 2 - pad;
	return true;
}

// relay carries on what another member sent over a link.
static void relay(struct worker *w, struct in_packet *in, uint8_t *inner, const struct header *h) {
	struct rte_mbuf *m = in->m;
	rte_pktmbuf_adj(m, (uint16_t)(inner - rte_pktmbuf_mtod(m, uint8_t *)));
	rte_pktmbuf_trim(m, (uint16_t)(m->data_len - h->len));
	w->out[w->n_out++] = (struct out_packet){.m = m, .from = in->sa, .len = h->len, .tos = h->tos, .v6 = h->v6, .df = h->df}; // its SA is still to be found
	in->m = NULL;
}

// deliver gives an authentic packet to the port that leads to its destination, to the
// host, or puts it onto its way to another peer. It returns the octets that count, or a reason to drop it below 0.
static int64_t deliver(struct worker *w, const struct evg_desc *d, struct in_packet *in) {
	uint8_t *inner, next;
	uint32_t len;
	struct header h;
	if (!unpad(d, in, &inner, &len, &next))
		return -1 - EVG_DROP_MALFORMED;
	if (next == IPPROTO_NONE)
		return 0; // a dummy packet (RFC 4303 section 2.6)
	if ((next != IPPROTO_IPIP && next != IPPROTO_IPV6) || !parse_header(&h, inner, len) || h.v6 != (next == IPPROTO_IPV6))
		return -1 - EVG_DROP_MALFORMED;
	if (!d->link && (!selects(d->selectors + d->n_local, d->n_remote, h.src, h.v6, h.proto, h.src_port, h.has_ports) ||
			 !selects(d->selectors, d->n_local, h.dst, h.v6, h.proto, h.dst_port, h.has_ports)))
		return -1 - EVG_DROP_SELECTOR;
	if (!inner_ecn(inner, in->tos))
		return -1 - EVG_DROP_MALFORMED;
	if (d->link) {
		relay(w, in, inner, &h);
		return -1 - EVG_DROPS; // counted by whoever carries it on
	}
	if (pass_on(w, in->m, inner, &h))
		in->m = NULL;
	else
		to_tun(w, inner, h.len);
	return h.len;
}

// admit makes jobs of the packets that may be new; others are dropped. The window's
// lock is held.
static uint32_t admit(struct worker *w, struct evg_sa *sa, const struct evg_desc *d, struct in_packet *in, uint32_t n) {
	uint32_t ready = 0;
	uint64_t pending_bytes = 0;
	uint32_t least = MIN_ESP + d->c.iv_len + d->c.icv_len + 2 + d->align;
	for (uint32_t i = 0; i < n; i++) {
		rte_be32_t low;
		memcpy(&low, in[i].esp + 4, 4);
		enum evg_drop why = EVG_DROPS;
		if (allowance(sa, 1, 0, ready, pending_bytes) == 0)
			why = EVG_DROP_LIFETIME;
		else if (!window_infer(&sa->window, rte_be_to_cpu_32(low), d->c.esn, &in[i].seq) || !window_fresh(&sa->window, in[i].seq))
			why = EVG_DROP_REPLAYED;
		else if (!prepare(d, sa, &in[i], &w->lane.jobs[ready], w->lane.digests[ready]))
			why = EVG_DROP_MALFORMED;
		if (why != EVG_DROPS) {
			drop(sa, why, 1);
			rte_pktmbuf_free(in[i].m);
			continue;
		}
		// At least: what padding there is shows after decryption.
		pending_bytes += RTE_MAX(in[i].len, least) - least;
		if (ready != i)
			in[ready] = in[i];
		ready++;
	}
	return ready;
}

// decrypt does what no card did, and leaves 0 in the lane's status of what is
// authentic.
static void decrypt(struct worker *w, const struct evg_desc *d, const struct in_packet *in, uint32_t n) {
	if (!by_card(in[0].m)) {
		crypto_run(&w->lane, &d->c, n, false);
		return;
	}
	count_n(w, EVG_STAT_CARD_IN, n);
	for (uint32_t i = 0; i < n; i++)
		w->lane.status[i] = in[i].m->ol_flags & RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED ? -EBADMSG : 0;
}

// open_run decrypts packets of one SA, all or none of which a card has decrypted.
// Only what is authentic moves the window, wakes a standby or moves the peer.
static void open_run(struct worker *w, struct in_packet *in, uint32_t n) {
	struct evg_sa *sa = in[0].sa;
	struct evg_desc *d = atomic_load_explicit(&sa->desc, memory_order_acquire);
	uint64_t packets = 0, bytes = 0;
	rte_spinlock_lock(&sa->window.lock);
	n = admit(w, sa, d, in, n);
	if (n > 0)
		decrypt(w, d, in, n);
	for (uint32_t i = 0; i < n; i++) {
		bool newest = in[i].seq > sa->window.highest;
		if (w->lane.status[i] != 0) {
			drop(sa, w->lane.status[i] == EIO ? EVG_DROP_QUEUE : EVG_DROP_AUTHENTICATION, 1);
		} else if (!window_accept(&sa->window, in[i].seq)) {
			drop(sa, EVG_DROP_REPLAYED, 1);
		} else {
			if (newest)
				check_source(w, sa, &in[i]);
			if (!is_active(sa))
				knock(w, sa);
			int64_t octets = deliver(w, d, &in[i]);
			if (octets >= 0) {
				packets++;
				bytes += (uint64_t)octets;
			} else if (octets > -1 - EVG_DROPS) {
				drop(sa, (enum evg_drop)(-1 - octets), 1);
			}
		}
		rte_pktmbuf_free(in[i].m);
	}
	rte_spinlock_unlock(&sa->window.lock);
	if (packets > 0)
		account(w, sa, packets, bytes);
}

// open_all decrypts what is in w->in, in runs of one SA.
void open_all(struct worker *w) {
	for (uint32_t start = 0, end; start < w->n_in; start = end) {
		for (end = start + 1; end < w->n_in && w->in[end].sa == w->in[start].sa && by_card(w->in[end].m) == by_card(w->in[start].m);)
			end++;
		open_run(w, w->in + start, end - start);
	}
	w->n_in = 0;
}
