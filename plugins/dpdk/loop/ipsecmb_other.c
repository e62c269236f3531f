//go:build dpdk && !amd64

// Where IPsec-MB does not exist, cryptodevs do all the work.

#include "internal.h"

int ipsecmb_open(struct ipsecmb **mb) {
	*mb = NULL;
	return 0;
}

void ipsecmb_close(struct ipsecmb *mb) {
	(void)mb;
}

bool ipsecmb_does(const char *driver, const struct evg_transform *t) {
	(void)driver, (void)t;
	return false;
}

struct ipsecmb_key *ipsecmb_key_new(struct ipsecmb *mb, const struct evg_transform *t) {
	(void)mb, (void)t;
	return NULL;
}

void ipsecmb_key_free(struct ipsecmb_key *k) {
	(void)k;
}

void ipsecmb_run(struct ipsecmb *mb, struct lane *l, const struct cipher *c, uint32_t n, bool out) {
	(void)mb, (void)l, (void)c, (void)n, (void)out;
}
