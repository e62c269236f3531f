// DPDK's rte_eal.h, for nff-go with all that it needs besides.
#ifdef EVG_LOOP
#include_next <rte_eal.h>
#elif !defined(EVG_COMPAT_EAL_H)
#define EVG_COMPAT_EAL_H
// What DPDK's own flags say on the command line.
#ifdef __x86_64__
#pragma GCC target("arch=corei7")
#endif
#include <rte_config.h>
#include_next <rte_eal.h>
#include "nffgo.h"
#endif
