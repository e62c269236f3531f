// DPDK's rte_mbuf_core.h, with names for nff-go in struct rte_mbuf.
//
// cgo calls members without a name anon0, anon1 and so on. nff-go writes tx_offload
// as anon5, as which it came in DPDK 19.08: there, three more unions stood before it.
// It also reads timestamp, which is a dynamic field since DPDK 20.11. So unions
// without size stand behind port here, and dynfield1 makes room for a timestamp
// that nobody writes. No member that DPDK knows changes its place.
#ifdef EVG_LOOP
#include_next <rte_mbuf_core.h>
#elif !defined(EVG_COMPAT_MBUF_CORE_H)
#define EVG_COMPAT_MBUF_CORE_H

#define EVG_NO_SIZE(name) __extension__ union { char name[0]; }

#define port port; EVG_NO_SIZE(evg_gap0); EVG_NO_SIZE(evg_gap1); EVG_NO_SIZE(evg_gap2)
#define dynfield1 evg_dynfield_first; uint64_t timestamp; uint32_t evg_dynfield_rest[6]; struct { } dynfield1
#include_next <rte_mbuf_core.h>
#undef port
#undef dynfield1

#define EVG_AT(member, offset) _Static_assert(offsetof(struct rte_mbuf, member) == (offset), #member " is not where DPDK 22.11 has it")
EVG_AT(buf_addr, 0);
EVG_AT(data_off, 16);
EVG_AT(port, 22);
EVG_AT(ol_flags, 24);
EVG_AT(packet_type, 32);
EVG_AT(pkt_len, 36);
EVG_AT(data_len, 40);
EVG_AT(hash, 44);
EVG_AT(buf_len, 54);
EVG_AT(pool, 56);
EVG_AT(next, 64);
EVG_AT(tx_offload, 72);
EVG_AT(shinfo, 80);
EVG_AT(evg_dynfield_first, 92);
EVG_AT(timestamp, 96);
_Static_assert(sizeof(struct rte_mbuf) == 128, "struct rte_mbuf is not that of DPDK 22.11");
#undef EVG_AT

#endif
