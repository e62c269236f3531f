// KNI, the kernel's end of a port in DPDK 19.08, as a device that cannot be made.
#ifndef EVG_COMPAT_KNI_H
#define EVG_COMPAT_KNI_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#define RTE_KNI_NAMESIZE 16

struct rte_kni;

struct rte_kni_conf {
	char name[RTE_KNI_NAMESIZE];
	uint32_t core_id, mbuf_size;
	uint16_t group_id, mtu;
	uint8_t force_bind, mac_addr[6];
	struct rte_pci_addr addr;
	struct rte_pci_id id;
};

struct rte_kni_ops {
	uint16_t port_id;
	int (*change_mtu)(uint16_t port, unsigned mtu);
	int (*config_network_if)(uint16_t port, uint8_t up);
	int (*config_mac_address)(uint16_t port, uint8_t mac[]);
	int (*config_promiscusity)(uint16_t port, uint8_t on);
};

#define rte_kni_init(n) (-ENOTSUP)
#define rte_kni_alloc(pool, conf, ops) ((void)(pool), (void)(conf), (void)(ops), (struct rte_kni *)NULL)
#define rte_kni_release(kni) ((void)(kni), -ENOTSUP)
#define rte_kni_handle_request(kni) ((void)(kni), -ENOTSUP)
#define rte_kni_rx_burst(kni, packets, n) ((void)(kni), (void)(packets), 0)
#define rte_kni_tx_burst(kni, packets, n) ((void)(kni), (void)(packets), 0)

#endif
