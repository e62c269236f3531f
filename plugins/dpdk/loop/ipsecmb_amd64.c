//go:build dpdk

// IPsec-MB, the library behind crypto_aesni_gcm and crypto_aesni_mb, called without
// their drivers between. Those make three calls of it for each packet with AES-GCM; with
// AES-CBC they hand in packets one by one, where it takes a burst of one key at once.

#include <errno.h>
#include <stdlib.h>

#include <intel-ipsec-mb.h>

#include "internal.h"

#define HASH_BLOCK 128 // the longest: that of SHA-384 and SHA-512
#define HASH_STATE 64

// ipsecmb is what one thread needs to call the library.
struct ipsecmb {
	IMB_MGR *manager;
	IMB_JOB jobs[BURST];
	uint8_t tags[BURST][64];
};

// ipsecmb_key is what the library makes of the keys of one SA.
struct ipsecmb_key {
	alignas(64) struct gcm_key_data gcm; // of AES-GCM
	alignas(16) uint32_t forth[60], back[60]; // of AES-CBC
	alignas(16) uint8_t inner[HASH_STATE], outer[HASH_STATE]; // of HMAC
	IMB_HASH_ALG hash;
	uint16_t octets; // of the cipher's key
};

int ipsecmb_open(struct ipsecmb **mb) {
	struct ipsecmb *x = calloc(1, sizeof *x);
	if (x == NULL)
		return -ENOMEM;
	x->manager = alloc_mb_mgr(0);
	if (x->manager == NULL) {
		free(x);
		return -ENOMEM;
	}
	init_mb_mgr_auto(x->manager, NULL);
	*mb = x;
	return 0;
}

void ipsecmb_close(struct ipsecmb *mb) {
	if (mb == NULL)
		return;
	free_mb_mgr(mb->manager);
	wipe(mb, sizeof *mb);
	free(mb);
}

static void expand_gcm(const IMB_MGR *m, const struct evg_transform *t, struct ipsecmb_key *k) {
	switch (t->key_len) {
	case IMB_KEY_128_BYTES:
		IMB_AES128_GCM_PRE(m, t->key, &k->gcm);
		break;
	case IMB_KEY_192_BYTES:
		IMB_AES192_GCM_PRE(m, t->key, &k->gcm);
		break;
	default:
		IMB_AES256_GCM_PRE(m, t->key, &k->gcm);
	}
}

static void expand_cbc(const IMB_MGR *m, const struct evg_transform *t, struct ipsecmb_key *k) {
	switch (t->key_len) {
	case IMB_KEY_128_BYTES:
		IMB_AES_KEYEXP_128(m, t->key, k->forth, k->back);
		break;
	case IMB_KEY_192_BYTES:
		IMB_AES_KEYEXP_192(m, t->key, k->forth, k->back);
		break;
	default:
		IMB_AES_KEYEXP_256(m, t->key, k->forth, k->back);
	}
}

// hash_block starts a hash with one block.
static void hash_block(const IMB_MGR *m, uint16_t integrity, const uint8_t block[HASH_BLOCK], uint8_t *state) {
	switch (integrity) {
	case AUTH_SHA1:
		IMB_SHA1_ONE_BLOCK(m, block, state);
		break;
	case AUTH_SHA256:
		IMB_SHA256_ONE_BLOCK(m, block, state);
		break;
	case AUTH_SHA384:
		IMB_SHA384_ONE_BLOCK(m, block, state);
		break;
	default:
		IMB_SHA512_ONE_BLOCK(m, block, state);
	}
}

// expand_hmac keeps what both hashes of HMAC begin with (RFC 2104 section 4). Keys are
// no longer than a block.
static void expand_hmac(const IMB_MGR *m, const struct evg_transform *t, struct ipsecmb_key *k) {
	uint8_t block[HASH_BLOCK];
	for (int i = 0; i < HASH_BLOCK; i++)
		block[i] = (uint8_t)((i < t->auth_len ? t->auth[i] : 0) ^ 0x36);
	hash_block(m, t->integrity, block, k->inner);
	for (int i = 0; i < HASH_BLOCK; i++)
		block[i] ^= 0x36 ^ 0x5c;
	hash_block(m, t->integrity, block, k->outer);
	wipe(block, sizeof block);
}

// hash_of is the library's name of an HMAC, 0 for none that we ask it for.
static IMB_HASH_ALG hash_of(uint16_t integrity) {
	switch (integrity) {
	case AUTH_SHA1:
		return IMB_AUTH_HMAC_SHA_1;
	case AUTH_SHA256:
		return IMB_AUTH_HMAC_SHA_256;
	case AUTH_SHA384:
		return IMB_AUTH_HMAC_SHA_384;
	case AUTH_SHA512:
		return IMB_AUTH_HMAC_SHA_512;
	default:
		return 0;
	}
}

// ipsecmb_does tells whether the driver of a cryptodev is one of this library's, and
// the transform one that is faster without it.
bool ipsecmb_does(const char *driver, const struct evg_transform *t) {
	if (strcmp(driver, "crypto_aesni_gcm") != 0 && strcmp(driver, "crypto_aesni_mb") != 0)
		return false;
	switch (t->encryption) {
	case ENCR_GCM8:
	case ENCR_GCM12:
	case ENCR_GCM16:
		return true;
	case ENCR_AES_CBC:
		return hash_of(t->integrity) != 0;
	default:
		return false;
	}
}

// ipsecmb_key_new expands keys; NULL when there is no memory.
struct ipsecmb_key *ipsecmb_key_new(struct ipsecmb *mb, const struct evg_transform *t) {
	struct ipsecmb_key *k = aligned_alloc(alignof(struct ipsecmb_key), sizeof *k);
	if (k == NULL)
		return NULL;
	memset(k, 0, sizeof *k);
	k->octets = t->key_len;
	if (t->encryption == ENCR_AES_CBC) {
		k->hash = hash_of(t->integrity);
		expand_cbc(mb->manager, t, k);
		expand_hmac(mb->manager, t, k);
	} else {
		expand_gcm(mb->manager, t, k);
	}
	return k;
}

void ipsecmb_key_free(struct ipsecmb_key *k) {
	if (k == NULL)
		return;
	wipe(k, sizeof *k);
	free(k);
}

static aes_gcm_enc_dec_t gcm_of(const IMB_MGR *m, uint16_t octets, bool out) {
	switch (octets) {
	case IMB_KEY_128_BYTES:
		return out ? m->gcm128_enc : m->gcm128_dec;
	case IMB_KEY_192_BYTES:
		return out ? m->gcm192_enc : m->gcm192_dec;
	default:
		return out ? m->gcm256_enc : m->gcm256_dec;
	}
}

// tag_matches takes as long wherever tags differ.
static bool tag_matches(const uint8_t *a, const uint8_t *b, uint32_t n) {
	uint8_t differ = 0;
	for (uint32_t i = 0; i < n; i++)
		differ |= a[i] ^ b[i];
	return differ == 0;
}

static void gcm_run(struct ipsecmb *mb, struct lane *l, const struct cipher *c, uint32_t n, bool out) {
	aes_gcm_enc_dec_t run = gcm_of(mb->manager, c->direct->octets, out);
	uint32_t aad = c->esn ? 12 : 8;
	struct gcm_context_data context;
	for (uint32_t i = 0; i < n; i++) {
		struct job *j = &l->jobs[i];
		uint8_t *base, *tag = out ? j->digest : mb->tags[i];
		uint32_t len = span(c, j, &base);
		run(&c->direct->gcm, &context, base, base, len, j->iv, j->aad, aad, tag, c->icv_len);
		l->status[i] = out || tag_matches(tag, j->digest, c->icv_len) ? 0 : EBADMSG;
	}
	wipe(&context, sizeof context); // it has a block of the key stream
}

// hash_all makes tags of the first n jobs, where they belong or, of what arrived, next
// to them. Jobs of the library have where each begins.
static bool hash_all(struct ipsecmb *mb, struct lane *l, const struct cipher *c, uint32_t n, bool out) {
	for (uint32_t i = 0; i < n; i++) {
		IMB_JOB *x = &mb->jobs[i];
		x->src = l->jobs[i].esp;
		x->hash_start_src_offset_in_bytes = 0;
		x->msg_len_to_hash_in_bytes = l->jobs[i].len;
		x->u.HMAC._hashed_auth_key_xor_ipad = c->direct->inner;
		x->u.HMAC._hashed_auth_key_xor_opad = c->direct->outer;
		x->auth_tag_output = out ? l->jobs[i].digest : mb->tags[i];
		x->auth_tag_output_len_in_bytes = c->icv_len;
	}
	return IMB_SUBMIT_HASH_BURST_NOCHECK(mb->manager, mb->jobs, n, c->direct->hash) == n;
}

static void put_cbc(struct ipsecmb *mb, uint32_t at, const struct cipher *c, const struct job *j, bool out) {
	IMB_JOB *x = &mb->jobs[at];
	uint32_t head = cipher_head(c, out);
	x->src = j->esp;
	x->dst = j->esp + head;
	x->cipher_start_src_offset_in_bytes = head;
	x->msg_len_to_cipher_in_bytes = j->len - head - cipher_tail(c);
	x->iv = j->iv;
	x->iv_len_in_bytes = 16;
	x->enc_keys = c->direct->forth;
	x->dec_keys = c->direct->back;
	x->key_len_in_bytes = c->direct->octets;
}

static bool cbc_all(struct ipsecmb *mb, const struct cipher *c, uint32_t n, IMB_CIPHER_DIRECTION way) {
	return IMB_SUBMIT_CIPHER_BURST_NOCHECK(mb->manager, mb->jobs, n, IMB_CIPHER_CBC, way, c->direct->octets) == n;
}

// fail leaves nothing to be sent or believed.
static void fail(struct lane *l, uint32_t n) {
	for (uint32_t i = 0; i < n; i++)
		l->status[i] = EIO;
}

// cbc_seal encrypts, then authenticates (RFC 4303 section 3.3.2).
static void cbc_seal(struct ipsecmb *mb, struct lane *l, const struct cipher *c, uint32_t n) {
	for (uint32_t i = 0; i < n; i++)
		put_cbc(mb, i, c, &l->jobs[i], true);
	memset(l->status, 0, n * sizeof *l->status);
	if (!cbc_all(mb, c, n, IMB_DIR_ENCRYPT) || !hash_all(mb, l, c, n, true))
		fail(l, n);
}

// cbc_open decrypts what is authentic, nothing else.
static void cbc_open(struct ipsecmb *mb, struct lane *l, const struct cipher *c, uint32_t n) {
	uint32_t good = 0;
	if (!hash_all(mb, l, c, n, false)) {
		fail(l, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		bool authentic = tag_matches(mb->tags[i], l->jobs[i].digest, c->icv_len);
		l->status[i] = authentic ? 0 : EBADMSG;
		if (authentic)
			put_cbc(mb, good++, c, &l->jobs[i], false);
	}
	if (good > 0 && !cbc_all(mb, c, good, IMB_DIR_DECRYPT))
		fail(l, n);
}

// ipsecmb_run is crypto_run for ciphers with keys of this library.
void ipsecmb_run(struct ipsecmb *mb, struct lane *l, const struct cipher *c, uint32_t n, bool out) {
	if (c->aead)
		gcm_run(mb, l, c, n, out);
	else if (out)
		cbc_seal(mb, l, c, n);
	else
		cbc_open(mb, l, c, n);
}
