/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ring.h - the keys in memory, by the digest of their public half. One that the configuration no longer has stays for a while: sessions that began
 * before finish with the certificate they know. Then, or with ring_fini(), it is wiped.
 */
#ifndef KEYS_RING_H
#define KEYS_RING_H

#include "base/list.h"
#include "conf/conf.h"
#include "tls/keywire.h"

#include <openssl/evp.h>

enum { RING_OLD_MAX = 64 };

struct ring {
	struct list keys;
	size_t count, old;
};

struct ring_key {
	struct list link;
	unsigned char id[KEY_ID];
	EVP_PKEY *key;
	unsigned sides;              /* enum tls_side: who may use it */
	uint64_t dropped;            /* monotonic; 0: configured */
};

void ring_init(struct ring *r);
/* The keys of a snapshot are the configured ones from now on. RC_PERM: one cannot be read, "file: why"; nothing has changed. */
enum rc ring_load(struct ring *r, const struct conf *c, uint64_t now, struct err *e) MUST_CHECK;
/* NULL: none, or not for this side. */
const struct ring_key *ring_find(const struct ring *r, const unsigned char id[KEY_ID], unsigned side);
/* Wipes those dropped before a time. */
void ring_expire(struct ring *r, uint64_t before);
void ring_fini(struct ring *r);

#endif
