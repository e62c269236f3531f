// Cryptodevs that lose operations, as Go sees them. Errors are negative errno values.
#ifndef EVG_LOSING_H
#define EVG_LOSING_H

#include <stdint.h>

struct losing;

struct losing *losing_start(const char *name, uint32_t n, int *err);
void losing_relent(struct losing *l);
uint32_t losing_stop(struct losing *l);

#endif
