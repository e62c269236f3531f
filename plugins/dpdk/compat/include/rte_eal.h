// DPDK's rte_eal.h, for nff-go with all that it needs besides.
#ifdef EVG_LOOP
#include_next <rte_eal.h>
#else
#include <rte_config.h> // DPDK's own flags include it on the command line
#include_next <rte_eal.h>
#include "nffgo.h"
#endif
