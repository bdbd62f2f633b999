/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keywire.h - what edge and relay say to the keys process: one packet asks, one answers. Pure functions.
 *
 * Who asks never sends what it wants signed by a raw private operation: the padding is put on by the one who holds the key.
 */
#ifndef TLS_KEYWIRE_H
#define TLS_KEYWIRE_H

#include "base/buf.h"

enum { KEY_ID = 32 };            /* SHA-256 of the public key (SubjectPublicKeyInfo) */
enum { KEY_DATA_MAX = 4096, KEY_PACKET_MAX = KEY_DATA_MAX + 128 };

enum key_op { KEY_PING, KEY_SIGN, KEY_DECRYPT, KEY_OPS };
enum key_digest { KEY_MESSAGE, KEY_MD5_SHA1, KEY_SHA1, KEY_SHA224, KEY_SHA256, KEY_SHA384, KEY_SHA512, KEY_DIGESTS };
enum key_padding { KEY_PKCS1, KEY_PSS, KEY_PADDINGS }; /* RSA signatures; PSS: salt as long as the digest */

struct key_request {
	uint32_t seq;
	enum key_op op;
	unsigned char id[KEY_ID];
	enum key_digest digest;      /* what data is; KEY_MESSAGE: the message itself (Ed25519, Ed448) */
	enum key_padding padding;
	uint32_t client_version, version; /* KEY_DECRYPT: what the premaster secret has to begin with; 0: none */
	struct span data;            /* borrowed */
};
void key_request_put(struct buf *b, const struct key_request *r);
/* RC_PERM: not one, or with values that mean nothing. */
enum rc key_request_get(struct span packet, struct key_request *out) MUST_CHECK;

struct key_reply {
	uint32_t seq;
	enum rc rc;                  /* RC_NONE: no such key for you; RC_TEMP: asked too often; RC_PERM: cannot be done */
	struct span data;
};
void key_reply_put(struct buf *b, const struct key_reply *r);
enum rc key_reply_get(struct span packet, struct key_reply *out) MUST_CHECK;

/* Octets of a digest; 0: KEY_MESSAGE. */
size_t key_digest_size(enum key_digest d);
/* OpenSSL's name. */
const char *key_digest_name(enum key_digest d);

#endif
