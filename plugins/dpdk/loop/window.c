//go:build dpdk

// The anti-replay window (RFC 4303 section 3.4.3), as a ring of bits after RFC 6479.

#include <stdlib.h>

#include "internal.h"

bool window_init(struct window *w, uint32_t size) {
	rte_spinlock_init(&w->lock);
	w->size = size;
	w->words = 2;
	while (w->words * 64 < size + 64)
		w->words *= 2;
	w->bits = calloc(w->words, sizeof *w->bits);
	return w->bits != NULL;
}

static uint64_t *word(const struct window *w, uint64_t n) {
	return &w->bits[(n / 64) & (w->words - 1)];
}

static bool seen(const struct window *w, uint64_t n) {
	return *word(w, n) >> (n % 64) & 1;
}

// advance moves the right edge to n, and forgets the words that come into use anew.
static void advance(struct window *w, uint64_t n) {
	uint64_t fresh = n / 64 - w->highest / 64;
	for (uint64_t i = 1; i <= fresh && i <= w->words; i++)
		*word(w, (w->highest / 64 + i) * 64) = 0;
	w->highest = n;
}

// window_infer finds the number of a packet from its low order half (RFC 4303
// appendix A2.2); false for one that cannot be.
bool window_infer(const struct window *w, uint32_t low, bool esn, uint64_t *seq) {
	if (!esn) {
		*seq = low;
		return true;
	}
	uint32_t top = (uint32_t)w->highest, bottom = top - w->size + 1;
	uint64_t high = w->highest >> 32;
	if (top >= w->size - 1) {
		if (low < bottom)
			high++;
		if (high >> 32)
			return false;
	} else if (low >= bottom) {
		if (high == 0)
			return false;
		high--;
	}
	*seq = high << 32 | low;
	return true;
}

bool window_fresh(const struct window *w, uint64_t seq) {
	if (seq > w->highest)
		return true;
	if (seq == 0 || w->highest - seq >= w->size)
		return false;
	return !seen(w, seq);
}

// window_accept marks a number; false when it was there before.
bool window_accept(struct window *w, uint64_t seq) {
	if (!window_fresh(w, seq))
		return false;
	if (seq > w->highest)
		advance(w, seq);
	*word(w, seq) |= 1ull << (seq % 64);
	return true;
}

// window_import adds what another window has received: bit i stands for highest-i,
// and what lies beyond the bitmap counts as received.
void window_import(struct window *w, uint64_t highest, const uint8_t *bitmap, uint32_t octets) {
	if (highest == 0)
		return;
	if (highest > w->highest)
		advance(w, highest);
	for (uint64_t i = 0; i < w->size && i < w->highest; i++) {
		uint64_t n = w->highest - i;
		if (n > highest)
			continue;
		uint64_t bit = highest - n;
		if (bit / 8 >= octets || bitmap[bit / 8] >> (bit % 8) & 1)
			*word(w, n) |= 1ull << (n % 64);
	}
}
