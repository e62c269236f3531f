// What nff-go calls by names of DPDK 19.08, in terms of DPDK 22.11.
#ifndef EVG_COMPAT_NFFGO_H
#define EVG_COMPAT_NFFGO_H

#include <rte_bus_pci.h>
#include <rte_ethdev.h>
#include <rte_ip_frag.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_pci.h>
#include <rte_ring.h>

// EAL may run already: the plugin starts it, with its cryptodevs, before nff-go asks
// for it. A result of argc-1 is that all arguments were understood.
static inline int evg_compat_eal_init(int argc, char **argv) {
	return rte_lcore_count() > 0 ? argc - 1 : rte_eal_init(argc, argv);
}
#define rte_eal_init evg_compat_eal_init

// Ethernet devices: the names of DPDK 21.11 and later.
#undef ETH_RSS_RETA_SIZE_512
#undef RTE_RETA_GROUP_SIZE
#undef ETH_MQ_RX_RSS
#undef ETH_MQ_TX_NONE
#undef DEV_RX_OFFLOAD_JUMBO_FRAME
#undef DEV_RX_OFFLOAD_TIMESTAMP
#undef DEV_TX_OFFLOAD_MULTI_SEGS
#undef DEV_TX_OFFLOAD_IPV4_CKSUM
#undef DEV_TX_OFFLOAD_UDP_CKSUM
#undef DEV_TX_OFFLOAD_TCP_CKSUM
#define ETH_RSS_RETA_SIZE_512 RTE_ETH_RSS_RETA_SIZE_512
#define RTE_RETA_GROUP_SIZE RTE_ETH_RETA_GROUP_SIZE
#define ETH_MQ_RX_RSS RTE_ETH_MQ_RX_RSS
#define ETH_MQ_TX_NONE RTE_ETH_MQ_TX_NONE
#define DEV_RX_OFFLOAD_JUMBO_FRAME 0 // follows from the MTU
#define DEV_RX_OFFLOAD_TIMESTAMP RTE_ETH_RX_OFFLOAD_TIMESTAMP
#define DEV_TX_OFFLOAD_MULTI_SEGS RTE_ETH_TX_OFFLOAD_MULTI_SEGS
#define DEV_TX_OFFLOAD_IPV4_CKSUM RTE_ETH_TX_OFFLOAD_IPV4_CKSUM
#define DEV_TX_OFFLOAD_UDP_CKSUM RTE_ETH_TX_OFFLOAD_UDP_CKSUM
#define DEV_TX_OFFLOAD_TCP_CKSUM RTE_ETH_TX_OFFLOAD_TCP_CKSUM
#define rte_eth_dev_count rte_eth_dev_count_avail
#define ipv6_extension_fragment rte_ipv6_fragment_ext

// A port is told its longest frame by nff-go, and its MTU by DPDK 22.11. It is also
// asked for RSS, which virtual devices refuse since then instead of ignoring it.
#define max_rx_pkt_len mtu
static inline int evg_compat_configure(uint16_t port, uint16_t rx, uint16_t tx, const struct rte_eth_conf *asked) {
	struct rte_eth_conf c = *asked;
	struct rte_eth_dev_info info;
	int err = rte_eth_dev_info_get(port, &info);
	if (err != 0)
		return err;
	c.rxmode.mtu -= RTE_MIN(c.rxmode.mtu, (uint32_t)(RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN));
	c.rxmode.mtu = RTE_MIN(c.rxmode.mtu, (uint32_t)info.max_mtu);
	if (rx < 2 || info.flow_type_rss_offloads == 0) {
		c.rxmode.mq_mode = RTE_ETH_MQ_RX_NONE;
		c.rx_adv_conf.rss_conf.rss_hf = 0;
	}
	return rte_eth_dev_configure(port, rx, tx, &c);
}
#define rte_eth_dev_configure evg_compat_configure

// Buses and PCI devices are opaque since DPDK 22.11. Only KNI asks for them.
struct evg_compat_bus {
	const char *name;
};
struct evg_compat_pci_device {
	struct rte_pci_addr addr;
	struct rte_pci_id id;
};
#define rte_bus evg_compat_bus
#define rte_pci_device evg_compat_pci_device
#define rte_bus_find_by_device(device) ((void)(device), (const struct evg_compat_bus *)NULL)
#define RTE_DEV_TO_PCI(device) ((void)(device), (const struct evg_compat_pci_device *)NULL)

// nff-go's Go code works on heads and tails of rings, which stand in unions since
// DPDK 20.05: cgo shows those as octets. This is the same ring without the unions.
struct evg_compat_ring {
	char name[RTE_RING_NAMESIZE] __rte_cache_aligned;
	int flags;
	const struct rte_memzone *memzone;
	uint32_t size, mask, capacity;
	char pad0 __rte_cache_aligned;
	struct rte_ring_headtail prod __rte_cache_aligned;
	char pad1 __rte_cache_aligned;
	struct rte_ring_headtail cons __rte_cache_aligned;
	char pad2 __rte_cache_aligned;
};
#define EVG_SAME(member) _Static_assert(offsetof(struct rte_ring, member) == offsetof(struct evg_compat_ring, member), #member " is not where DPDK 22.11 has it")
EVG_SAME(size);
EVG_SAME(mask);
EVG_SAME(capacity);
EVG_SAME(prod.head);
EVG_SAME(prod.tail);
EVG_SAME(cons.head);
EVG_SAME(cons.tail);
_Static_assert(sizeof(struct rte_ring) == sizeof(struct evg_compat_ring), "struct rte_ring is not that of DPDK 22.11");
#undef EVG_SAME
#define rte_ring evg_compat_ring

// From here on rings of both names meet, and pointers to them are pointers to the
// same thing. The rest is nff-go's own.
#pragma GCC diagnostic ignored "-Wincompatible-pointer-types"
#pragma GCC diagnostic ignored "-Wdiscarded-qualifiers"
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#endif
