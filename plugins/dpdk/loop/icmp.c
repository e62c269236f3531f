//go:build dpdk

// Path MTU discovery: what we say to senders, and what we hear of outer paths.

#include "internal.h"

#define TOO_BIG_RATE 1000  // messages a second
#define TOO_BIG_BURST 100
#define MIN_IPV4_MTU 576
#define MIN_IPV6_MTU 1280
#define QUOTE_IPV4 (576 - 20 - 8)  // RFC 1812 section 4.3.2.3
#define QUOTE_IPV6 (1280 - 40 - 8) // RFC 4443 section 2.4(c)

// allowed takes a token of the rate limit.
//
// "an IPv6 node MUST limit the rate of ICMPv6 error messages it originates." RFC 4443
// section 2.4(f).
static bool allowed(struct worker *w) {
	uint64_t period = SECOND / TOO_BIG_RATE;
	uint64_t fresh = (w->now - w->too_big_last) / period;
	w->too_big_tokens = RTE_MIN(w->too_big_tokens + fresh, (uint64_t)TOO_BIG_BURST);
	w->too_big_last += fresh * period;
	if (w->too_big_tokens == 0)
		return false;
	w->too_big_tokens--;
	return true;
}

// is_icmp_error tells whether a packet is an error message, which none may answer
// (RFC 1122 section 3.2.2, RFC 4443 section 2.4(e)).
static bool is_icmp_error(const struct header *h) {
	uint8_t type = (uint8_t)(h->src_port >> 8);
	if (h->v6)
		return h->proto == IPPROTO_ICMPV6 && h->has_ports && type < 128;
	return h->proto == IPPROTO_ICMP && h->has_ports && (type == 3 || type == 4 || type == 5 || type == 11 || type == 12);
}

static uint16_t checksum(const uint8_t *p, uint32_t n, uint32_t sum) {
	for (uint32_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	if (n % 2 != 0)
		sum += (uint32_t)p[n - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void put16(uint8_t *p, uint32_t v) {
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t put_too_big4(uint8_t *b, const uint8_t *packet, const struct header *h, uint32_t mtu) {
	uint32_t quote = RTE_MIN(h->len, (uint32_t)QUOTE_IPV4), n = 28 + quote;
	memset(b, 0, 28);
	b[0] = 0x45;
	put16(b + 2, n);
	b[8] = 64;
	b[9] = IPPROTO_ICMP;
	memcpy(b + 12, h->dst, 4);
	memcpy(b + 16, h->src, 4);
	put16(b + 10, checksum(b, 20, 0));
	b[20] = 3; // destination unreachable, fragmentation needed (RFC 1191 section 4)
	b[21] = 4;
	put16(b + 26, mtu);
	memcpy(b + 28, packet, quote);
	put16(b + 22, checksum(b + 20, n - 20, 0));
	return n;
}

static uint32_t put_too_big6(uint8_t *b, const uint8_t *packet, const struct header *h, uint32_t mtu) {
	uint32_t quote = RTE_MIN(h->len, (uint32_t)QUOTE_IPV6), n = 48 + quote;
	memset(b, 0, 48);
	b[0] = 0x60;
	put16(b + 4, n - 40);
	b[6] = IPPROTO_ICMPV6;
	b[7] = 64;
	memcpy(b + 8, h->dst, 16);
	memcpy(b + 24, h->src, 16);
	b[40] = 2; // packet too big (RFC 4443 section 3.2)
	put16(b + 44, mtu >> 16);
	put16(b + 46, mtu);
	memcpy(b + 48, packet, quote);
	uint32_t sum = n - 40 + IPPROTO_ICMPV6; // of the pseudo-header
	for (int i = 8; i < 40; i += 2)
		sum += (uint32_t)b[i] << 8 | b[i + 1];
	put16(b + 42, checksum(b + 40, n - 40, sum));
	return n;
}

// too_big tells the sender of a packet what fits into the SA. It speaks as the
// packet's destination: the tunnel has no address of its own.
void too_big(struct worker *w, const struct out_packet *o, uint32_t mtu) {
	uint8_t message[1280];
	struct header h;
	const uint8_t *packet = rte_pktmbuf_mtod(o->m, uint8_t *);
	if (!parse_header(&h, packet, o->len) || is_icmp_error(&h) || h.fragment)
		return;
	if (!allowed(w)) {
		count(w, EVG_STAT_TOO_BIG_LIMITED);
		return;
	}
	uint32_t n = h.v6 ? put_too_big6(message, packet, &h, RTE_MAX(mtu, (uint32_t)MIN_IPV6_MTU)) : put_too_big4(message, packet, &h, mtu);
	to_tun(w, message, n);
	count(w, EVG_STAT_TOO_BIG_SENT);
}

// find_sender finds the outbound SA that a message quotes: ESP, or ESP in UDP, from
// one of our addresses.
static struct evg_sa *find_sender(struct worker *w, const uint8_t *quote, uint32_t len) {
	struct header q;
	memset(&q, 0, sizeof q);
	// What is quoted is cut short, so lengths within it say nothing.
	if (len < 28 || (quote[0] >> 4 == 6 && len < 48))
		return NULL;
	q.v6 = quote[0] >> 4 == 6;
	q.proto = q.v6 ? quote[6] : quote[9];
	q.l4 = q.v6 ? 40 : (uint16_t)((quote[0] & 0xf) * 4);
	memcpy(q.src, quote + (q.v6 ? 8 : 12), q.v6 ? 16 : 4);
	memcpy(q.dst, quote + (q.v6 ? 24 : 16), q.v6 ? 16 : 4);
	uint32_t at = q.l4 + (q.proto == IPPROTO_UDP ? 8u : 0u);
	if ((q.proto != IPPROTO_ESP && q.proto != IPPROTO_UDP) || len < at + 4)
		return NULL;
	rte_be32_t spi;
	memcpy(&spi, quote + at, 4);
	return outbound_find(w->p, spi, &q);
}

// learn_icmp takes an ICMP message to one of our addresses for what it says of the
// path of an SA. It can be forged by anybody who knows an SPI and both addresses,
// so none is believed below the minimum of its IP version (RFC 4301 section 8.2.1).
void learn_icmp(struct worker *w, const uint8_t *ip, const struct header *h) {
	const uint8_t *p = ip + h->l4;
	uint32_t len = h->len - h->l4, mtu;
	if (h->fragment || len < 8)
		return;
	if (!h->v6 && h->proto == IPPROTO_ICMP && p[0] == 3 && p[1] == 4)
		mtu = RTE_MAX((uint32_t)p[6] << 8 | p[7], (uint32_t)MIN_IPV4_MTU);
	else if (h->v6 && h->proto == IPPROTO_ICMPV6 && p[0] == 2)
		mtu = RTE_MAX((uint32_t)p[4] << 24 | (uint32_t)p[5] << 16 | (uint32_t)p[6] << 8 | p[7], (uint32_t)MIN_IPV6_MTU);
	else
		return;
	struct evg_sa *sa = find_sender(w, p + 8, len - 8);
	if (sa == NULL)
		count(w, EVG_STAT_FORGED_ICMP);
	else if (mtu_learn(w, sa, RTE_MIN(mtu, 65535u)))
		tell_sa(w, sa, EVG_MTU_CHANGED, mtu);
}
