/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyprov.h - an OpenSSL provider whose private keys are only names: signing and decrypting are questions to the keys process.
 *
 * A stand-in has the public half of a key; the same EVP_PKEY functions work on it as on a real one, as far as TLS needs them:
 * EVP_DigestSign() with RSA (PKCS#1, PSS with a salt as long as the digest), ECDSA, Ed25519 and Ed448, and EVP_PKEY_decrypt() with the TLS padding of RSA.
 */
#ifndef TLS_KEYPROV_H
#define TLS_KEYPROV_H

#include "tls/keywire.h"

#include <openssl/evp.h>

/* Can there be a stand-in for keys of this kind? */
bool keyprov_supports(const EVP_PKEY *key);
/* SHA-256 of the public half. */
enum rc keyprov_id(EVP_PKEY *key, unsigned char id[KEY_ID], struct err *e) MUST_CHECK;
/* A new stand-in; pub keeps its owner. Before the sandbox for the first time in a process: the provider is made then. */
enum rc keyprov_key(EVP_PKEY *pub, EVP_PKEY **out, struct err *e) MUST_CHECK;

#endif
