/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * key.h - certificates of ours, with private keys that live in another process.
 *
 * The loader (master, check) reads the files, looks whether certificate and key are usable and belong together, notes the
 * certificates in the snapshot, and keeps the keys for the image of the keys process alone. Edge and relay get an SSL_CTX whose
 * certificates are there and whose private key is a stand-in: each use of it is a question to the keys process over
 * a socket of its own, synchronous, with a limit of 2 s; after one that timed out TLS is "not available"
 * (tls_keys_usable()) until that process has been asked in vain or is back. Call the same functions while checking (the loader: problems
 * come out there, and everything gets noted) and in the role. Facts 8.1; HACKING.md says why it is synchronous.
 */
#ifndef TLS_KEY_H
#define TLS_KEY_H

#include "conf/conf.h"

#include <openssl/ssl.h>

/* Who shows a certificate; the keys process answers each asker only about its own. */
enum tls_side { TLS_SERVER = 1, TLS_CLIENT = 2 };

/* Puts a certificate chain and its key into a context; may be called for several algorithms (RSA, ECDSA). Names are as in
 * main.cf. ctx NULL: only checks and notes. RC_PERM: cannot be used, "file: why" (loader only: in a role it has been seen
 * before); a role that is asked for what the loader did not see gets RC_TEMP. */
enum rc tls_key_use(struct conf *c, enum tls_side side, SSL_CTX *ctx, const char *cert_file, const char *key_file, struct err *e) MUST_CHECK;
/* The same for a list of chain files (smtpd_tls_chain_files, values of tls_server_sni_maps): one or more of key, certificate,
 * intermediate certificates, in this order. */
enum rc tls_key_use_chains(struct conf *c, enum tls_side side, SSL_CTX *ctx, const char *files, struct err *e) MUST_CHECK;

/* Role: the socket to the keys process (given); replaces the one before. */
void tls_keys_peer(int fd);
/* Role: false while TLS cannot work because the keys process does not answer: STARTTLS is 454 then. True where no certificate is
 * configured. Cheap. */
bool tls_keys_usable(void);

#endif
