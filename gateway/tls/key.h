/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * key.h - certificates of ours, with private keys that live in another process.
 *
 * The loader (master, check) reads the files, looks whether certificate and key are usable and belong together, notes the
 * certificates in the snapshot, and keeps the keys for the image of the keys process alone. Edge and relay get an SSL_CTX whose
 * certificates are there and whose private key is a stand-in: each use of it is a question to the keys process over
 * a socket of its own, synchronous, with a limit of 2 s; after one that got no answer in time TLS is "not available"
 * (tls_keys_usable()) until the process has been heard of again. The same functions are called while checking (problems come out
 * there, and everything gets noted) and in the role. Facts 8.1; HACKING.md says why it is synchronous.
 */
#ifndef TLS_KEY_H
#define TLS_KEY_H

#include "conf/conf.h"

#include <openssl/ssl.h>

/* Who shows a certificate; the keys process answers each asker only about its own. */
enum tls_side { TLS_SERVER = 1, TLS_CLIENT = 2 };

/* ---- by what main.cf says ---- */

/* All certificates that a smtpd service has (chain files, or certificate and key, RSA and ECDSA) go into the context; NULL: only looked at.
 * RC_NONE: none is configured ("none" too). RC_PERM: cannot be used, "file: why". *param_out (may be NULL): then the parameter it is about.
 * In a role RC_TEMP: the loader did not see them. */
enum rc tls_keys_server(struct conf *c, const struct service *s, SSL_CTX *ctx, const char **param_out, struct err *e) MUST_CHECK;
/* The same for what a transport (NULL: main.cf) shows; is_lmtp: the lmtp_ parameters. */
enum rc tls_keys_client(struct conf *c, const struct service *s, bool is_lmtp, SSL_CTX *ctx, const char **param_out, struct err *e) MUST_CHECK;
/* Loader: what clients show; what is wrong becomes a problem of the snapshot (tls/server.h does the same for servers). */
void tls_keys_check(struct conf *c);

/* ---- by file ---- */

/* A certificate chain and its key; names are as in main.cf. May be called for several algorithms. */
enum rc tls_key_use(struct conf *c, enum tls_side side, SSL_CTX *ctx, const char *cert_file, const char *key_file, struct err *e) MUST_CHECK;
/* A list of chain files (values of tls_server_sni_maps too): one or more of key, certificate, intermediate certificates, in this order. */
enum rc tls_key_use_chains(struct conf *c, enum tls_side side, SSL_CTX *ctx, const char *files, struct err *e) MUST_CHECK;

/* What the snapshot shows to others: for status. files: as in main.cf. */
void tls_certs_each(const struct conf *c, void (*fn)(void *arg, const char *files, const X509 *leaf), void *arg);

/* Loader, before it looks at next: the certificates that c shows may have expired, that is a warning then; of others it is an error. */
void tls_certs_in_force(struct conf *next, const struct conf *c);

/* ---- role ---- */

/* The socket to the keys process (given); replaces the one before. */
void tls_keys_peer(int fd);
/* False while TLS with a certificate cannot work because the keys process does not answer: STARTTLS is 454 then. Cheap. */
bool tls_keys_usable(void);

/* How long before the end a certificate is talked about. */
#define TLS_CERT_WARN_DAYS 14

#endif
