//go:build dpdk

// What devices offer through rte_security, and the sessions that SAs have at ports.
//
// "For INLINE_CRYPTO, the security protocol headers and IV are fully provided by the
// application" (DPDK, RTE_FLOW_ACTION_TYPE_SECURITY): that is what the loop makes, so
// numbers, IVs and windows are its own whether it encrypts or a card does. With
// INLINE_PROTOCOL and LOOKASIDE_PROTOCOL they are the device's; evg_port_offers and
// evg_cryptodev_offers find them, and nobody makes a session of theirs.

#include <errno.h>

#include <rte_errno.h>
#include <rte_flow.h>

#include "internal.h"

#define FLOW_ITEMS 6

// security_open lets SAs have sessions at a port's ctx, NULL for none.
int security_open(struct evg_plane *p, struct port *of, struct rte_security_ctx *ctx) {
	char name[RTE_MEMPOOL_NAMESIZE];
	if (ctx == NULL)
		return 0;
	snprintf(name, sizeof name, "evg%u-port%u", p->serial, of->id);
	of->sessions = rte_mempool_create(name, p->max_sas, rte_security_session_get_size(ctx), 0, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
	if (of->sessions == NULL)
		return -ENOMEM;
	of->security = ctx;
	return 0;
}

static bool within(uint16_t n, const struct rte_crypto_param_range *r) {
	return n >= r->min && n <= r->max && (r->increment == 0 ? n == r->min || n == r->max : (n - r->min) % r->increment == 0);
}

// lists_aead tells whether a list of capabilities has an AEAD. Devices count IV and
// associated data in ways of their own, so these are not compared.
static bool lists_aead(const struct rte_cryptodev_capabilities *c, const struct rte_crypto_aead_xform *x) {
	for (; c != NULL && c->op != RTE_CRYPTO_OP_TYPE_UNDEFINED; c++) {
		const struct rte_cryptodev_symmetric_capability *y = &c->sym;
		if (c->op == RTE_CRYPTO_OP_TYPE_SYMMETRIC && y->xform_type == RTE_CRYPTO_SYM_XFORM_AEAD && y->aead.algo == x->algo &&
		    within(x->key.length, &y->aead.key_size) && within(x->digest_length, &y->aead.digest_size))
			return true;
	}
	return false;
}

// answer_crypto is what a capability of INLINE_CRYPTO answers. Algorithms are AEADs,
// which take the loop's IV as it stands in the packet: in CBC mode that would have to
// be encrypted first. A card has no window that tells the upper half of an extended
// sequence number, and the loop makes and reads the trailer.
static int answer_crypto(const struct rte_security_capability *c, const struct evg_transform *t) {
	struct rte_crypto_sym_xform x[2];
	if (t->encryption < ENCR_GCM8 || !lists_aead(c->crypto_capabilities, &crypto_transforms(t, x)->aead))
		return EVG_LACKS_ALGORITHM;
	if (t->esn || c->ol_flags & (RTE_SECURITY_TX_HW_TRAILER_OFFLOAD | RTE_SECURITY_RX_HW_TRAILER_OFFLOAD))
		return EVG_LACKS_MODE;
	return EVG_OFFERED;
}

static int answer(const struct rte_security_capability *c, uint8_t offload, const struct evg_transform *t, bool udp) {
	static const enum rte_security_session_action_type actions[] = {
		[EVG_INLINE_PROTOCOL] = RTE_SECURITY_ACTION_TYPE_INLINE_PROTOCOL,
		[EVG_LOOKASIDE_PROTOCOL] = RTE_SECURITY_ACTION_TYPE_LOOKASIDE_PROTOCOL,
		[EVG_INLINE_CRYPTO] = RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO,
	};
	enum rte_security_ipsec_sa_direction d = t->direction == EVG_OUT ? RTE_SECURITY_IPSEC_SA_DIR_EGRESS : RTE_SECURITY_IPSEC_SA_DIR_INGRESS;
	if (c->action != actions[offload] || c->protocol != RTE_SECURITY_PROTOCOL_IPSEC ||
	    c->ipsec.proto != RTE_SECURITY_IPSEC_SA_PROTO_ESP || c->ipsec.direction != d)
		return EVG_NOT_OFFERED;
	int first = offload == EVG_INLINE_CRYPTO ? answer_crypto(c, t) : EVG_OFFERED;
	if (first == EVG_OFFERED && (c->ipsec.mode != RTE_SECURITY_IPSEC_SA_MODE_TUNNEL || (udp && !c->ipsec.options.udp_encap)))
		return EVG_LACKS_MODE;
	return first;
}

// best is the best answer of a ctx, NULL for none, and in from, unless that is NULL,
// the capability that gave it.
static int best(struct rte_security_ctx *ctx, uint8_t offload, const struct evg_transform *t, bool udp, const struct rte_security_capability **from) {
	const struct rte_security_capability *c = ctx == NULL ? NULL : rte_security_capabilities_get(ctx);
	int most = EVG_NOT_OFFERED;
	for (; c != NULL && c->action != RTE_SECURITY_ACTION_TYPE_NONE; c++) {
		int a = answer(c, offload, t, udp);
		if (a > most && from != NULL)
			*from = c;
		most = RTE_MAX(most, a);
	}
	return most;
}

int evg_port_offers(struct evg_plane *p, int port, uint8_t offload, const struct evg_transform *t, bool udp) {
	return best(p->ports[port].security, offload, t, udp, NULL);
}

int evg_cryptodev_offers(int dev, uint8_t offload, const struct evg_transform *t, bool udp) {
	return best(rte_cryptodev_get_sec_ctx((uint8_t)dev), offload, t, udp, NULL);
}

// tunnel_of names the ends of a tunnel as packets of its direction do.
static struct rte_security_ipsec_tunnel_param tunnel_of(const struct evg_path *path, bool out) {
	const struct evg_addr *from = out ? &path->local : &path->remote, *to = out ? &path->remote : &path->local;
	struct rte_security_ipsec_tunnel_param t = {.type = to->v6 ? RTE_SECURITY_IPSEC_TUNNEL_IPV6 : RTE_SECURITY_IPSEC_TUNNEL_IPV4};
	if (to->v6) {
		memcpy(&t.ipv6.src_addr, from->b, 16);
		memcpy(&t.ipv6.dst_addr, to->b, 16);
	} else {
		memcpy(&t.ipv4.src_ip, from->b, 4);
		memcpy(&t.ipv4.dst_ip, to->b, 4);
	}
	return t;
}

// steer has a port give inbound packets of an SA to its session.
static struct rte_flow *steer(uint16_t id, void *session, uint32_t spi, const struct evg_path *path) {
	struct rte_flow_item_ipv4 ip4 = {0}, mask4 = {.hdr.dst_addr = UINT32_MAX};
	struct rte_flow_item_ipv6 ip6 = {0}, mask6 = {0};
	struct rte_flow_item_esp esp = {.hdr.spi = rte_cpu_to_be_32(spi)}, mask = {.hdr.spi = UINT32_MAX};
	struct rte_flow_item items[FLOW_ITEMS] = {{.type = RTE_FLOW_ITEM_TYPE_ETH}};
	int n = 1;
	memcpy(&ip4.hdr.dst_addr, path->local.b, 4);
	memcpy(ip6.hdr.dst_addr, path->local.b, 16);
	memset(mask6.hdr.dst_addr, 0xff, 16);
	items[n++] = path->local.v6 ? (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV6, .spec = &ip6, .mask = &mask6}
				    : (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_IPV4, .spec = &ip4, .mask = &mask4};
	if (path->local_port != 0)
		items[n++].type = RTE_FLOW_ITEM_TYPE_UDP;
	items[n++] = (struct rte_flow_item){.type = RTE_FLOW_ITEM_TYPE_ESP, .spec = &esp, .mask = &mask};
	items[n].type = RTE_FLOW_ITEM_TYPE_END;
	struct rte_flow_action_security to = {.security_session = session};
	struct rte_flow_action actions[] = {{.type = RTE_FLOW_ACTION_TYPE_SECURITY, .conf = &to}, {.type = RTE_FLOW_ACTION_TYPE_END}};
	return rte_flow_create(id, &(struct rte_flow_attr){.ingress = 1}, items, actions, NULL);
}

int evg_desc_inline(struct evg_plane *p, struct evg_desc *d, int port, uint32_t spi, const struct evg_transform *t, const struct evg_path *path) {
	struct port *at = &p->ports[port];
	const struct rte_security_capability *c = NULL;
	struct rte_crypto_sym_xform x[2];
	bool out = t->direction == EVG_OUT, udp = path->local_port != 0;
	if (best(at->security, EVG_INLINE_CRYPTO, t, udp, &c) != EVG_OFFERED)
		return -ENOTSUP;
	struct rte_security_session_conf conf = {
		.action_type = RTE_SECURITY_ACTION_TYPE_INLINE_CRYPTO,
		.protocol = RTE_SECURITY_PROTOCOL_IPSEC,
		.ipsec = {
			.spi = spi, .options.udp_encap = udp, .proto = RTE_SECURITY_IPSEC_SA_PROTO_ESP, .mode = RTE_SECURITY_IPSEC_SA_MODE_TUNNEL,
			.direction = out ? RTE_SECURITY_IPSEC_SA_DIR_EGRESS : RTE_SECURITY_IPSEC_SA_DIR_INGRESS,
			.tunnel = tunnel_of(path, out),
		},
		.crypto_xform = crypto_transforms(t, x),
	};
	memcpy(&conf.ipsec.salt, t->salt, sizeof conf.ipsec.salt);
	rte_errno = 0;
	struct inlined y = {.ctx = at->security, .port = (uint16_t)port, .id = at->id, .metadata = c->ol_flags & RTE_SECURITY_TX_OLOAD_NEED_MDATA};
	y.session = rte_security_session_create(at->security, &conf, at->sessions);
	if (y.session == NULL)
		return rte_errno > 0 ? -rte_errno : -EIO;
	if (!out && at->card == NULL && (y.flow = steer(at->id, y.session, spi, path)) == NULL) {
		int err = rte_errno > 0 ? -rte_errno : -EIO;
		security_session_free(&y);
		return err;
	}
	d->inlined = y;
	return 0;
}

void security_session_free(const struct inlined *x) {
	if (x->flow != NULL)
		rte_flow_destroy(x->id, x->flow, NULL);
	if (x->session != NULL)
		rte_security_session_destroy(x->ctx, x->session);
}

// security_hand_over tells the card which session an outbound packet has; l3 is the
// length of the headers between those of the link and of ESP. Metadata is set while
// those of the link are away, as drivers expect. False means that the packet must not
// leave.
bool security_hand_over(const struct inlined *x, struct rte_mbuf *m, uint32_t l3) {
	m->l2_len = 0;
	m->l3_len = l3;
	m->ol_flags |= RTE_MBUF_F_TX_SEC_OFFLOAD;
	if (x->metadata) {
		rte_pktmbuf_adj(m, sizeof(struct rte_ether_hdr));
		if (rte_security_set_pkt_metadata(x->ctx, x->session, m, NULL) != 0)
			return false;
		rte_pktmbuf_prepend(m, sizeof(struct rte_ether_hdr));
	}
	m->l2_len = sizeof(struct rte_ether_hdr);
	return true;
}
