/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server.h - TLS of one smtpd service: its level, its certificates, what it wants of clients. Facts 8.1, 8.2, 14.6.
 *
 * Belongs to an edge_service: made when the configuration is compiled, in the loader to find problems and have certificates noted for
 * the image, in the role to be used. Immutable, apart from contexts of SNI names that are made when they are first asked for.
 */
#ifndef TLS_SERVER_H
#define TLS_SERVER_H

#include "base/log.h"
#include "conf/conf.h"

#include <openssl/ssl.h>

enum tls_level { TLS_LEVEL_NONE, TLS_LEVEL_MAY, TLS_LEVEL_ENCRYPT };

/* What the parameters come to: smtpd_tls_security_level, else the old ones; wrapper mode is at least encrypt. A level for clients
 * (secure, verify ...) means encrypt. RC_PERM: no such level. */
enum rc tls_server_level(const struct params *p, enum tls_level *out, struct err *e) MUST_CHECK;

struct tls_server;

/* *out is NULL when there is no TLS, or no certificate for it (a warning then). Problems go to conf_problem(); RC_PERM: cannot be
 * run as it is. */
enum rc tls_server_open(struct conf *c, const struct service *s, struct tls_server **out, struct err *e) MUST_CHECK;
void tls_server_free(struct tls_server **sp);

bool tls_server_asks_cert(const struct tls_server *t);
bool tls_server_requires_cert(const struct tls_server *t);
const EVP_MD *tls_server_digest(const struct tls_server *t);

/* What a client said in its hello; lives as long as its SSL. */
struct tls_hello {
	const struct log_ctx *log;   /* borrowed */
	const struct span *client;   /* borrowed: "host[address]", for log lines */
	bool name_matched;
	int verify;                  /* the first thing wrong with its certificates, X509_V_OK: nothing */
	char issuer[256];            /* of the certificate it is wrong with */
	char name[256];              /* the SNI name, when it is a host name */
};

/* For one client, in accept state; the caller's until conn_start_tls. NULL: not possible now (454). */
SSL *tls_server_begin(struct tls_server *t, struct tls_hello *hello);

/* A host name as SNI may have it: letters, digits, hyphens and underscores in labels, no address. Lower-cased into out. */
bool tls_sni_name(struct span name, char out[256]);

#endif
