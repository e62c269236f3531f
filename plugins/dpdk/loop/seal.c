//go:build dpdk

// Outbound packets: which SA, and ESP in tunnel mode (RFC 4303 section 3.3).

#include "internal.h"

// MAX_COUNTER is the last packet counter that fits into an explicit IV, below the
// bits of member and boot.
#define MAX_COUNTER ((1ull << 40) - 1)

#define ASSUMED_MTU 1500
#define MIN_IPV6_MTU 1280

static uint32_t outer_len(const struct evg_path *path) {
	return (path->local.v6 ? sizeof(struct rte_ipv6_hdr) : sizeof(struct rte_ipv4_hdr)) + (path->local_port != 0 ? sizeof(struct rte_udp_hdr) : 0);
}

// room is the largest inner packet that fits mtu octets of outer packet.
static uint32_t room(const struct evg_desc *d, const struct evg_path *path, uint32_t mtu) {
	uint32_t around = outer_len(path) + MIN_ESP + d->c.iv_len + d->c.icv_len;
	if (mtu < around + d->align)
		return 0;
	return (mtu - around) / d->align * d->align - 2;
}

// fits decides whether a packet leaves whole, and whether it may leave at all (RFC
// 4301 section 8.1). IPv6 promises 1280 octets to everyone, so where a path with the
// overhead of the tunnel has less, the outer packet is fragmented (RFC 2473 section
// 7.1).
static bool fits(const struct evg_desc *d, const struct header *h, uint32_t most, bool *whole) {
	*whole = d->df == 1 || (d->df == 0 && h->df);
	if (!*whole || h->len <= most)
		return true;
	*whole = false;
	return h->v6 && h->len <= MIN_IPV6_MTU;
}

static void free_from(struct out_packet *o, uint32_t from, uint32_t n) {
	for (uint32_t i = from; i < n; i++)
		rte_pktmbuf_free(o[i].m);
}

// PADDING: "the first padding octet [...] is numbered 1, with subsequent padding
// octets making up a monotonically increasing sequence" RFC 4303 section 2.4.
static const uint8_t PADDING[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

// put_iv fills in the explicit IV and what the cipher starts with.
static void put_iv(const struct evg_desc *d, uint8_t *explicit, uint8_t *iv, uint64_t counter) {
	rte_be64_t unique = rte_cpu_to_be_64(d->iv_prefix | counter);
	uint64_t none = 0;
	if (d->c.encryption == ENCR_AES_CBC) {
		memcpy(explicit, &unique, 8);
		memcpy(explicit + 8, &none, 8);
		memset(iv, 0, 16);
	} else if (d->c.iv_len == 8) {
		rte_be32_t block = RTE_BE32(1); // the block counter of AES-CTR; AEADs make their own
		memcpy(explicit, &unique, 8);
		memcpy(iv, d->salt, 4);
		memcpy(iv + 4, &unique, 8);
		memcpy(iv + 12, &block, 4);
	}
}

// frame_esp makes room around an inner packet and fills in what ESP puts there
// (RFC 4303 section 2). It returns false when the packet's memory is too short.
static bool frame_esp(struct evg_sa *sa, const struct evg_desc *d, struct out_packet *o, struct job *j, uint64_t seq, uint64_t counter) {
	struct rte_mbuf *m = o->m; // of one segment; what is behind the packet is padding of the link
	uint32_t pad = -(o->h.len + 2) & (d->align - 1u), front = MIN_ESP + d->c.iv_len, body = front + o->h.len + pad + 2;
	if (m->data_off < front || m->data_off - front + body + d->c.icv_len + 4 > m->buf_len || o->h.len + sizeof PADDING > (uint32_t)(m->buf_len - m->data_off))
		return false;
	m->data_off = (uint16_t)(m->data_off - front);
	m->data_len = (uint16_t)(body + d->c.icv_len);
	m->pkt_len = m->data_len;
	uint8_t *esp = rte_pktmbuf_mtod(m, uint8_t *), *tail = esp + front + o->h.len;
	memcpy(tail, PADDING, sizeof PADDING); // all of it, as that is one store
	tail[pad] = (uint8_t)pad;
	tail[pad + 1] = o->h.v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
	rte_be32_t low = rte_cpu_to_be_32((uint32_t)seq), high = rte_cpu_to_be_32((uint32_t)(seq >> 32));
	memcpy(esp, &sa->spi, 4);
	memcpy(esp + 4, &low, 4);
	put_iv(d, esp + MIN_ESP, j->iv, counter);
	put_aad(d, j->aad, sa->spi, seq);
	j->m = m;
	j->esp = esp;
	j->len = body;
	j->digest = esp + body;
	if (d->c.esn && !d->c.aead) {
		// "the high-order 32 bits [...] are included in the ICV computation
		// [...] appended after the Next Header field" RFC 4303 section 2.2.1.
		memcpy(esp + body, &high, 4);
		j->len += 4;
	}
	return true;
}

static uint8_t outer_tos(const struct evg_desc *d, uint8_t inner) {
	return d->hide_dscp ? (uint8_t)(d->dscp << 2 | (inner & 3)) : inner;
}

static uint32_t be32_of(const uint8_t *b) {
	rte_be32_t x;
	memcpy(&x, b, 4);
	return rte_be_to_cpu_32(x);
}

// put_ipv4 makes the header word by word, so that its checksum is that of registers
// and waits for no memory.
static void put_ipv4(uint8_t *p, const struct evg_path *path, uint32_t len, uint8_t tos, bool whole, uint16_t id) {
	uint32_t proto = path->local_port ? IPPROTO_UDP : IPPROTO_ESP;
	uint32_t words[5] = {
		0x45u << 24 | (uint32_t)tos << 16 | len, (uint32_t)id << 16 | (whole ? RTE_IPV4_HDR_DF_FLAG : 0),
		64u << 24 | proto << 16, be32_of(path->local.b), be32_of(path->remote.b),
	};
	uint32_t sum = 0;
	for (int i = 0; i < 5; i++)
		sum += (words[i] >> 16) + (words[i] & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	words[2] |= ~sum & 0xffff;
	for (int i = 0; i < 5; i++) {
		rte_be32_t be = rte_cpu_to_be_32(words[i]);
		memcpy(p + 4 * i, &be, 4);
	}
}

static void put_ipv6(uint8_t *p, const struct evg_path *path, uint32_t len, uint8_t tos) {
	struct rte_ipv6_hdr ip = {
		.vtc_flow = rte_cpu_to_be_32(6u << 28 | (uint32_t)tos << 20),
		.payload_len = rte_cpu_to_be_16((uint16_t)(len - sizeof ip)),
		.proto = path->local_port ? IPPROTO_UDP : IPPROTO_ESP, .hop_limits = 64,
	};
	memcpy(ip.src_addr, path->local.b, 16);
	memcpy(ip.dst_addr, path->remote.b, 16);
	memcpy(p, &ip, sizeof ip);
}

// wrap puts the outer headers before an ESP packet; false where there is no room.
//
// "IPv4 UDP Checksum SHOULD be transmitted as a zero value" RFC 3948 section 2.1;
// of IPv6 it must be right.
static bool wrap(struct worker *w, const struct evg_path *path, struct rte_mbuf *m, uint8_t tos, bool whole) {
	uint32_t esp = m->data_len, around = outer_len(path);
	uint8_t *p = (uint8_t *)rte_pktmbuf_prepend(m, (uint16_t)(around + sizeof(struct rte_ether_hdr)));
	if (p == NULL)
		return false;
	struct rte_ether_hdr *l2 = (struct rte_ether_hdr *)p;
	memcpy(&l2->dst_addr, path->mac, 6);
	l2->src_addr = w->p->ports[path->port].mac;
	l2->ether_type = rte_cpu_to_be_16(path->local.v6 ? RTE_ETHER_TYPE_IPV6 : RTE_ETHER_TYPE_IPV4);
	uint8_t *ip = p + sizeof *l2;
	if (path->local.v6)
		put_ipv6(ip, path, around + esp, tos);
	else
		put_ipv4(ip, path, around + esp, tos, whole, w->ip_id++);
	if (path->local_port == 0)
		return true;
	struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(ip + around - sizeof *udp);
	*udp = (struct rte_udp_hdr){
		.src_port = rte_cpu_to_be_16(path->local_port), .dst_port = rte_cpu_to_be_16(path->remote_port),
		.dgram_len = rte_cpu_to_be_16((uint16_t)(esp + sizeof *udp)),
	};
	if (path->local.v6)
		udp->dgram_cksum = rte_ipv6_udptcp_cksum((struct rte_ipv6_hdr *)ip, udp);
	return true;
}

// pass_fitting drops what does not fit the path, tells its senders, and moves the
// rest together. It returns how many are left.
static uint32_t pass_fitting(struct worker *w, struct evg_sa *sa, const struct evg_desc *d, const struct evg_path *path, struct out_packet *o, uint32_t n, bool *whole, uint32_t *largest) {
	uint32_t mtu = mtu_known(sa, path), kept = 0;
	uint32_t most = room(d, path, mtu ? mtu : ASSUMED_MTU);
	for (uint32_t i = 0; i < n; i++) {
		if (!fits(d, &o[i].h, most, &whole[kept]) && mtu_age(w, sa)) {
			mtu = mtu_known(sa, path);
			most = room(d, path, mtu ? mtu : ASSUMED_MTU);
			tell_sa(w, sa, EVG_MTU_CHANGED, mtu);
		}
		if (!fits(d, &o[i].h, most, &whole[kept])) {
			drop(sa, EVG_DROP_TOO_BIG, 1);
			too_big(w, &o[i], most);
			rte_pktmbuf_free(o[i].m);
			continue;
		}
		*largest = RTE_MAX(*largest, o[i].h.len);
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

// may_inline tells whether the card of a path's port encrypts packets of up to largest
// octets: not where their fragments leave, as the card would see no whole packet.
static bool may_inline(const struct evg_desc *d, const struct evg_path *path, uint32_t largest, uint32_t mtu) {
	return d->inlined.session != NULL && d->inlined.port == path->port && largest <= room(d, path, mtu);
}

// seal_run encrypts packets of one active SA and puts them into the queue of its
// port.
void seal_run(struct worker *w, struct out_packet *o, uint32_t n) {
	struct evg_sa *sa = o[0].sa;
	struct evg_desc *d = atomic_load_explicit(&sa->desc, memory_order_acquire);
	const struct evg_path *path = atomic_load_explicit(&sa->path, memory_order_acquire);
	bool whole[BURST + 1];
	uint64_t seq = 0, counter = 0, bytes = 0;
	uint32_t largest = 0;
	if (!path->resolved) {
		drop(sa, EVG_DROP_QUEUE, n);
		count_n(w, EVG_STAT_NO_NEIGHBOUR, n);
		free_from(o, 0, n);
		return;
	}
	n = pass_fitting(w, sa, d, path, o, n, whole, &largest);
	n = grant(w, sa, o, n, largest, &seq, &counter);
	uint32_t ready = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (!frame_esp(sa, d, &o[i], &w->lane.jobs[ready], seq + i, counter + i)) {
			drop(sa, EVG_DROP_MALFORMED, 1);
			rte_pktmbuf_free(o[i].m);
			continue;
		}
		whole[ready] = whole[i];
		if (ready != i)
			o[ready] = o[i];
		ready++;
	}
	if (ready == 0)
		return;
	uint32_t mtu = mtu_known(sa, path);
	uint64_t sent = 0;
	if (mtu == 0)
		mtu = ASSUMED_MTU;
	bool inlined = may_inline(d, path, largest, mtu);
	if (inlined)
		count_n(w, EVG_STAT_CARD_OUT, ready);
	else
		crypto_run(&w->lane, &d->c, ready, true);
	for (uint32_t i = 0; i < ready; i++) {
		if ((!inlined && w->lane.status[i] != 0) || !wrap(w, path, o[i].m, outer_tos(d, o[i].h.tos), whole[i]) ||
		    (inlined && !security_hand_over(&d->inlined, o[i].m, outer_len(path)))) {
			drop(sa, EVG_DROP_MALFORMED, 1);
			rte_pktmbuf_free(o[i].m);
			continue;
		}
		sent++;
		bytes += o[i].h.len;
		if (o[i].m->data_len - sizeof(struct rte_ether_hdr) <= mtu)
			to_wire(w, path->port, o[i].m, sa);
		else
			to_wire_in_pieces(w, path, o[i].m, sa, mtu);
	}
	if (sent > 0)
		account(w, sa, sent, bytes);
	lease_low(w, sa);
}

// choose finds the SA that sends a packet. NULL means that none does; then it is
// counted.
static struct evg_sa *choose(struct worker *w, struct out_packet *o) {
	struct evg_sa *sa = o->sa ? o->sa : sender_find(w, &o->h), *link;
	if (sa == NULL) {
		if (o->from != NULL) {
			drop(o->from, EVG_DROP_SELECTOR, 1);
			return NULL;
		}
		count(w, EVG_STAT_NO_SA);
		acquire(w, &o->h);
		return NULL;
	}
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
		account(w, o->from, 1, o->h.len);
	return sa;
}

// send_all encrypts what is in w->out, in runs of one SA.
void send_all(struct worker *w) {
	uint32_t n = 0;
	for (uint32_t i = 0; i < w->n_out; i++) {
		w->out[i].sa = choose(w, &w->out[i]);
		if (w->out[i].sa == NULL)
			rte_pktmbuf_free(w->out[i].m);
		else if (n++ != i)
			w->out[n - 1] = w->out[i];
	}
	w->n_out = 0;
	for (uint32_t start = 0, end; start < n; start = end) {
		for (end = start + 1; end < n && w->out[end].sa == w->out[start].sa;)
			end++;
		seal_run(w, w->out + start, end - start);
	}
}
