/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * params.h - what the TLS parameters say, as pure functions, and how it gets into OpenSSL. Facts 8.2, 14.6, 14.7.
 *
 * The same texts occur in main.cf, on services and as attributes of a policy table. RC_PERM with the reason: it cannot mean
 * anything, and nothing was set.
 *
 * Security level 1 of OpenSSL is kept on every context: no anonymous ciphers, nothing under 80 bits, and so no TLS 1.0 or
 * 1.1 either, whatever the list of protocols says: their signatures are under it. Who needs them writes @SECLEVEL=0 into
 * tls_medium_cipherlist; then the list of protocols means what it says.
 */
#ifndef TLS_PARAMS_H
#define TLS_PARAMS_H

#include "conf/conf.h"

#include <openssl/ssl.h>

/* ---- protocols: ">=TLSv1.2", "!SSLv3, !TLSv1", "TLSv1.2 TLSv1.3", "<=0x0304" ---- */

struct tls_protocols {
	int floor, ceiling;          /* as on the wire (0x0303); 0: none */
	uint64_t excluded;           /* SSL_OP_NO_... */
};
enum rc tls_protocols_parse(struct span text, struct tls_protocols *out, struct err *e) MUST_CHECK;
/* At least one protocol this library speaks is left. */
bool tls_protocols_any(const struct tls_protocols *p);

/* ---- ciphers ---- */

/* The list for a grade (export, low, medium, high, null) as the tls_..._cipherlist parameters have it, without what the
 * exclusions name (NULL: none), as OpenSSL takes it. */
enum rc tls_cipher_list(const struct params *p, const char *grade, const char *exclude, const char *more_exclude, struct buf *out,
    struct err *e) MUST_CHECK;

/* ---- into OpenSSL ---- */

/* Protocols and ciphers of one kind of session. */
struct tls_settings {
	const char *protocols, *grade, *exclude, *more_exclude; /* exclusions: NULL for none */
	bool anonymous;              /* no certificate of ours: ciphers without one are what there is */
};
/* Checks both, and sets them on a context or (ctx NULL) a connection. Either may be NULL: then only the check is made. */
enum rc tls_settings_apply(const struct params *p, const struct tls_settings *t, SSL_CTX *ctx, SSL *ssl, struct err *e) MUST_CHECK;

/* A new context with what all sides have in common: tls_ssl_options, tls_disable_workarounds, groups, no renegotiation, no
 * compression. Owned by the caller. grade: smtpd_tls_eecdh_grade, NULL for auto. */
enum rc tls_context_new(const struct params *p, const SSL_METHOD *method, const char *grade, SSL_CTX **out, struct err *e) MUST_CHECK;

/* CAs from a file (through conf_file(), so that a role has them) and a directory (loader only: its files are read through conf_file()
 * too, found by CApath's hash links). Empty names are left out; tls_append_default_CA adds the system's, in the loader's view. */
enum rc tls_trust(struct conf *c, SSL_CTX *ctx, const char *ca_file, const char *ca_path, struct err *e) MUST_CHECK;

/* A digest by name ("sha256"), as smtpd_tls_fingerprint_digest has it; NULL: there is none. */
const EVP_MD *tls_digest(const char *name);

/* 0 to 4 of smtpd_tls_loglevel and smtp_tls_loglevel; what is no number is 0. */
unsigned tls_loglevel(const char *text);

#endif
