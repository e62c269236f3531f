// Ports of net_null that play packets, as Go sees them. Errors are negative errno
// values.
#ifndef BENCH_STAMP_H
#define BENCH_STAMP_H

#include <stdint.h>

// STAMP_FLOWS is how many heads take turns, STAMP_OCTETS how long each is.
#define STAMP_FLOWS 64
#define STAMP_OCTETS 42

struct stamp;

int stamp_address(const char *device, uint8_t mac[6]);
struct stamp *stamp_start(const char *device, const uint8_t *heads, int *err);
void stamp_stop(struct stamp *s);
void stamp_free(struct stamp *s);

#endif
