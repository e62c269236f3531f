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

// finish_ip4 writes the first 12 octets of the header from registers: its checksum
// waits for no memory then.
static void finish_ip4(const struct outer *o, uint8_t *ip, uint32_t len, uint8_t tos, bool whole, uint16_t id) {
	uint32_t df = whole ? RTE_IPV4_HDR_DF_FLAG : 0, sum = o->sum + tos + len + id + df;
	rte_be64_t first = rte_cpu_to_be_64(0x45ull << 56 | (uint64_t)tos << 48 | (uint64_t)len << 32 | (uint64_t)id << 16 | df);
	memcpy(ip, &first, sizeof first);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	put_be16(ip + 10, ~sum);
}

// put_head copies what never changes. Each length is a constant of its own, for which
// compilers have a few instructions.
static void put_head(const struct outer *o, uint8_t *frame) {
	bool udp = o->path.local_port != 0;
	if (o->path.local.v6)
		udp ? memcpy(frame, o->head, OUTER6_UDP) : memcpy(frame, o->head, OUTER6);
	else
		udp ? memcpy(frame, o->head, OUTER4_UDP) : memcpy(frame, o->head, OUTER4);
}

// outer_put writes all that stands before the sequence number of an ESP packet of len
// octets.
static void outer_put(const struct outer *o, uint8_t *frame, uint32_t len, uint8_t tos, bool whole, uint16_t id) {
	uint8_t *ip = frame + sizeof(struct rte_ether_hdr);
	put_head(o, frame);
	if (o->path.local.v6) {
		put_be32(ip, 6u << 28 | (uint32_t)tos << 20);
		put_be16(ip + 4, o->around - (uint32_t)sizeof(struct rte_ipv6_hdr) + len);
	} else {
		finish_ip4(o, ip, o->around + len, tos, whole, id);
	}
	if (o->path.local_port != 0)
		put_be16(ip + o->around - 4, (uint32_t)sizeof(struct rte_udp_hdr) + len);
}

// outer_finish fills in what depends on ciphertext: the checksum of UDP, which IPv6
// cannot do without.
void outer_finish(const struct outer *o, uint8_t *frame) {
	if (!o->path.local.v6 || o->path.local_port == 0)
		return;
	struct rte_ipv6_hdr *ip = (struct rte_ipv6_hdr *)(frame + sizeof(struct rte_ether_hdr));
	struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(ip + 1);
	udp->dgram_cksum = rte_ipv6_udptcp_cksum(ip, udp);
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

static uint8_t outer_tos(const struct evg_desc *d, uint8_t inner) {
	return d->hide_dscp ? (uint8_t)(d->dscp << 2 | (inner & 3)) : inner;
}

// frame puts all headers before an inner packet, and behind it what ESP has there (RFC
// 4303 section 2): packets are whole but for their encryption, so that little is left
// to do after that, when caches hold what was encrypted. It returns false when the
// packet's memory is too short.
static bool frame(struct worker *w, struct evg_sa *sa, const struct evg_desc *d, const struct outer *outer, const struct out_packet *o, bool whole, struct job *j, uint64_t seq, uint64_t counter) {
	struct rte_mbuf *m = o->m; // of one segment; what is behind the packet is padding of the link
	uint32_t pad = -(o->len + 2) & (d->align - 1u), front = MIN_ESP + d->c.iv_len, body = front + o->len + pad + 2;
	uint32_t before = front + (uint32_t)sizeof(struct rte_ether_hdr) + outer->around, esp_len = body + d->c.icv_len;
	if (m->data_off < before || m->data_off - front + esp_len + 4 > m->buf_len || o->len + sizeof PADDING > (uint32_t)(m->buf_len - m->data_off))
		return false;
	uint8_t *inner = rte_pktmbuf_mtod(m, uint8_t *), *esp = inner - front, *tail = inner + o->len;
	m->data_off = (uint16_t)(m->data_off - before);
	m->data_len = (uint16_t)(before - front + esp_len);
	m->pkt_len = m->data_len;
	memcpy(tail, PADDING, sizeof PADDING); // all of it, as that is one store
	tail[pad] = (uint8_t)pad;
	tail[pad + 1] = o->v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
	outer_put(outer, inner - before, esp_len, outer_tos(d, o->tos), whole, w->ip_id++);
	rte_be32_t low = rte_cpu_to_be_32((uint32_t)seq), high = rte_cpu_to_be_32((uint32_t)(seq >> 32));
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

// frame_all makes frames and jobs of packets that have their numbers, drops those that
// have no room, and moves the rest together. It returns how many are left.
uint32_t frame_all(struct worker *w, struct evg_sa *sa, const struct evg_desc *d, const struct outer *outer, struct out_packet *o, uint32_t n, const bool *whole, uint64_t seq, uint64_t counter) {
	uint32_t ready = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (!frame(w, sa, d, outer, &o[i], whole[i], &w->lane.jobs[ready], seq + i, counter + i)) {
			drop(sa, EVG_DROP_MALFORMED, 1);
			rte_pktmbuf_free(o[i].m);
			continue;
		}
		if (ready != i)
			o[ready] = o[i];
		ready++;
	}
	return ready;
}
