//go:build dpdk

// What is put around inner packets: ESP (RFC 4303 section 2), and before it the headers
// of UDP (RFC 3948 section 2.1), of IP and of the link. What all packets of an SA have
// alike is made when its path is set.

#include "internal.h"

static uint32_t be32_of(const uint8_t *b) {
	rte_be32_t x;
	memcpy(&x, b, 4);
	return rte_be_to_cpu_32(x);
}

static void put_be16(uint8_t *p, uint32_t x) {
	rte_be16_t be = rte_cpu_to_be_16((uint16_t)x);
	memcpy(p, &be, sizeof be);
}

static void put_be32(uint8_t *p, uint32_t x) {
	rte_be32_t be = rte_cpu_to_be_32(x);
	memcpy(p, &be, sizeof be);
}

// ip4_init leaves out what outer_put fills in, which sum has nothing of.
static void ip4_init(struct outer *o, uint8_t *ip, uint8_t proto) {
	ip[0] = 0x45;
	ip[8] = 64;
	ip[9] = proto;
	memcpy(ip + 12, o->path.local.b, 4);
	memcpy(ip + 16, o->path.remote.b, 4);
	for (int i = 0; i < 20; i += 4)
		o->sum += (be32_of(ip + i) >> 16) + (be32_of(ip + i) & 0xffff);
}

static void ip6_init(const struct outer *o, uint8_t *ip, uint8_t proto) {
	ip[0] = 0x60;
	ip[6] = proto;
	ip[7] = 64;
	memcpy(ip + 8, o->path.local.b, 16);
	memcpy(ip + 24, o->path.remote.b, 16);
}

// outer_init makes headers that leave by a port with the address from.
//
// "IPv4 UDP Checksum SHOULD be transmitted as a zero value" RFC 3948 section 2.1.
void outer_init(struct outer *o, const struct evg_path *path, const struct rte_ether_addr *from, rte_be32_t spi) {
	bool v6 = path->local.v6, udp = path->local_port != 0;
	uint32_t ip = v6 ? sizeof(struct rte_ipv6_hdr) : sizeof(struct rte_ipv4_hdr);
	*o = (struct outer){.path = *path, .around = ip + (udp ? (uint32_t)sizeof(struct rte_udp_hdr) : 0)};
	uint8_t *l2 = o->head, *l3 = l2 + sizeof(struct rte_ether_hdr);
	memcpy(l3 + o->around, &spi, sizeof spi);
	memcpy(l2, path->mac, RTE_ETHER_ADDR_LEN);
	memcpy(l2 + RTE_ETHER_ADDR_LEN, from->addr_bytes, RTE_ETHER_ADDR_LEN);
	put_be16(l2 + 2 * RTE_ETHER_ADDR_LEN, v6 ? RTE_ETHER_TYPE_IPV6 : RTE_ETHER_TYPE_IPV4);
	if (v6)
		ip6_init(o, l3, udp ? IPPROTO_UDP : IPPROTO_ESP);
	else
		ip4_init(o, l3, udp ? IPPROTO_UDP : IPPROTO_ESP);
	if (udp) {
		put_be16(l3 + ip, path->local_port);
		put_be16(l3 + ip + 2, path->remote_port);
	}
}

// row is what frames of one SA have alike, read once: stores to packets have a compiler
// read memory anew. Whether IP is version 6 and UDP is there is known where it is used.
struct row {
	const uint8_t *head;
	uint32_t around, sum; // as in struct outer
	uint32_t front, icv, align;
	uint64_t iv_prefix;
	uint32_t salt;
	rte_be32_t spi;
	bool cbc, iv, esn, aead, v6, udp;
	uint8_t tos, inner_tos; // what is set, and what is left of the inner one
};

static struct row row_of(const struct evg_sa *sa, const struct evg_desc *d, const struct outer *o) {
	struct row r = {
		.head = o->head, .around = o->around, .sum = o->sum, .front = MIN_ESP + d->c.iv_len, .icv = d->c.icv_len,
		.align = d->align, .iv_prefix = d->iv_prefix, .spi = sa->spi, .cbc = d->c.encryption == ENCR_AES_CBC,
		.iv = d->c.iv_len == 8, .esn = d->c.esn, .aead = d->c.aead, .v6 = o->path.local.v6, .udp = o->path.local_port != 0,
		.tos = d->hide_dscp ? (uint8_t)(d->dscp << 2) : 0, .inner_tos = d->hide_dscp ? 3 : 0xff,
	};
	memcpy(&r.salt, d->salt, sizeof r.salt);
	return r;
}

// finish_ip4 writes the first 12 octets of the header from registers: its checksum
// waits for no memory then.
static inline void finish_ip4(const struct row *r, uint8_t *ip, uint32_t len, uint8_t tos, bool whole, uint16_t id) {
	uint32_t df = whole ? RTE_IPV4_HDR_DF_FLAG : 0, sum = r->sum + tos + len + id + df;
	rte_be64_t first = rte_cpu_to_be_64(0x45ull << 56 | (uint64_t)tos << 48 | (uint64_t)len << 32 | (uint64_t)id << 16 | df);
	memcpy(ip, &first, sizeof first);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	put_be16(ip + 10, ~sum);
}

// outer_put writes all that stands before the sequence number of an ESP packet of len
// octets. What never changes is copied in a length that is a constant where this is
// used, for which compilers have a few instructions.
static inline __attribute__((always_inline)) void outer_put(const struct row *r, bool v6, bool udp, uint8_t *frame, uint32_t len, uint8_t tos, bool whole, uint16_t id) {
	uint8_t *ip = frame + sizeof(struct rte_ether_hdr);
	memcpy(frame, r->head, v6 ? (udp ? OUTER6_UDP : OUTER6) : (udp ? OUTER4_UDP : OUTER4));
	if (v6) {
		put_be32(ip, 6u << 28 | (uint32_t)tos << 20);
		put_be16(ip + 4, r->around - (uint32_t)sizeof(struct rte_ipv6_hdr) + len);
	} else {
		finish_ip4(r, ip, r->around + len, tos, whole, id);
	}
	if (udp)
		put_be16(ip + r->around - 4, (uint32_t)sizeof(struct rte_udp_hdr) + len);
}

// outer_unfinished tells whether something of the headers depends on ciphertext: the
// checksum of UDP, which IPv6 cannot do without.
bool outer_unfinished(const struct outer *o) {
	return o->path.local.v6 && o->path.local_port != 0;
}

// outer_finish fills that in.
void outer_finish(uint8_t *frame) {
	struct rte_ipv6_hdr *ip = (struct rte_ipv6_hdr *)(frame + sizeof(struct rte_ether_hdr));
	struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(ip + 1);
	udp->dgram_cksum = rte_ipv6_udptcp_cksum(ip, udp);
}

// PADDING: "the first padding octet [...] is numbered 1, with subsequent padding
// octets making up a monotonically increasing sequence" RFC 4303 section 2.4.
static const uint8_t PADDING[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

// put_iv fills in the explicit IV and what the cipher starts with.
static inline void put_iv(const struct row *r, uint8_t *explicit, uint8_t *iv, uint64_t counter) {
	rte_be64_t unique = rte_cpu_to_be_64(r->iv_prefix | counter);
	uint64_t none = 0;
	if (r->cbc) {
		memcpy(explicit, &unique, 8);
		memcpy(explicit + 8, &none, 8);
		memset(iv, 0, 16);
	} else if (r->iv) {
		rte_be32_t block = RTE_BE32(1); // the block counter of AES-CTR; AEADs make their own
		memcpy(explicit, &unique, 8);
		memcpy(iv, &r->salt, 4);
		memcpy(iv + 4, &unique, 8);
		memcpy(iv + 12, &block, 4);
	}
}

// frame puts all headers before an inner packet, and behind it what ESP has there (RFC
// 4303 section 2): packets are whole but for their encryption, so that little is left
// to do after that, when caches hold what was encrypted. It returns false when the
// packet's memory is too short.
static inline __attribute__((always_inline)) bool frame(const struct row *r, bool v6, bool udp, const struct out_packet *o, struct job *j, uint64_t seq, uint64_t counter, uint16_t id) {
	struct rte_mbuf *m = o->m; // of one segment; what is behind the packet is padding of the link
	uint32_t pad = -(o->len + 2) & (r->align - 1u), body = r->front + o->len + pad + 2, esp_len = body + r->icv;
	uint32_t before = r->front + (uint32_t)sizeof(struct rte_ether_hdr) + r->around, at = m->data_off, end = m->buf_len;
	if (at < before || at - r->front + esp_len + 4 > end || at + o->len + sizeof PADDING > end)
		return false;
	uint8_t *inner = (uint8_t *)m->buf_addr + at, *esp = inner - r->front, *tail = inner + o->len;
	m->data_off = (uint16_t)(at - before);
	m->data_len = (uint16_t)(before - r->front + esp_len);
	m->pkt_len = before - r->front + esp_len;
	memcpy(tail, PADDING, sizeof PADDING); // all of it, as that is one store
	tail[pad] = (uint8_t)pad;
	tail[pad + 1] = o->v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
	outer_put(r, v6, udp, inner - before, esp_len, r->tos | (o->tos & r->inner_tos), o->df, id);
	rte_be32_t low = rte_cpu_to_be_32((uint32_t)seq), high = rte_cpu_to_be_32((uint32_t)(seq >> 32));
	memcpy(esp + 4, &low, 4);
	put_iv(r, esp + MIN_ESP, j->iv, counter);
	put_aad(r->esn, j->aad, r->spi, low, high);
	j->m = m;
	j->esp = esp;
	j->len = body;
	j->digest = esp + body;
	if (r->esn && !r->aead) {
		// "the high-order 32 bits [...] are included in the ICV computation
		// [...] appended after the Next Header field" RFC 4303 section 2.2.1.
		memcpy(esp + body, &high, 4);
		j->len += 4;
	}
	return true;
}

// frame_each is frame_all for one kind of headers.
static inline __attribute__((always_inline)) uint32_t frame_each(struct worker *w, struct evg_sa *sa, const struct row *r, bool v6, bool udp, struct out_packet *o, uint32_t n, uint64_t seq, uint64_t counter) {
	uint32_t ready = 0;
	uint16_t id = w->ip_id;
	for (uint32_t i = 0; i < n; i++) {
		if (!frame(r, v6, udp, &o[i], &w->lane.jobs[ready], seq + i, counter + i, id++)) {
			drop(sa, EVG_DROP_MALFORMED, 1);
			rte_pktmbuf_free(o[i].m);
			continue;
		}
		if (ready != i)
			o[ready] = o[i];
		ready++;
	}
	w->ip_id = id;
	return ready;
}

// frame_all makes frames and jobs of packets that have their numbers, drops those that
// have no room, and moves the rest together. It returns how many are left.
uint32_t frame_all(struct worker *w, struct evg_sa *sa, const struct evg_desc *d, const struct outer *outer, struct out_packet *o, uint32_t n, uint64_t seq, uint64_t counter) {
	const struct row r = row_of(sa, d, outer);
	if (r.v6)
		return r.udp ? frame_each(w, sa, &r, true, true, o, n, seq, counter) : frame_each(w, sa, &r, true, false, o, n, seq, counter);
	return r.udp ? frame_each(w, sa, &r, false, true, o, n, seq, counter) : frame_each(w, sa, &r, false, false, o, n, seq, counter);
}
