// Ports of net_null that play packets, as Go sees them. Errors are negative errno
// values.
#ifndef BENCH_STAMP_H
#define BENCH_STAMP_H

#include <stdint.h>

// STAMP_FLOWS is how many heads take turns, STAMP_MOST how many octets each has at most.
#define STAMP_FLOWS 64
#define STAMP_MOST 128

struct stamp;

// stamp_head is what packets begin with: octets of each flow, one behind the other.
// Where sealer is not 0, packets are sealed too, from octet esp on.
struct stamp_head {
	const uint8_t *heads;
	uint32_t octets, esp;
	uintptr_t sealer;
};

int stamp_address(const char *device, uint8_t mac[6]);
struct stamp *stamp_start(const char *device, const struct stamp_head *h, int *err);
uint64_t stamp_spent(struct stamp *s);
void stamp_stop(struct stamp *s);
void stamp_free(struct stamp *s);

#endif
