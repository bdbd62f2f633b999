/* SPDX-License-Identifier: BSD-2-Clause */
/* sign.h - one operation with a private key. Blocks for as long as the arithmetic takes. */
#ifndef KEYS_SIGN_H
#define KEYS_SIGN_H

#include "tls/keywire.h"

#include <openssl/evp.h>

/* out: at least KEY_DATA_MAX octets. RC_PERM: the key cannot do that. */
enum rc key_sign(EVP_PKEY *key, const struct key_request *r, unsigned char *out, size_t *n_out) MUST_CHECK;
/* The premaster secret of TLS 1.2 without forward secrecy; a wrong text gives a random one, in the same time. */
enum rc key_decrypt(EVP_PKEY *key, const struct key_request *r, unsigned char *out, size_t *n_out) MUST_CHECK;

#endif
